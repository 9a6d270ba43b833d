// What a run will do once the model and the number of rows are known: steps, micro-batch, cadence. No state, no files.
import { unexpected } from "../support/errors.js";
import type { NativeModelInfo } from "../support/native.js";
import { planMemory } from "./memory.js";
import type { TuneSettings } from "./options.js";
import { stepsPerEpoch } from "./order.js";
import { type Schedule, warmupSteps } from "./schedule.js";

const defaultMaxLength = 1024;

/** Limits that follow from the model and the memory, before any row is read. */
export interface Limits {
  tokenBudget: number;
  recompute: boolean;
  /** Estimated peak of the process. */
  memoryBytes: number;
  /** Longest row in tokens. */
  maxLength: number;
}

/** The schedule of a run over a known number of rows. */
export interface RunPlan extends Limits {
  rows: number;
  steps: number;
  schedule: Schedule;
  /** Steps between validations. */
  evaluateEvery: number;
  /** Most rows of a validation: by default few enough that validating costs a fraction of training. */
  validationLimit: number;
}

/** Token budget, recomputation and longest row. A `memory` limit also bounds the longest row, which is never split. */
export function planLimits(settings: TuneSettings, info: NativeModelInfo): Limits {
  const memory = planMemory(info, settings);
  const most = settings.memory === null ? info.contextLength : Math.min(info.contextLength, memory.tokenBudget);
  if (settings.maxLength !== null && settings.maxLength > most) {
    throw unexpected(
      `at most ${most} tokens (the model's context, or what memory allows)`,
      "maxLength",
      settings.maxLength,
    );
  }
  return {
    tokenBudget: memory.tokenBudget,
    recompute: memory.recompute,
    memoryBytes: memory.bytes,
    maxLength: settings.maxLength ?? Math.min(most, defaultMaxLength),
  };
}

/** Steps, schedule and cadence for a number of rows. */
export function planRun(settings: TuneSettings, limits: Limits, rows: number): RunPlan {
  const steps = settings.steps ?? Math.ceil((settings.epochs ?? 1) * stepsPerEpoch(rows, settings.batchSize));
  return {
    ...limits,
    rows,
    steps,
    schedule: {
      name: settings.schedule,
      learningRate: settings.learningRate,
      warmup: warmupSteps(settings.warmup, steps),
      steps,
    },
    evaluateEvery: settings.evaluateEvery ?? Math.ceil(steps / 4),
    validationLimit:
      settings.validationLimit ?? Math.min(500, Math.max(50, Math.ceil((steps * settings.batchSize) / 20))),
  };
}
