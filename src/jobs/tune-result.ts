// What tune() tells and what it returns: types, and the sums of a finished run.
import type { NativePrecision } from "../support/native.js";
import type { TrainEvent, TrainOutcome } from "../train/index.js";
import type { TuneData } from "./tune-data.js";

/** What tune() tells while it works. */
export type TuneEvent = RunEvent | { type: "end"; result: TuneResult };

/** What a run tells before its end. */
export type RunEvent =
  | {
      type: "start";
      run: string;
      /** Steps that were done before, in a resumed run. */
      step: number;
      steps: number;
      rows: number;
      validationRows: number;
      threads: number;
      /** Estimated peak of the process. */
      memoryBytes: number;
    }
  | TrainEvent;

/** The result of tune(), in the fields of `stillroom tune --json`. */
export interface TuneResult {
  /** The RUN folder. */
  run: string;
  /** Steps done; fewer than planned when patience ended the run. */
  steps: number;
  /** Rows trained on, repeats counted. */
  rows: number;
  /** Tokens of those rows, answers included, each row as if it were alone. */
  tokens: number;
  /** Means over the label tokens of the first and the last step, in nats. */
  loss: { first: number; last: number };
  /** Of the best step: loss, and the metrics as eval's; null where the task has no validation rows. */
  validation: ({ loss: number } & Record<string, unknown>) | null;
  /** The step whose weights the adapter or model holds. */
  best_step: number;
  /** Over the time of the optimiser steps alone. */
  rows_per_second: number;
  tokens_per_second: number;
  peak_memory_bytes: number;
  /** From the first step to the last, validations and checkpoints included, over all processes that worked on the run. */
  seconds: number;
  bad_rows: number;
  /** Rows of which the front was cut off. */
  truncated_rows: number;
  /** Rows left out for their length. */
  dropped_rows: number;
  /** Steps in which something was not finite and left out. */
  skipped_steps: number;
  /** Of the products with frozen weights: what was asked for, or "f32" where that would move the loss by more than a hundredth. */
  precision: NativePrecision;
  /** Of method "lora": a PEFT folder and a GGUF LoRA; null otherwise. */
  adapter: { peft: string; gguf: string } | null;
  /** The head of the task's own, over the adapter or alone; null without one. */
  head: string | null;
  /** calibration.json, where something was fitted on the validation rows; else null. */
  calibration: string | null;
  /** Of the other methods: the whole model as a GGUF, trained weights in f32; null otherwise. */
  model: string | null;
  /** The model card beside it; null without one. */
  card: string | null;
}

/** Sums up a run. */
export function resultOf(
  run: string,
  data: TuneData,
  { step, progress, bestStep }: TrainOutcome,
  written: Pick<TuneResult, "adapter" | "head" | "precision" | "calibration" | "model" | "card">,
): TuneResult {
  const { rows, tokens, loss, best, stepSeconds, seconds, peakMemoryBytes, skipped } = progress;
  return {
    run,
    steps: step,
    rows,
    tokens,
    loss: { first: loss.first!, last: loss.last! },
    validation: best && { ...best.validation.metrics, loss: best.validation.loss },
    best_step: bestStep,
    rows_per_second: rows / stepSeconds,
    tokens_per_second: tokens / stepSeconds,
    peak_memory_bytes: peakMemoryBytes,
    seconds,
    bad_rows: data.badRows,
    truncated_rows: data.truncatedRows,
    dropped_rows: data.droppedRows,
    skipped_steps: skipped,
    ...written,
  };
}
