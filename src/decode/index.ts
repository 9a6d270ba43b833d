// The room's door: prompts to answers, in batches.
export { decode, decodeRows } from "./decode.js";
export { type DecodeOptions, type DecodeProgress, openBatch } from "./open.js";
export { type DecodedRow, type DecodeRequest, requestDefaults, type TokenLogProbability } from "./request.js";
export { type JsonSchema, jsonSchemaToGrammar } from "./schema.js";
