// The room's door: whole jobs that compose training, adapters and evaluation.
export { type TuneRun, tune } from "./tune.js";
export type { TuneEvent, TuneResult } from "./tune-result.js";
