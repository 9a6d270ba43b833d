// Room prompt: what the model is shown for a row, and the answer as it follows.
export { compileConversation, compilePrompt, compileSubject, questionOf } from "./compile.js";
export { chooseExamples } from "./examples.js";
export {
  exampleRows,
  type PromptFile,
  type PromptMeasure,
  readPromptFile,
  type Selection,
  selections,
  whyUncalibrated,
  withPrompt,
  writePromptFile,
} from "./file.js";
export type { CompiledPrompt, Examples, Piece, Prompt, PromptModel } from "./types.js";
export { promptOf, UnsuitableRow } from "./unsuitable.js";
export { Space } from "./vectors.js";
