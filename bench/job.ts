// The work that both sides of a tuning trial are given: token rows, steps, rates and first weights. Runs nothing.
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { writeAdapterFolder } from "../src/adapter/index.js";
import type { Model } from "../src/model/index.js";
import type {
  LoraTarget,
  NativeBatch,
  NativeLoraOptions,
  NativeOptimizerOptions,
  NativePrecision,
} from "../src/support/native.js";
import type { Encoded } from "../src/tokens/index.js";
import type { Work } from "./side.js";

/** A row of token ids; every token from answerFrom on is a label. */
export interface JobRow {
  tokens: number[];
  answerFrom: number;
}

export interface JobStep {
  /** Indices of the rows of one optimiser step. */
  rows: number[];
  learningRate: number;
}

export interface FirstAdapter {
  folder: string;
  options: NativeLoraOptions;
}

/** The job file that bench/ours-tune.ts and bench/peers/pytorch_tune.py read. */
export interface TuneJob {
  model: string;
  threads: number;
  /** Of our frozen products; the peer computes in f32. */
  precision: NativePrecision;
  rows: JobRow[];
  steps: JobStep[];
  /** Steps before the timed ones. */
  untimed: number;
  optimizer: NativeOptimizerOptions;
  /**
   * First weights: what draws them, as tune does on our side, and the same as a PEFT folder for the peer; null: the model's own weights are
   * trained, all of them.
   */
  adapter: FirstAdapter | null;
  /** Folder for the trained adapter, or null. */
  out: string | null;
  ours: { tokenBudget: number; sharePrefix: boolean; recompute: boolean; seed: number };
  peer: { microBatchRows: number; logits: "all" | "labels" };
}

export const linearLayers: LoraTarget[] = ["q", "k", "v", "o", "gate", "up", "down"];

export function jobRow({ prompt, answer }: Encoded): JobRow {
  return { tokens: [...prompt, ...answer], answerFrom: prompt.length };
}

/** A row of a job as the packing takes it. */
export function encodedRow({ tokens, answerFrom }: JobRow, index: number): Encoded {
  const all = Int32Array.from(tokens);
  const row = { index, file: "job", line: index, fields: {}, answer: "", value: "" };
  return { prompt: all.subarray(0, answerFrom), answer: all.subarray(answerFrom), row };
}

/** Writes the first weights that a seed draws on a model, as a PEFT folder that both sides start from. */
export async function writeFirstAdapter(
  folder: string,
  model: Model,
  adapter: { rank: number; alpha: number; seed: number; targets: LoraTarget[] },
): Promise<FirstAdapter> {
  const options = { ...adapter, dropout: 0, rsLora: false };
  const lora = model.native.createLora(options);
  const baseModel = model.info.name ?? path.basename(model.info.path);
  await writeAdapterFolder({ folder, tensors: lora.tensors(), options: lora.options, info: model.info, baseModel });
  return { folder, options };
}

export async function writeJob(file: string, job: object): Promise<string> {
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, JSON.stringify(job));
  return file;
}

/** What a batch computes. */
export function workOf({ tokens, segments, queryPositions }: NativeBatch): Required<Work> {
  const depths: number[] = []; // position of each segment's end
  let pairs = 0;
  for (let at = 0; at < segments.length; at += 3) {
    const [length, parent] = [segments[at + 1]!, segments[at + 2]!];
    const from = parent < 0 ? 0 : depths[parent]!;
    depths.push(from + length);
    pairs += from * length + (length * (length + 1)) / 2;
  }
  const queried = new Set(queryPositions).size;
  return { tokens: tokens.length, pairs, logits: queried, queried };
}
