// Room tokens: prompts and answers as tokens, rows and choices as batches, and which tokens count.
export { type Encoded, encodeAnswer, encodePrompt, encodeRow, encodeText, fitRow } from "./encode.js";
export { compareTokens, sharedPrefix } from "./forest.js";
export { goesOn, microBatches, packChoices, packRows, packTexts } from "./pack.js";
