// What a tuning run tells while it works. Data only.
import type { Validation } from "./progress.js";

/** Why a warning came, in one word. */
export type WarningKind =
  | "bad-row"
  | "long-row"
  | "not-finite"
  | "duplicate"
  | "label"
  | "checkpoint"
  | "metrics"
  | "machine"
  | "cache"
  | "tokens"
  | "precision";

/** A step was done. */
export interface StepEvent {
  type: "step";
  step: number;
  steps: number;
  /** Mean of -log p over the step's label tokens, in nats; null when the step was skipped. */
  loss: number | null;
  learningRate: number;
  /** Tokens of the step's rows. */
  tokens: number;
  /** Over the steps of this process. */
  tokensPerSecond: number;
  /** Resident memory of the process now. */
  memoryBytes: number;
  secondsLeft: number;
}

/** Events of the training loop. */
export type TrainEvent =
  | StepEvent
  | { type: "validation"; step: number; validation: Validation /** Whether it is the best so far. */; best: boolean }
  | { type: "checkpoint"; step: number; file: string; bytes: number; seconds: number }
  | { type: "warning"; kind: WarningKind; message: string };
