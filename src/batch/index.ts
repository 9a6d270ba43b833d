// The room's door: a file of requests to a file of answers, through the store.
export { batch, batchRequests, filesOf, requireFiles, requireNoInputs } from "./batch.js";
export {
  answerAll,
  decodable,
  type Engine,
  embedded,
  type Failure,
  type Outcome,
  openEngine,
  outcomeOf,
} from "./engine.js";
export type { Input, Item } from "./item.js";
export { type EmbeddingsAsked, embeddingMaker, embeddingsBody, embeddingsPath } from "./openai-embeddings.js";
export { answerBody, chatLogprobs, completionLogprobs, openRequests } from "./openai-input.js";
export { inOurWords, type RequestPath, requestMaker } from "./openai-request.js";
export type { BatchOptions } from "./options.js";
export { Output } from "./output.js";
export { type ProgressLine, progressFile } from "./progress-file.js";
export type { BatchCalls, BatchProgress, BatchResult } from "./result.js";
export { answering } from "./retry.js";
export { type Leading, Similar, type SimilarLookup } from "./similar.js";
export { fitSimilarity, type Similarity, type SimilarityOptions } from "./similar-fit.js";
export { openTaskInput, openTaskRows, type TaskRows } from "./task-input.js";
export { frontOfFirst, frontRows, usualWindow, windowsOf } from "./windows.js";
