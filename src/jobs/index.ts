// The room's door: whole jobs that compose training, adapters and evaluation.
export { type ComparedPrompt, type PromptComparison, type PromptResult, prompt } from "./prompt.js";
export type { PromptOptions } from "./prompt-options.js";
export { type TuneRun, tune } from "./tune.js";
export type { TuneEvent, TuneResult } from "./tune-result.js";
