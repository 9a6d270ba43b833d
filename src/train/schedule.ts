// The learning rate of each step. Nothing else knows learning rates.
import type { ScheduleName } from "./options.js";

/** A schedule over a whole run. */
export interface Schedule {
  name: ScheduleName;
  /** The highest rate. */
  learningRate: number;
  /** Steps of the rise to it. */
  warmup: number;
  /** Steps of the run. */
  steps: number;
}

/**
 * The learning rate of a step, counted from 1. With peak p, warm-up w and N steps:
 * warm-up p s / w for s ≤ w; then constant p; linear p (N - s + 1) / (N - w); cosine p (1 + cos(π (s - 1 - w) / (N - w))) / 2.
 * So the first step after warm-up has the peak, and the last one is not wasted on a rate of 0.
 */
export function learningRateAt(schedule: Schedule, step: number): number {
  const { learningRate, warmup, steps } = schedule;
  if (step <= warmup) return (learningRate * step) / warmup;
  const rest = steps - warmup;
  switch (schedule.name) {
    case "constant":
      return learningRate;
    case "linear":
      return (learningRate * (steps - step + 1)) / rest;
    case "cosine":
      return (learningRate * (1 + Math.cos((Math.PI * (step - 1 - warmup)) / rest))) / 2;
  }
}

/** Steps of warm-up: below 1 a fraction of the run rounded up, else a number of steps; never more than the run. */
export function warmupSteps(warmup: number, steps: number): number {
  return Math.min(steps, warmup < 1 ? Math.ceil(warmup * steps) : warmup);
}
