// The options of a tuning run: their names, defaults and limits. Knows no model and no rows (plan.ts adds those).
import { StillroomError, unexpected } from "../support/errors.js";
import type { LoraTarget, NativePrecision } from "../support/native.js";
import { nearestName } from "../task/nearest.js";

/** How the learning rate moves after warm-up; the equations are in schedule.ts. */
export type ScheduleName = "constant" | "linear" | "cosine";

/** Options of a tuning run. Only `out` is required. */
export interface TuneOptions {
  /** Path of a GGUF file, or an hf: URI (default: the model in the box). */
  model?: string | undefined;
  /** The RUN folder: run.json, metrics.jsonl, adapter/, adapter.gguf, checkpoints/. Made when absent. */
  out: string;
  /** Only "lora". */
  method?: "lora" | undefined;
  /** Passes over the training rows (default 1); a fraction is rounded up to whole steps. Not together with `steps`. */
  epochs?: number | undefined;
  /** Optimiser steps, over as many epochs as they take. Not together with `epochs`. */
  steps?: number | undefined;
  /** Rows of one optimiser step (default 16). */
  batchSize?: number | undefined;
  /** Most tokens of one micro-batch (default 512, less when `memory` asks for it). A longer row is one by itself. */
  tokenBudget?: number | undefined;
  /** Bytes that the process should stay under; chooses `tokenBudget`, `recompute` and the longest row by an estimate. */
  memory?: number | undefined;
  /** Keep only layer inputs in the forward pass and compute the rest again backwards (default: when `memory` asks for it). */
  recompute?: boolean | undefined;
  /** Rank of the adapter (default 16). */
  rank?: number | undefined;
  /** The adapter's product is scaled by alpha / rank (default 2 * rank). */
  alpha?: number | undefined;
  /** Probability in [0, 1) that an input channel of the adapter is dropped in training (default 0). */
  dropout?: number | undefined;
  /** Scale by alpha / sqrt(rank) instead (default false). */
  rsLora?: boolean | undefined;
  /** Layers that get an adapter (default: the seven linear layers q, k, v, o, gate, up, down). */
  targets?: LoraTarget[] | undefined;
  /** Highest learning rate (default 2e-4). */
  learningRate?: number | undefined;
  /** Default "linear". */
  schedule?: ScheduleName | undefined;
  /** Warm-up: below 1 a fraction of the run's steps, from 1 on a number of steps (default 0.03). */
  warmup?: number | undefined;
  /** Decoupled weight decay of AdamW (default 0). */
  weightDecay?: number | undefined;
  /** Decay rates of AdamW's two moments (default [0.9, 0.999]). */
  betas?: [number, number] | undefined;
  /** AdamW's epsilon (default 1e-8). */
  epsilon?: number | undefined;
  /** Gradients are scaled down to this global L2 norm (default 1); 0 leaves them. */
  clipNorm?: number | undefined;
  /** Seed of the adapter's first weights, of the row order and of dropout (default 0). */
  seed?: number | undefined;
  /** Threads of the native engine (default: physical cores). */
  threads?: number | undefined;
  /** Kernel variant of the native engine (default: the best that this machine runs). */
  variant?: string | undefined;
  /** Products with frozen weights: "f32" exactly (default), or faster and rounded to "bf16", "mixed" (bf16 forward, int8 backward) or "int8". */
  precision?: NativePrecision | undefined;
  /** Longest row in tokens, answer included (default: 1024, or less where the model or `memory` allows less). */
  maxLength?: number | undefined;
  /** What happens to longer rows: the prompt's front is cut off, or the row is left out (default "truncate"). Both are counted. */
  onLong?: "truncate" | "drop" | undefined;
  /** Read only so many training rows. */
  limit?: number | undefined;
  /** Stop at the first bad row instead of counting it (default false). */
  strict?: boolean | undefined;
  /** Validate every so many steps, and after the last (default: four times a run). */
  evaluateEvery?: number | undefined;
  /** Most validation rows used, a seeded sample (default: a twentieth of the rows trained on, at least 50, at most 500). */
  validationLimit?: number | undefined;
  /** Stop after so many validations without a better value of the task's metric (default: never). */
  patience?: number | undefined;
  /** Write a checkpoint every so many steps (default: as often as costs about 2 % of the time, at most once a minute). */
  checkpointEvery?: number | undefined;
  /** Ends the run after the micro-batch in work, with a checkpoint; it throws "cancelled" then. */
  signal?: AbortSignal | undefined;
  /** Continue the run that `out` holds (default false: a folder with a run in it is refused). */
  resume?: boolean | undefined;
  /** Compute a prefix that rows of a micro-batch share once (default true). */
  sharePrefix?: boolean | undefined;
}

/** {@link TuneOptions} with every default filled in; null where the model or the rows decide (plan.ts). */
export interface TuneSettings {
  model: string | null;
  out: string;
  method: "lora";
  epochs: number | null;
  steps: number | null;
  batchSize: number;
  tokenBudget: number | null;
  memory: number | null;
  recompute: boolean | null;
  rank: number;
  alpha: number;
  dropout: number;
  rsLora: boolean;
  targets: LoraTarget[];
  learningRate: number;
  schedule: ScheduleName;
  warmup: number;
  weightDecay: number;
  betas: [number, number];
  epsilon: number;
  clipNorm: number;
  seed: number;
  threads: number | null;
  variant: string | null;
  precision: NativePrecision;
  maxLength: number | null;
  onLong: "truncate" | "drop";
  limit: number | null;
  strict: boolean;
  evaluateEvery: number | null;
  validationLimit: number | null;
  patience: number | null;
  checkpointEvery: number | null;
  resume: boolean;
  sharePrefix: boolean;
}

const linearLayers: LoraTarget[] = ["q", "k", "v", "o", "gate", "up", "down"];
const allTargets: LoraTarget[] = [...linearLayers, "head", "embeddings"];

/** Checks every option and fills in the defaults. Throws "usage" with what was expected and what came. */
export function tuneSettings(options: TuneOptions): TuneSettings {
  refuseMethods(options.method);
  if (options.epochs !== undefined && options.steps !== undefined) {
    throw new StillroomError("usage", "expected epochs or steps, received both", { options: ["epochs", "steps"] });
  }
  const rank = whole("rank", options.rank, 1) ?? 16;
  const settings: TuneSettings = {
    model: text("model", options.model),
    out: required("out", text("out", options.out)),
    method: "lora",
    epochs: options.steps === undefined ? (real("epochs", options.epochs, above(0)) ?? 1) : null,
    steps: whole("steps", options.steps, 1),
    batchSize: whole("batchSize", options.batchSize, 1) ?? 16,
    tokenBudget: whole("tokenBudget", options.tokenBudget, 1),
    memory: whole("memory", options.memory, 1),
    recompute: flag("recompute", options.recompute),
    rank,
    alpha: real("alpha", options.alpha, above(0)) ?? 2 * rank,
    dropout: real("dropout", options.dropout, fraction) ?? 0,
    rsLora: flag("rsLora", options.rsLora) ?? false,
    targets: targets(options.targets),
    learningRate: real("learningRate", options.learningRate, above(0)) ?? 2e-4,
    schedule: oneOf("schedule", options.schedule, ["constant", "linear", "cosine"]) ?? "linear",
    warmup: warmup(options.warmup),
    weightDecay: real("weightDecay", options.weightDecay, from(0)) ?? 0,
    betas: betas(options.betas),
    epsilon: real("epsilon", options.epsilon, above(0)) ?? 1e-8,
    clipNorm: real("clipNorm", options.clipNorm, from(0)) ?? 1,
    seed: whole("seed", options.seed, 0) ?? 0,
    threads: whole("threads", options.threads, 1),
    variant: text("variant", options.variant),
    precision: oneOf("precision", options.precision, ["f32", "bf16", "mixed", "int8"]) ?? "f32",
    maxLength: whole("maxLength", options.maxLength, 2),
    onLong: oneOf("onLong", options.onLong, ["truncate", "drop"]) ?? "truncate",
    limit: whole("limit", options.limit, 1),
    strict: flag("strict", options.strict) ?? false,
    evaluateEvery: whole("evaluateEvery", options.evaluateEvery, 1),
    validationLimit: whole("validationLimit", options.validationLimit, 1),
    patience: whole("patience", options.patience, 1),
    checkpointEvery: whole("checkpointEvery", options.checkpointEvery, 1),
    resume: flag("resume", options.resume) ?? false,
    sharePrefix: flag("sharePrefix", options.sharePrefix) ?? true,
  };
  refuseUnknown(options, [...Object.keys(settings), "signal"]);
  return settings;
}

function refuseUnknown(options: TuneOptions, known: string[]): void {
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const nearest = nearestName(name, known);
    throw unexpected(`the name of an option of tune${nearest ? ` (did you mean ${nearest}?)` : ""}`, "an option", name);
  }
}

function refuseMethods(method: unknown): void {
  if (method === undefined || method === "lora") return;
  if (method === "full" || method === "head") {
    throw new StillroomError(
      "usage",
      `method "${method}" belongs to a later version of stillroom; this one has "lora"`,
    );
  }
  throw unexpected('"lora"', "method", method);
}

interface Range {
  words: string;
  holds: (value: number) => boolean;
}

const above = (bound: number): Range => ({ words: `a number above ${bound}`, holds: (value) => value > bound });
const from = (bound: number): Range => ({ words: `a number of at least ${bound}`, holds: (value) => value >= bound });
const fraction: Range = { words: "a number from 0 to below 1", holds: (value) => value >= 0 && value < 1 };

function real(name: string, value: unknown, range: Range): number | null {
  if (value === undefined) return null;
  if (typeof value !== "number" || !Number.isFinite(value) || !range.holds(value)) {
    throw unexpected(range.words, name, value);
  }
  return value;
}

function whole(name: string, value: unknown, least: number): number | null {
  if (value === undefined) return null;
  if (!Number.isSafeInteger(value) || (value as number) < least) {
    throw unexpected(`a whole number of at least ${least}`, name, value);
  }
  return value as number;
}

function flag(name: string, value: unknown): boolean | null {
  if (value === undefined) return null;
  if (typeof value !== "boolean") throw unexpected("true or false", name, value);
  return value;
}

function required<T>(name: string, value: T | null): T {
  if (value === null) throw unexpected("a value", name, undefined);
  return value;
}

function text(name: string, value: unknown): string | null {
  if (value === undefined) return null;
  if (typeof value !== "string" || value === "") throw unexpected("a text that is not empty", name, value);
  return value;
}

function oneOf<T extends string>(name: string, value: unknown, known: readonly T[]): T | null {
  if (value === undefined) return null;
  if (!known.includes(value as T)) throw unexpected(`one of ${known.join(", ")}`, name, value);
  return value as T;
}

function warmup(value: unknown): number {
  const checked = real("warmup", value, from(0)) ?? 0.03;
  if (checked >= 1 && !Number.isInteger(checked)) {
    throw unexpected("a fraction below 1 or a whole number of steps", "warmup", value);
  }
  return checked;
}

function betas(value: unknown): [number, number] {
  if (value === undefined) return [0.9, 0.999];
  const pair = Array.isArray(value) ? (value as unknown[]) : [];
  if (pair.length !== 2) throw unexpected("two numbers from 0 to below 1", "betas", value);
  return [real("betas[0]", pair[0], fraction) ?? 0.9, real("betas[1]", pair[1], fraction) ?? 0.999];
}

function targets(value: unknown): LoraTarget[] {
  if (value === undefined) return [...linearLayers];
  const what = `different names out of ${allTargets.join(", ")}`;
  if (!Array.isArray(value) || value.length === 0) throw unexpected(what, "targets", value);
  const wrong = value.find((name, index) => !allTargets.includes(name) || value.indexOf(name) !== index);
  if (wrong !== undefined) throw unexpected(what, "targets", wrong);
  return allTargets.filter((name) => value.includes(name));
}
