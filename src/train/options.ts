// The options of a tuning run: their names, defaults and limits. Knows no model and no rows (plan.ts adds those).
import { StillroomError, unexpected } from "../support/errors.js";
import {
  type HeadLoss,
  type LoraTarget,
  type NativeLoraOptions,
  type NativePrecision,
  precisions,
  type WeightTarget,
} from "../support/native.js";
import { nearestName, requireOneOf, requireReal, requireWhole } from "../task/index.js";

/** How the learning rate moves after warm-up; the equations are in schedule.ts. */
export type ScheduleName = "constant" | "linear" | "cosine";

/** What is trained: a LoRA beside frozen weights, the weights themselves, or the head of the model alone. */
export type TuneMethod = "lora" | "full" | "head";
/** AdamW with its moments in f32, or in 8 bits a value (docs/numerics.md). */
export type OptimizerName = "adamw" | "adamw_8bit";

/** Options of a tuning run. Only `out` is required. */
export interface TuneOptions {
  /** Path of a GGUF file, or an hf: URI (default: the model in the box). */
  model?: string | undefined;
  /** The RUN folder: run.json, metrics.jsonl, checkpoints/, and adapter/ and adapter.gguf or model.gguf. Made when absent. */
  out: string;
  /** A prompt file, in place of the task's own prompt: rows are learnt behind its examples. */
  prompt?: string | undefined;
  /** "lora" (default); "full": weights of the model itself; "head": with `head` that alone, else the language-model head and the norm before it. */
  method?: TuneMethod | undefined;
  /**
   * A head of the task's own on the last hidden state of the prompt, in place of label or number texts, trained on this loss: "softmax" for classify; "sigmoid"
   * for multilabel; "squared", "huber" or "pinball" for regress. Over the adapter with "lora", alone with "head". Default: none for classify, "sigmoid" for multilabel, "squared" for regress.
   */
  head?: HeadLoss | undefined;
  /** Of "pinball", rising levels between 0 and 1 (default [0.05, 0.5, 0.95]): the one nearest to 0.5 is the answer, the outer two its interval. */
  quantiles?: number[] | undefined;
  /** Of "huber": from how many standard deviations of the targets on errors count linearly (default 1). */
  huberDelta?: number | undefined;
  /**
   * "balanced" weights, of "softmax", each label by rows / (labels × its rows), of "sigmoid" a label that is right by rows without it / rows with it (default: all
   * 1).
   */
  classWeights?: "balanced" | undefined;
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
  /**
   * With "lora", the weights that get an adapter (default: the seven linear layers q, k, v, o, gate, up, down). With "full", the weights that
   * are trained: these, norms, biases, head, final_norm, embeddings (default: all; with `layers`, all that a layer has).
   */
  targets?: WeightTarget[] | undefined;
  /** Layers, from 0, whose weights are adapted or trained (default: all). The layers below the lowest one need no backward pass. */
  layers?: number[] | undefined;
  /** Default "adamw". */
  optimizer?: OptimizerName | undefined;
  /**
   * Of labels, what is fitted on the validation rows when the run has ended: "temperature" (default, from 50 rows on), "isotonic" or "none". It lies in
   * calibration.json, and answers of this run go through it.
   */
  calibrate?: "temperature" | "isotonic" | "none" | undefined;
  /**
   * Of labels: answers that are less sure than it takes for so large a share to be right on the validation rows are left open (default: none is). Of sets of
   * labels: each label is given from the probability on from which so large a share of the rows given it has it (default: where its F1 is highest).
   */
  targetPrecision?: number | undefined;
  /** Of numbers: the share of rows whose answer lies within the interval around the prediction (default 0.9, from 50 validation rows on). */
  coverage?: number | undefined;
  /** Highest learning rate (default 2e-4, with "full" 2e-5, of a task's own head alone 1e-3). */
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
  /**
   * Products with frozen weights: "f32" exactly (default), or faster and rounded to "bf16", "int16", "int8" or "mixed" (int16 forward, int8 backward), where that
   * moves the loss of the first two steps' rows by no more than a hundredth; else the run warns and goes on in f32.
   */
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
  prompt: string | null;
  method: TuneMethod;
  head: HeadLoss | null;
  quantiles: number[] | null;
  huberDelta: number | null;
  classWeights: "balanced" | null;
  calibrate: "temperature" | "isotonic" | "none" | null;
  targetPrecision: number | null;
  coverage: number | null;
  epochs: number | null;
  steps: number | null;
  batchSize: number;
  tokenBudget: number | null;
  memory: number | null;
  recompute: boolean | null;
  /** Of "lora", these four; null otherwise. */
  rank: number | null;
  alpha: number | null;
  dropout: number | null;
  rsLora: boolean | null;
  targets: WeightTarget[];
  layers: number[] | null;
  optimizer: OptimizerName;
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

const linearLayers: WeightTarget[] = ["q", "k", "v", "o", "gate", "up", "down"];
/** All that a model has. */
export const everyWeight: WeightTarget[] = [...linearLayers, "norms", "biases", "head", "final_norm", "embeddings"];
/** By method, what targets takes. */
const allTargets: Record<TuneMethod, WeightTarget[]> = {
  lora: [...linearLayers, "head", "embeddings"],
  full: everyWeight,
  head: ["head", "final_norm"],
};
/** Weights that belong to no layer. */
export const outside: WeightTarget[] = ["head", "final_norm", "embeddings"];

/** Checks every option and fills in the defaults. Throws "usage" with what was expected and what came. */
export function tuneSettings(options: TuneOptions): TuneSettings {
  const method = oneOf("method", options.method, ["lora", "full", "head"]) ?? "lora";
  if (options.epochs !== undefined && options.steps !== undefined) {
    throw new StillroomError("usage", "expected epochs or steps, received both", { options: ["epochs", "steps"] });
  }
  const settings: TuneSettings = {
    model: text("model", options.model),
    out: required("out", text("out", options.out)),
    prompt: text("prompt", options.prompt),
    method,
    ...ownHead(method, options),
    calibrate: oneOf("calibrate", options.calibrate, ["temperature", "isotonic", "none"]),
    targetPrecision: real("targetPrecision", options.targetPrecision, share),
    coverage: real("coverage", options.coverage, share),
    epochs: options.steps === undefined ? (real("epochs", options.epochs, above(0)) ?? 1) : null,
    steps: whole("steps", options.steps, 1),
    batchSize: whole("batchSize", options.batchSize, 1) ?? 16,
    tokenBudget: whole("tokenBudget", options.tokenBudget, 1),
    memory: whole("memory", options.memory, 1),
    recompute: flag("recompute", options.recompute),
    ...adapter(method, options),
    ...chosenWeights(method, options),
    optimizer: oneOf("optimizer", options.optimizer, ["adamw", "adamw_8bit"]) ?? "adamw",
    learningRate: real("learningRate", options.learningRate, above(0)) ?? usualRate(method, options),
    schedule: oneOf("schedule", options.schedule, ["constant", "linear", "cosine"]) ?? "linear",
    warmup: warmup(options.warmup),
    weightDecay: real("weightDecay", options.weightDecay, from(0)) ?? 0,
    betas: betas(options.betas),
    epsilon: real("epsilon", options.epsilon, above(0)) ?? 1e-8,
    clipNorm: real("clipNorm", options.clipNorm, from(0)) ?? 1,
    seed: whole("seed", options.seed, 0) ?? 0,
    threads: whole("threads", options.threads, 1),
    variant: text("variant", options.variant),
    precision: precision(method, options.head, options.precision),
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
  refuseUnknown(options, namesOf(settings));
  return settings;
}

/** The names of all options. */
export const tuneOptionNames = (): string[] => namesOf(tuneSettings({ out: "." }));

const namesOf = (settings: TuneSettings): string[] => [...Object.keys(settings), "signal"];

function usualRate(method: TuneMethod, { head }: TuneOptions): number {
  if (method === "head" && head !== undefined) return 1e-3;
  return method === "full" ? 2e-5 : 2e-4;
}

/** The head of the task's own, and what belongs to its loss. */
function ownHead(
  method: TuneMethod,
  options: TuneOptions,
): Pick<TuneSettings, "head" | "quantiles" | "huberDelta" | "classWeights"> {
  const head = oneOf("head", options.head, ["softmax", "sigmoid", "squared", "huber", "pinball"]);
  if (head !== null && method === "full")
    throw unexpected(`"lora" or "head", with which a head of the task's own (${head}) goes,`, "method", method);
  const only = (losses: readonly HeadLoss[], name: "quantiles" | "huberDelta" | "classWeights") => {
    const fits = head !== null && losses.includes(head);
    const words = losses.map((loss) => `"${loss}"`).join(" or ");
    if (!fits && options[name] !== undefined) throw unexpected(`head ${words}`, name, options[name]);
    return fits;
  };
  const levels = options.quantiles ?? [0.05, 0.5, 0.95];
  const rising = Array.isArray(levels) && levels.every((level, at) => level > (levels[at - 1] ?? 0) && level < 1);
  if (!rising || levels.length === 0)
    throw unexpected("rising numbers between 0 and 1", "quantiles", options.quantiles);
  return {
    head,
    quantiles: only(["pinball"], "quantiles") ? levels : null,
    huberDelta: only(["huber"], "huberDelta") ? (real("huberDelta", options.huberDelta, above(0)) ?? 1) : null,
    classWeights: only(["softmax", "sigmoid"], "classWeights")
      ? oneOf("classWeights", options.classWeights, ["balanced"])
      : null,
  };
}

/** The adapter of a run, or what a head alone stands on; null with a method that has neither. */
export function loraOptions(settings: TuneSettings): NativeLoraOptions | null {
  const { method, head, rank, alpha, dropout, rsLora, layers, seed } = settings;
  if (method === "head" && head !== null) return { rank: 1, alpha: 1, dropout: 0, rsLora: false, targets: [], seed };
  if (rank === null || alpha === null || dropout === null || rsLora === null) return null;
  return { rank, alpha, dropout, rsLora, targets: settings.targets as LoraTarget[], ...(layers && { layers }), seed };
}

function refuseUnknown(options: TuneOptions, known: string[]): void {
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const nearest = nearestName(name, known);
    throw unexpected(`the name of an option of tune${nearest ? ` (did you mean ${nearest}?)` : ""}`, "an option", name);
  }
}

interface Range {
  words: string;
  holds: (value: number) => boolean;
}

const above = (bound: number): Range => ({ words: `a number above ${bound}`, holds: (value) => value > bound });
const from = (bound: number): Range => ({ words: `a number of at least ${bound}`, holds: (value) => value >= bound });
const share: Range = { words: "a number above 0 and below 1", holds: (value) => value > 0 && value < 1 };
const fraction: Range = { words: "a number from 0 to below 1", holds: (value) => value >= 0 && value < 1 };

function real(name: string, value: unknown, range: Range): number | null {
  if (value === undefined) return null;
  requireReal(name, value, range.words, range.holds);
  return value;
}

function whole(name: string, value: unknown, least: number): number | null {
  requireWhole(name, value, least);
  return value ?? null;
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
  requireOneOf(name, value, known);
  return value;
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

/** The options of an adapter, which the other methods have not. */
function adapter(
  method: TuneMethod,
  options: TuneOptions,
): Pick<TuneSettings, "rank" | "alpha" | "dropout" | "rsLora"> {
  if (method !== "lora") {
    const names = ["rank", "alpha", "dropout", "rsLora"] as const;
    for (const name of names) if (options[name] !== undefined) throw unexpected(`method "lora"`, name, options[name]);
    return { rank: null, alpha: null, dropout: null, rsLora: null };
  }
  const rank = whole("rank", options.rank, 1) ?? 16;
  return {
    rank,
    alpha: real("alpha", options.alpha, above(0)) ?? 2 * rank,
    dropout: real("dropout", options.dropout, fraction) ?? 0,
    rsLora: flag("rsLora", options.rsLora) ?? false,
  };
}

function chosenWeights(method: TuneMethod, options: TuneOptions): Pick<TuneSettings, "targets" | "layers"> {
  const chosen = layers(options.layers);
  const all = allTargets[method];
  if (method === "head" && chosen !== null) throw unexpected(`method "lora" or "full"`, "layers", options.layers);
  if (method === "head" && options.head !== undefined) {
    // A run that goes on says that it has none.
    if (options.targets?.length !== 0 && options.targets !== undefined)
      throw unexpected(`method "lora" or "full"`, "targets", options.targets);
    return { targets: [], layers: null };
  }
  const usual = method === "lora" ? linearLayers : all.filter((name) => chosen === null || !outside.includes(name));
  const asked = targets(options.targets, all) ?? usual;
  // PEFT's layers_to_transform leaves out what lies in no layer.
  if (method === "lora" && chosen !== null && asked.some((name) => outside.includes(name))) {
    throw unexpected(`names out of ${linearLayers.join(", ")} together with layers`, "targets", options.targets);
  }
  if (chosen !== null && asked.every((name) => outside.includes(name))) {
    const names = all.filter((name) => !outside.includes(name));
    throw unexpected(`at least one of ${names.join(", ")} together with layers`, "targets", options.targets);
  }
  return { targets: asked, layers: chosen };
}

function targets(value: unknown, all: WeightTarget[]): WeightTarget[] | null {
  if (value === undefined) return null;
  const what = `different names out of ${all.join(", ")}`;
  if (!Array.isArray(value) || value.length === 0) throw unexpected(what, "targets", value);
  const wrong = value.find((name, index) => !all.includes(name) || value.indexOf(name) !== index);
  if (wrong !== undefined) throw unexpected(what, "targets", wrong);
  return all.filter((name) => value.includes(name));
}

function layers(value: unknown): number[] | null {
  if (value === undefined) return null;
  const what = "different whole numbers of at least 0";
  if (!Array.isArray(value) || value.length === 0) throw unexpected(what, "layers", value);
  const wrong = value.find(
    (layer, index) => !(Number.isSafeInteger(layer) && layer >= 0) || value.indexOf(layer) !== index,
  );
  if (wrong !== undefined) throw unexpected(what, "layers", wrong);
  return [...value].sort((a, b) => a - b);
}

/** Rounded operands are for frozen weights. */
function precision(method: TuneMethod, head: HeadLoss | undefined, value: unknown): NativePrecision {
  const asked = oneOf("precision", value, precisions) ?? "f32";
  const frozen = method === "lora" || (method === "head" && head !== undefined);
  if (!frozen && asked !== "f32") throw unexpected(`"f32" with method "${method}"`, "precision", asked);
  return asked;
}
