// The room's door: a file of requests to a file of answers, through the store.
export {
  type BatchCalls,
  type BatchProgress,
  type BatchResult,
  batch,
  errorsOf,
  frontOfFirst,
  lineOf,
  requireNoInputs,
  usualWindow,
  windowsOf,
} from "./batch.js";
export { answerAll, type Engine, type Outcome, openEngine } from "./engine.js";
export type { Input, Item } from "./item.js";
export { openRequests } from "./openai-input.js";
export type { BatchOptions } from "./options.js";
export { openTaskInput } from "./task-input.js";
