// Types of single matrices under a size budget, by what each does to the model's answers: measured, chosen, written and compared.
// Owns the order of these steps; the trials are native, the choice is knapsack.ts.
import { stat } from "node:fs/promises";
import { readRows } from "../dataset/index.js";
import type { Model } from "../model/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import { type NativeBatch, type NativeImportance, type NativeSensitivity, native } from "../support/native.js";
import { Random } from "../support/random.js";
import type { Task } from "../task/index.js";
import { chooseWithin } from "./knapsack.js";
import type { ExportSettings } from "./options.js";
import { firstBatch } from "./rows.js";

/** What `export --size` found, in the fields of `--json`. */
export interface Mixture {
  /** Bytes that the file may have. */
  budget: number;
  /** Bytes of the smallest file that its types allow. */
  smallest: number;
  /** Of the batch that was measured on. */
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
  /** Of whose training rows the batch is. */
  task: Task;
  importance: NativeImportance | null;
  settings: ExportSettings;
  /** Opens a file that was written here. */
  open(file: string): Promise<Model>;
}

/** Writes a model in a file of at most so many bytes. Throws "usage" for too few, "input" for a task without rows that fit, "cancelled". */
export async function quantizeWithin(model: Model, options: WithinOptions): Promise<Mixture> {
  const { budget, file, importance } = options;
  const { signal, onProgress } = options.settings;
  const { batch, rows } = await measuredBatch(model, options);
  const trials = await model.native.openSensitivity(batch, importance);
  let measured: MeasuredMatrix[];
  let smallest: number;
  const write = async (tensors: { name: string; type: string; bytes: number }[]) => {
    const types = { type: fileType(tensors), tensors, importance, threads: model.threads };
    await native().quantize(model.info.path, file, types);
    return (await stat(file)).size;
  };
  try {
    // A budget that is too small shall not wait for the measurements.
    smallest = await write(trials.matrices.map(({ name, types }) => ({ name, ...types[0]! })));
    requireBudget(budget, smallest);
    measured = await measureMatrices(trials, {
      signal,
      onProgress: (done) => onProgress?.({ phase: "measure", done }),
    });
  } finally {
    await trials.close();
  }
  const tensors = chooseTypes(measured, { budget, smallest });
  throwIfCancelled(signal, "exporting");
  onProgress?.({ phase: "quantize", done: 0 });
  const bytes = await write(tensors);
  if (bytes > budget)
    throw new StillroomError("internal", `a file of at most ${budget} bytes was planned, ${bytes} were written`);
  const { klSum, positions } = await model.native.compare(batch, null, (await options.open(file)).native, null);
  const kl = {
    expected: tensors.reduce((sum, tensor) => sum + tensor.kl, 0),
    measured: Math.max(0, klSum / positions),
  };
  return { budget, smallest, rows, positions, kl, tensors };
}

async function measuredBatch(
  model: Model,
  { task, settings }: WithinOptions,
): Promise<{ batch: NativeBatch; rows: number }> {
  const { strict, onBad, signal, seed } = settings;
  const { rows } = await readRows(task, "train", {
    strict: strict ?? false,
    ...(onBad && { onBad }),
    ...(signal && { signal }),
  });
  const found = firstBatch(model, task, new Random(seed).shuffle(rows), tokenBudget);
  if (found) return found;
  throw new StillroomError("input", `none of the training rows of ${task.name} fits the context of ${model.info.path}`);
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
  // A type that takes more bytes and rounds no finer is of no use.
  const useful = found.filter(({ error }, number) => found.slice(0, number).every((smaller) => error < smaller.error));
  return { name, types: useful.map(({ type, bytes, kl }) => ({ type, bytes, kl })) };
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
