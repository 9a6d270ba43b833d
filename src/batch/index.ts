// The room's door: a file of requests to a file of answers, through the store.
export { type BatchCalls, type BatchProgress, type BatchResult, batch, batchRequests } from "./batch.js";
export { decodable, type Engine, type Outcome, openEngine, outcomeOf } from "./engine.js";
export { answerBody, chatLogprobs, completionLogprobs } from "./openai-input.js";
export { type Asked, type RequestPath, requestMaker } from "./openai-request.js";
export type { BatchOptions } from "./options.js";
