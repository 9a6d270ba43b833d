// Types of single matrices under a size budget, by what each does to the model's answers: measured, chosen, written and compared.
// Owns the order of these steps; the trials are native, the choice is knapsack.ts.
import { rm, stat } from "node:fs/promises";
import { readRows } from "../dataset/index.js";
import { readShots } from "../evaluate/index.js";
import type { Model } from "../model/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import { temporaryName } from "../support/files.js";
import {
  type NativeBatch,
  type NativeImportance,
  type NativeSensitivity,
  type NativeTensorType,
  native,
} from "../support/native.js";
import { Random } from "../support/random.js";
import type { Task } from "../task/index.js";
import { packTexts } from "../tokens/index.js";
import { chooseWithin } from "./knapsack.js";
import type { ExportSettings } from "./options.js";
import { firstBatch } from "./rows.js";

/** What `export --size` found, in the fields of `--json`. */
export interface Mixture {
  /** Bytes that the file may have. */
  budget: number;
  /** Bytes of the smallest file that its types allow. */
  smallest: number;
  /** "mixed"; or one of llama.cpp's types, where that fits and measures a lower KL than every mixture that was found. */
  type: string;
  /** Of the batch that was measured on. */
  split: "validation" | "train";
  rows: number;
  positions: number;
  /** Mean KL(merged || quantised) over these positions, in nats: the sum of the matrices' own, and that of the file that was written. */
  kl: { expected: number; measured: number };
  /** Every matrix with ggml's name of its type, its bytes, and the KL that this alone makes. */
  tensors: { name: string; type: string; bytes: number; kl: number }[];
}

/** Most tokens of the batch that is measured on. */
const tokenBudget = 2048;

/** Bits a weight up to which a type is run; of finer ones the KL follows from that of the finest that was run. */
const mostBitsRun = 4.6;

/** What {@link quantizeWithin} works with. */
export interface WithinOptions {
  /** Bytes that the file may have. */
  budget: number;
  /** The file to write. */
  file: string;
  /** Of whose validation rows, or training rows where it has none, the batch is. */
  task: Task;
  importance: NativeImportance | null;
  settings: ExportSettings;
}

/** Writes a model in a file of at most so many bytes. Throws "usage" for too few, "input" for a task without rows that fit, "cancelled". */
export async function quantizeWithin(model: Model, options: WithinOptions): Promise<Mixture> {
  const { budget, file, importance } = options;
  const { signal, onProgress } = options.settings;
  const { batch, rows, split } = await measuredBatch(model, options);
  const trials = await model.native.openSensitivity(batch, importance);
  const { positions } = trials;
  let measured: MeasuredMatrix[];
  let smallest: number;
  const write = async (type: string, tensors?: NativeTensorType[]) => {
    throwIfCancelled(signal, "exporting");
    const types = { type, importance, threads: model.threads, ...(tensors && { tensors }) };
    await native().quantize(model.info.path, file, types);
    return (await stat(file)).size;
  };
  const measure = async () => {
    const written = await native().openModel(file, { threads: model.threads, variant: null });
    try {
      const { klSum } = await model.native.compare(batch, null, written, null);
      return Math.max(0, klSum / positions);
    } finally {
      await written.close();
    }
  };
  try {
    // A budget that is too small shall not wait for the measurements.
    smallest = await writeSmallest(trials, write);
    requireBudget(budget, smallest);
    measured = await measureMatrices(trials, {
      signal,
      onProgress: (done) => onProgress?.({ phase: "measure", done }),
    });
  } finally {
    await trials.close();
  }
  onProgress?.({ phase: "quantize", done: 0 });
  const usual = await usualTypes(measured, { budget, file, write, measure });
  const tensors = chooseTypes(measured, { budget, smallest });
  const bytes = await write(fileType(tensors), tensors);
  if (bytes > budget)
    throw new StillroomError("internal", `a file of at most ${budget} bytes was planned, ${bytes} were written`);
  const found = { type: "mixed", tensors, kl: await measure() };
  const better = usual !== null && usual.kl < found.kl ? usual : null;
  if (better) await write(better.type);
  const best = better ?? found;
  const kl = { expected: best.tensors.reduce((sum, tensor) => sum + tensor.kl, 0), measured: best.kl };
  return { budget, smallest, type: best.type, split, rows, positions, kl, tensors: best.tensors };
}

/** Throws "usage", naming the smallest that there is, where no types make a file of at most so many bytes of a model, whatever its weights. Writes a file beside `beside`, and removes it. */
export async function requireSize(model: Model, budget: number, beside: string): Promise<void> {
  const file = temporaryName(beside);
  // Which types a matrix may have is told with its trials, and those want a text.
  const trials = await model.native.openSensitivity(packTexts([Int32Array.of(0, 0)]), null);
  try {
    const smallest = await writeSmallest(trials, async (type, tensors) => {
      await native().quantize(model.info.path, file, { type, importance: null, threads: model.threads, tensors });
      return (await stat(file)).size;
    });
    requireBudget(budget, smallest);
  } finally {
    await trials.close();
    await rm(file, { force: true });
  }
}

/** Has a file written in which every matrix has its smallest type; gives its bytes. */
function writeSmallest(
  { matrices }: NativeSensitivity,
  write: (type: string, tensors: NativeTensorType[]) => Promise<number>,
): Promise<number> {
  const least = matrices.map(({ name, types }) => ({ name, ...types[0]! }));
  return write(fileType(least), least);
}

/** The finest of llama.cpp's own types that fits, measured; null where none does. KLs of single matrices do not add up where answers are all but certain. */
async function usualTypes(
  measured: readonly MeasuredMatrix[],
  work: { budget: number; file: string; write(type: string): Promise<number>; measure(): Promise<number> },
): Promise<{ type: string; tensors: Mixture["tensors"]; kl: number } | null> {
  for (const type of ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"]) {
    if ((await work.write(type)) > work.budget) continue;
    const types = new Map((await native().tensorTypes(work.file)).map((tensor) => [tensor.name, tensor.type]));
    const tensors = measured.map(({ name, types: all }) => ({
      name,
      ...all.find((one) => one.type === types.get(name))!,
    }));
    return { type, tensors, kl: await work.measure() };
  }
  return null;
}

/** Of validation rows, where there are any: on rows that were learnt a model is too sure for single matrices to matter, and all together may. */
async function measuredBatch(
  model: Model,
  { task, settings }: WithinOptions,
): Promise<{ batch: NativeBatch; rows: number; split: "validation" | "train" }> {
  const { limit, strict, onBad, signal, seed } = settings;
  const split = task.data.validation ? "validation" : "train";
  const { rows } = await readRows(task, split, {
    strict: strict ?? false,
    ...(onBad && { onBad }),
    ...(signal && { signal }),
  });
  const drawn = new Random(seed).shuffle(rows).slice(0, limit);
  const { examples } = await readShots(task, drawn, { ...settings, model });
  const found = firstBatch(model, task, drawn, examples, tokenBudget);
  if (found) return { ...found, split };
  throw new StillroomError("input", `none of the ${split} rows of ${task.name} fits the context of ${model.info.path}`);
}

/** A matrix with what each of its types costs. */
export interface MeasuredMatrix {
  name: string;
  types: { type: string; bytes: number; kl: number }[];
}

/** What every type of every matrix does to the answers. */
export async function measureMatrices(
  trials: NativeSensitivity,
  { signal, onProgress }: { signal?: AbortSignal | undefined; onProgress(done: number): void },
): Promise<MeasuredMatrix[]> {
  const measured: MeasuredMatrix[] = [];
  for (const index of trials.matrices.keys()) {
    throwIfCancelled(signal, "measuring what quantising does");
    measured.push(await measureMatrix(trials, index));
    onProgress((index + 1) / trials.matrices.length);
  }
  return measured;
}

async function measureMatrix(trials: NativeSensitivity, index: number): Promise<MeasuredMatrix> {
  const { name, weights, types } = trials.matrices[index]!;
  const found: { type: string; bytes: number; error: number; kl: number }[] = [];
  // The error of the finest type that was run, and its KL.
  let base = { error: 0, kl: 0 };
  for (const [number, { type, bytes }] of types.entries()) {
    // Also where none is that small: one has to be run.
    const run = number === 0 || (8 * bytes) / weights <= mostBitsRun;
    const { error, klSum } = await trials.measure(index, number, run);
    // A KL is never negative; the sum of rounded terms may be.
    if (run) base = { error, kl: Math.max(0, klSum / trials.positions) };
    const kl = run ? base.kl : base.error > 0 ? (base.kl * error) / base.error : 0;
    // What is no number is no choice, as long as another is.
    found.push({ type, bytes, error, kl: Number.isNaN(kl) ? Number.MAX_VALUE : kl });
  }
  return { name, types: found.map(({ type, bytes, kl }) => ({ type, bytes, kl })) };
}

/** Bytes of a tensor in the file. */
function padded(bytes: number): number {
  return Math.ceil(bytes / 32) * 32;
}

/**
 * The types with the least sum of KLs in a file of at most `budget` bytes.
 *
 * @param smallest - bytes of the file in which every matrix has its smallest type; at most the budget
 */
export function chooseTypes(
  matrices: readonly MeasuredMatrix[],
  { budget, smallest }: { budget: number; smallest: number },
): Mixture["tensors"] {
  const items = matrices.map(({ types }) => types.map(({ bytes, kl }) => ({ bytes: padded(bytes), loss: kl })));
  const least = items.reduce((sum, choices) => sum + Math.min(...choices.map(({ bytes }) => bytes)), 0);
  const chosen = chooseWithin(items, budget - smallest + least)!;
  return matrices.map(({ name, types }, index) => ({ name, ...types[chosen[index]!]! }));
}

function requireBudget(budget: number, smallest: number): void {
  if (budget >= smallest) return;
  const message = `no types make a file of ${budget} bytes: the smallest that they make has ${smallest}; give at least --size ${smallest}, or make a smaller student`;
  throw new StillroomError("usage", message, { options: ["size"] });
}

/** The name that llama.cpp shows for the file: the type of the most bytes. */
function fileType(tensors: readonly { type: string; bytes: number }[]): string {
  const bytes = new Map<string, number>();
  for (const tensor of tensors) bytes.set(tensor.type, (bytes.get(tensor.type) ?? 0) + tensor.bytes);
  const [most] = [...bytes].sort((a, b) => b[1] - a[1])[0]!;
  const names: Record<string, string> = { q3_K: "Q3_K_M", q4_K: "Q4_K_M", q5_K: "Q5_K_M", f16: "Q8_0" };
  return names[most] ?? most.toUpperCase();
}
