// Room prompt: what the model is shown for a row, and the answer as it follows.
export { compileConversation, compilePrompt, compileQuestion, questionOf } from "./compile.js";
export { chooseExamples } from "./examples.js";
export type { CompiledPrompt, Piece, Prompt, PromptModel } from "./types.js";
export { promptOf } from "./unsuitable.js";
