// The room's door: whole jobs that compose training, adapters and evaluation.

export { type AuditOptions, type AuditResult, audit } from "./audit.js";
export type { TeacherAudit } from "./audit-teacher.js";
export { type Compared, type ComparedPair, type CompareOptions, type CompareResult, compare } from "./compare.js";
export { type DistillEvent, type DistillResult, distill } from "./distill.js";
export type { DistillationOptions, DistillOptions } from "./distill-options.js";
export type { ComparedModel } from "./distill-table.js";
export type { Fairness } from "./fairness.js";
export { type LadderNote, type LadderResult, type LadderRung, ladder, type RungName } from "./ladder.js";
export type { LadderEvent, LadderOptions } from "./ladder-options.js";
export { type ComparedPrompt, type PromptComparison, type PromptPair, type PromptResult, prompt } from "./prompt.js";
export type { PromptOptions } from "./prompt-options.js";
export { type TeachEvent, type TeachOptions, type TeachResult, teach } from "./teach.js";
export { type TuneRun, tune } from "./tune.js";
export { type RunFile, readRunFile } from "./tune-files.js";
export type { TuneEvent, TuneResult } from "./tune-result.js";
