// A training job over the fake engine: rows are pairs (token → next token), micro-batches hold a given number of rows.
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { NativeBatch, NativeTensor } from "../../src/support/native.js";
import type { TrainEvent } from "../../src/train/events.js";
import { type MicroBatch, type TrainJob, type TrainOutcome, train } from "../../src/train/loop.js";
import { RunFolder } from "../../src/train/run-folder.js";
import { FakeLora, FakeTrainer } from "../support/fake_engine.js";
import { tensorsOf } from "../support/golden.js";

export type ToyRow = [token: number, next: number];

/** Learnable: token t is followed by (5 t + 3) mod 10. */
export const toyRows = (count: number): ToyRow[] =>
  Array.from({ length: count }, (_, index) => [index % 10, (5 * (index % 10) + 3) % 10]);

export interface ToyOptions {
  rows?: ToyRow[];
  steps?: number;
  batchSize?: number;
  microBatch?: number;
  evaluateEvery?: number;
  learningRate?: number;
  change?: Partial<Omit<TrainJob, "trainer" | "parameters">>;
}

export function toyBatch(rows: ToyRow[]): NativeBatch {
  return {
    tokens: Int32Array.from(rows.map(([token]) => token)),
    segments: Int32Array.from(rows.flatMap((_, index) => [index, 1, -1])),
    queryPositions: Int32Array.from(rows.keys()),
    queryTokens: Int32Array.from(rows.map(([, next]) => next)),
  };
}

export async function toyFolder(): Promise<string> {
  return mkdtemp(path.join(tmpdir(), "stillroom-train-"));
}

/** A job in a folder, going on from the newest checkpoint that the folder holds. */
export async function toyJob(
  folder: string,
  options: ToyOptions = {},
): Promise<TrainJob & { parameters: FakeLora; trainer: FakeTrainer; damaged: string[] }> {
  const {
    rows = toyRows(40),
    steps = 12,
    batchSize = 8,
    microBatch = 3,
    evaluateEvery = 100,
    learningRate = 0.05,
  } = options;
  const lora = new FakeLora({ rank: 4, alpha: 8, dropout: 0, rsLora: false, targets: ["q"], seed: 7 });
  const settings = {
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weightDecay: 0.01,
    clipNorm: 1,
    recompute: false,
    seed: 7,
  };
  const trainer = new FakeTrainer(lora, settings);
  const run = await RunFolder.open(folder, true);
  const found = await run.checkpoints.latest();
  await run.rewind(found?.checkpoint.step ?? 0);
  return {
    parameters: lora,
    trainer,
    keepBest: "memory",
    quantize: null,
    damaged: found?.damaged ?? [],
    plan: {
      tokenBudget: 1024,
      recompute: false,
      memoryBytes: 0,
      maxLength: 16,
      rows: rows.length,
      steps,
      schedule: { name: "linear", learningRate, warmup: 2, steps },
      frozenBytes: 0,
      evaluateEvery,
      validationLimit: 50,
    },
    batchSize,
    seed: 3,
    fitOn: 0,
    microBatches(indices: Int32Array): MicroBatch[] {
      const chosen = [...indices].map((index) => rows[index]!);
      const cuts = Array.from({ length: Math.ceil(chosen.length / microBatch) }, (_, index) => index * microBatch);
      return cuts.map((cut) => {
        const part = chosen.slice(cut, cut + microBatch);
        return { batch: toyBatch(part), rows: part.length, tokens: 2 * part.length };
      });
    },
    folder: run,
    fingerprint: { model: "toy" },
    from: found?.checkpoint ?? null,
    validate: null,
    metric: "accuracy",
    patience: null,
    checkpointEvery: null,
    signal: null,
    ...options.change,
  };
}

export interface Told {
  events: TrainEvent[];
  outcome: TrainOutcome | null;
  /** What the parameters are at the end. */
  weights: NativeTensor[];
  error: unknown;
}

/** Runs a job to its end, calling back at each event; frees the folder. */
export async function drive(job: TrainJob, onEvent: (event: TrainEvent) => void = () => undefined): Promise<Told> {
  const told: Told = { events: [], outcome: null, weights: [], error: null };
  const run = train(job);
  try {
    for (;;) {
      const { done, value } = await run.next();
      if (done) {
        told.outcome = value;
        break;
      }
      told.events.push(value);
      onEvent(value);
    }
  } catch (error) {
    told.error = error;
  }
  told.weights = tensorsOf(job.parameters);
  await job.folder.close();
  return told;
}

/** Bytes of a list of tensors, for comparison to the last bit. */
export function bits(tensors: { data: Float32Array }[]): string {
  return tensors
    .map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("hex"))
    .join("|");
}
