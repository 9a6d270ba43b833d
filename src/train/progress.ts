// The running totals of a run, as a checkpoint keeps them: what the result and the early stopping need of the past.
import { isError } from "../task/index.js";

/** What a validation gave. */
export interface Validation {
  /** Mean of -log p over the label tokens of the validation rows, in nats. */
  loss: number;
  /** By name, as eval's metrics: numbers, or { value, low, high }. */
  metrics: Record<string, unknown>;
}

/** The best validated step so far. */
export interface Best {
  step: number;
  /** Of the task's metric, or -loss where the task's metric is the loss; higher is better. */
  value: number;
  validation: Validation;
}

/** Totals after a number of steps. */
export interface Progress {
  /** Rows trained on, repeats counted. */
  rows: number;
  /** Tokens of those rows, answer included, as if each row were alone. */
  tokens: number;
  /** Seconds of optimiser steps, over all processes that worked on the run. */
  stepSeconds: number;
  /** The same with validations and checkpoints. */
  seconds: number;
  /** Largest resident memory of a process that worked on the run. */
  peakMemoryBytes: number;
  /** Loss of the first and of the latest step that was not skipped. */
  loss: { first: number | null; last: number | null };
  /** Steps in which a micro-batch was left out because it was not finite. */
  skipped: number;
  /** Steps since the last update of any weight, while all micro-batches were not finite. */
  skippedInRow: number;
  best: Best | null;
  /** The latest validated step; 0 before the first. */
  validated: number;
  /** Validations since the best one. */
  sinceBest: number;
}

/** Totals before the first step. */
export function noProgress(): Progress {
  return {
    rows: 0,
    tokens: 0,
    stepSeconds: 0,
    seconds: 0,
    peakMemoryBytes: 0,
    loss: { first: null, last: null },
    skipped: 0,
    skippedInRow: 0,
    best: null,
    validated: 0,
    sinceBest: 0,
  };
}

/**
 * The number that early stopping compares, higher is better: the metric by name (a number or { value }), negated for
 * an error such as log_loss; the negated loss where the metrics lack it.
 */
export function validationValue(validation: Validation, metric: string): number {
  const found = validation.metrics[metric];
  const value = typeof found === "number" ? found : (found as { value?: unknown } | undefined)?.value;
  if (typeof value !== "number" || !Number.isFinite(value)) return -validation.loss;
  return isError(metric) ? -value : value;
}
