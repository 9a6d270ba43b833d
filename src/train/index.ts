// The room's door: the training loop and its files. The public tune() composes it with adapter and evaluate in src/jobs.
export type { Checkpoint, Fingerprint } from "./checkpoint.js";
export { CheckpointStore, type FoundCheckpoint } from "./checkpoint-store.js";
export type { TrainEvent, WarningKind } from "./events.js";
export { fingerprintOf, hashRows, requireSameRun } from "./fingerprint.js";
export { type MicroBatch, type TrainJob, type TrainOutcome, train } from "./loop.js";
export { askingBytes, hiddenBytes, lossBytes, rowBytes, textBytes } from "./memory.js";
export {
  everyWeight,
  loraOptions,
  type OptimizerName,
  type ScheduleName,
  type TuneMethod,
  type TuneOptions,
  type TuneSettings,
  tuneOptionNames,
  tuneSettings,
} from "./options.js";
export { epochOrder, RowOrder, stepsPerEpoch } from "./order.js";
export {
  defaultMaxLength,
  keepFrozen,
  type Limits,
  planLimits,
  planRun,
  type RunPlan,
  requirePatience,
} from "./plan.js";
export type { Progress, Validation } from "./progress.js";
export { encodeRows, type FittedRows, microBatcher } from "./rows.js";
export { RunFolder } from "./run-folder.js";
export type { Rewound } from "./step-lines.js";
