// What a run will do once the model and the number of rows are known: steps, micro-batch, cadence. No state, no files.
import { StillroomError, unexpected } from "../support/errors.js";
import type { NativeModelInfo } from "../support/native.js";
import { counted } from "../support/words.js";
import type { Encoded } from "../tokens/index.js";
import { frozenStateBytes, planMemory } from "./memory.js";
import type { TuneSettings } from "./options.js";
import { stepsPerEpoch } from "./order.js";
import { type Schedule, warmupSteps } from "./schedule.js";

/** Longest row in tokens where nobody asks for another. */
export const defaultMaxLength = 1024;

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
  /** Most bytes of hidden states kept below the lowest trained layer, for the epochs after the first; part of memoryBytes. */
  frozenBytes: number;
  /** Most rows of a validation: by default few enough that validating costs a fraction of training. */
  validationLimit: number;
}

/** Token budget, recomputation and longest row. A `memory` limit also bounds the longest row, which is never split. beside, around: as of {@link planMemory}. */
export function planLimits(settings: TuneSettings, info: NativeModelInfo, beside = 0, around = 0): Limits {
  const memory = planMemory(info, settings, beside, around);
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
    frozenBytes: 0,
    evaluateEvery: settings.evaluateEvery ?? Math.ceil(steps / 4),
    validationLimit:
      settings.validationLimit ?? Math.min(500, Math.max(50, Math.ceil((steps * settings.batchSize) / 20))),
  };
}

/** Throws "usage" for a patience that can end no run: where nothing is validated, or not often enough before the last step, which is the end anyway. */
export function requirePatience(
  { patience }: Pick<TuneSettings, "patience">,
  { steps, evaluateEvery }: Pick<RunPlan, "steps" | "evaluateEvery">,
  validated: boolean,
): void {
  // The first validation is the best one so far.
  const validations = Math.ceil(steps / evaluateEvery);
  if (patience === null || (validated && patience < validations - 1)) return;
  const why = validated
    ? `patience ${patience} ends no run of ${counted(validations, "validation")}: leave it out, or validate more often with evaluateEvery`
    : "patience counts validations, and the task has no validation rows: leave it out, or give the task some (data.validation)";
  throw new StillroomError("usage", why, { options: ["patience", "evaluateEvery"] });
}

/**
 * The plan with what the frozen lower layers make of the rows kept from epoch to epoch, where there is a second epoch, a frozen layer below
 * the lowest trained one, and room for all rows: under a limit what the limit leaves, else a quarter of the free memory.
 */
export function keepFrozen(
  plan: RunPlan,
  settings: TuneSettings,
  info: NativeModelInfo,
  rows: readonly Encoded[],
  freeBytes: number,
): RunPlan {
  if (plan.steps <= stepsPerEpoch(plan.rows, settings.batchSize)) return plan;
  const needed = frozenStateBytes(info, settings, rows);
  const room = settings.memory === null ? freeBytes / 4 : settings.memory - plan.memoryBytes;
  if (needed === 0 || needed > room) return plan;
  // Rows whose beginnings are shared otherwise in another epoch are kept once more.
  const frozenBytes = Math.floor(Math.min(room, 1.5 * needed));
  return { ...plan, frozenBytes, memoryBytes: plan.memoryBytes + frozenBytes };
}
