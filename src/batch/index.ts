// The room's door: a file of requests to a file of answers, through the store.
export { type BatchCalls, type BatchProgress, type BatchResult, batch } from "./batch.js";
export type { BatchOptions } from "./options.js";
