// The distillation trial: ours with the teacher asked once, and PyTorch with the teacher resident and a KL over the whole vocabulary, on the same rows from
// the same student, taking turns step by step. The first losses must agree, though we keep a hundredth of the teacher's logits; then the times count.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { openModel } from "../src/index.js";
import type { Model } from "../src/model/index.js";
import { type NativeModelInfo, type NativePrecision, native } from "../src/support/native.js";
import { type JobRow, type JobStep, type TuneJob, writeJob } from "./job.js";
import { type Machine, machine } from "./machine.js";
import { type Measured, measured } from "./numbers.js";
import { peerProgram, peerScript } from "./setup.js";
import { type DistillDone, Side, type SideDone, withSides } from "./side.js";
import type { TrialSession } from "./tune.js";
import { type WorkKind, works } from "./work.js";

export interface DistillBenchOptions {
  /** "trl": the on-policy trial (bench/on-policy.ts). */
  peer: "pytorch" | "trl" | "none";
  /** The teacher; the student is every third layer of it. */
  model?: string;
  work: WorkKind;
  topK: number;
  repeat: number;
  threads?: number;
  /** Of our teacher's products; those of the student, whose weights move, are f32. */
  precision?: NativePrecision;
  /** Folder of SST-2. */
  data?: string;
  seed: number;
}

/** The job file that bench/ours-distill.ts and bench/peers/pytorch_distill.py read. */
export interface DistillJob {
  teacher: string;
  student: string;
  threads: number;
  precision: NativePrecision;
  topK: number;
  rows: JobRow[];
  steps: JobStep[];
  optimizer: TuneJob["optimizer"];
  ours: TuneJob["ours"];
}

/** One side. */
export interface DistillSide {
  /** Of steps whose rows the teacher had not seen, its time included; of steps that come again. */
  tokens_per_second: { first_epoch: Measured; later_epochs: Measured };
  peak_memory_bytes: number;
  /** What the loss takes beside the model: ours by its buffers, the peer's by how its process grew. */
  loss_memory_bytes: number;
  losses: number[];
}

export interface DistillBench {
  trial: "distill";
  machine: Machine;
  model: { teacher: string; parameters: number; student_parameters: number };
  work: WorkKind;
  ours: DistillSide & { settings: object; versions: Record<string, string> };
  peer: (DistillSide & { name: string; version: Record<string, string>; settings: object }) | null;
  /** Ours over the peer's tokens per second (medians). */
  ratio: { first_epoch: number; later_epochs: number } | null;
  /** Lowest and highest ratio of two steps on the same rows. */
  spread: { first_epoch: Spread; later_epochs: Spread } | null;
  loss_memory_ratio: number | null;
  /** What is kept of a position, over the dense logits in f16. */
  cache: { bytes_per_position: number; dense_bytes_per_position: number; share: number };
  /** Our loss from what is kept against the peer's over all tokens, relative: of the first step, which must agree, and the largest of all steps. */
  loss_difference: { first: number; largest: number } | null;
  equal: boolean;
  equal_bound: number;
}

export interface Spread {
  low: number;
  high: number;
}

/** Warm-up on the first rows, again and again. */
const untimed = 2;
const equalBound = 0.01;
/** Layers of the teacher that the student has. */
const everyThird = (layers: number) => Int32Array.from({ length: Math.ceil(layers / 3) }, (_, index) => 3 * index);

export async function benchDistill(options: DistillBenchOptions, session: TrialSession): Promise<DistillBench> {
  if (options.peer === "pytorch") peerProgram(options.peer); // one that is missing is told before any work
  const jobOf = async (teacher: Model, student: string): Promise<DistillJob> => {
    const { rowsOfStep, rows: rowsOf } = works[options.work];
    const rows = await rowsOf(teacher, rowsOfStep * (options.repeat + 1), options.seed, options.data);
    const order = [...Array<number>(untimed).fill(0), ...Array.from({ length: options.repeat }, (_, step) => step + 1)];
    return distillJob(teacher, student, options, { rows, rowsOfStep, order });
  };
  const { job, turns, ...facts } = await withStudent(options, session, jobOf, (made, folder) =>
    takeTurns(made, options, folder, session),
  );
  return summary(options, job, turns, facts);
}

/** Turns on the job that is made of an open teacher and of the file of its student, in a folder that is gone afterwards. */
export async function withStudent<Job extends DistillJob, Turns>(
  options: DistillBenchOptions,
  session: TrialSession,
  jobOf: (teacher: Model, student: string) => Promise<Job>,
  takeTurns: (job: Job, folder: string) => Promise<Turns>,
): Promise<{ job: Job; turns: Turns; vocabulary: number } & Pick<DistillBench, "machine" | "model">> {
  const folder = await mkdtemp(path.join(tmpdir(), "stillroom-bench-"));
  try {
    const { threads: asked, precision } = options; // one that the processor lacks is told here
    const teacher = await openModel(options.model, { threads: asked, precision, signal: session.signal });
    const { info, threads } = teacher;
    const student = path.join(folder, "student.gguf");
    await writeThird(info, student);
    const job = await jobOf(teacher, student);
    await teacher.close();
    const { parameters } = await native().inspect(student);
    const turns = await takeTurns(job, folder);
    const model = {
      teacher: info.name ?? path.basename(info.path),
      ...{ parameters: info.parameters, student_parameters: parameters },
    };
    return { job, turns, machine: await machine(threads), model, vocabulary: info.vocabulary };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A job whose steps have so many of the rows each, in that order of steps. */
export function distillJob(
  teacher: Model,
  student: string,
  options: DistillBenchOptions,
  { rows, rowsOfStep, order }: { rows: JobRow[]; rowsOfStep: number; order: readonly number[] },
): DistillJob {
  return {
    teacher: path.resolve(teacher.info.path),
    student,
    threads: teacher.threads,
    precision: options.precision ?? "f32",
    topK: options.topK,
    rows,
    steps: order.map((index) => ({
      rows: Array.from({ length: rowsOfStep }, (_, row) => index * rowsOfStep + row),
      learningRate: 2e-5,
    })),
    optimizer: { optimizer: "adamw", beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 1 },
    ours: { tokenBudget: 512, sharePrefix: true, recompute: false, seed: options.seed },
  };
}

/** Writes the student of the trials: every third layer of a model, as it is. */
async function writeThird(info: NativeModelInfo, file: string): Promise<void> {
  const layers = everyThird(info.layers);
  const one = (count: number) => Int32Array.from(Array(count).keys());
  const all = (count: number) => Array.from(layers, () => one(count));
  const parts = {
    ...{ layers, width: one(info.width), feedForward: all(info.feedForward), heads: all(info.heads) },
    ...{ keyValueHeads: all(info.keyValueHeads), tokens: null, seed: 0 },
  };
  await native().writeStudent(info.path, parts, true, file);
}

interface Turns {
  steps: DistillDone[];
  versions: Record<string, string>;
  done: SideDone;
}

async function takeTurns(
  job: DistillJob,
  options: DistillBenchOptions,
  folder: string,
  { say, signal }: TrialSession,
): Promise<{ ours: Turns; peer: Turns | null }> {
  const file = await writeJob(path.join(folder, "job.json"), job);
  const script = fileURLToPath(new URL("./ours-distill.js", import.meta.url));
  const sides = [new Side<DistillDone>("stillroom", process.execPath, [script, file])];
  if (options.peer === "pytorch") {
    sides.push(new Side<DistillDone>("pytorch", peerProgram(options.peer), [peerScript("pytorch_distill.py"), file]));
  }
  return withSides(sides, signal, async () => {
    const versions: Record<string, string>[] = [];
    for (const side of sides) versions.push((await side.ready()).versions);
    const steps: DistillDone[][] = sides.map(() => []);
    for (const index of job.steps.keys()) {
      for (const [number, side] of sides.entries()) steps[number]!.push(await side.step());
      const told = steps
        .map((of) => of.at(-1)!)
        .map(({ loss, seconds }) => `loss ${loss.toFixed(4)} in ${seconds.toFixed(2)} s`);
      say(`${index < untimed ? "equality" : "timed"} step ${index + 1}: ours ${told.join(", peer ")}`);
    }
    const turns: Turns[] = [];
    for (const [number, side] of sides.entries()) {
      turns.push({ steps: steps[number]!, versions: versions[number]!, done: await side.done() });
    }
    return { ours: turns[0]!, peer: turns[1] ?? null };
  });
}

const firstSeconds = ({ seconds, teach_seconds }: DistillDone): number => seconds + (teach_seconds ?? 0);

function sideResult({ steps, done }: Turns): DistillSide {
  const timed = steps.slice(untimed);
  return {
    tokens_per_second: {
      first_epoch: measured(timed.map((step) => step.tokens / firstSeconds(step))),
      later_epochs: measured(timed.map((step) => step.tokens / step.seconds)),
    },
    peak_memory_bytes: done.peak_memory_bytes,
    loss_memory_bytes: done.loss_memory_bytes!,
    losses: steps.map(({ loss }) => loss),
  };
}

function summary(
  options: DistillBenchOptions,
  job: DistillJob,
  sides: { ours: Turns; peer: Turns | null },
  facts: Pick<DistillBench, "machine" | "model"> & { vocabulary: number },
): DistillBench {
  const { vocabulary, ...about } = facts;
  const ours = sideResult(sides.ours);
  const kept = 4 * (options.topK + 1);
  const base = {
    ...{ trial: "distill" as const, ...about, work: options.work, equal_bound: equalBound },
    ours: {
      ...ours,
      settings: { ...job.ours, topK: job.topK, precision: job.precision },
      versions: sides.ours.versions,
    },
    cache: { bytes_per_position: kept, dense_bytes_per_position: 2 * vocabulary, share: kept / (2 * vocabulary) },
  };
  if (!sides.peer) {
    return {
      ...base,
      peer: null,
      ratio: null,
      spread: null,
      loss_memory_ratio: null,
      loss_difference: null,
      equal: true,
    };
  }
  const peer = sideResult(sides.peer);
  const settings = { dtype: "float32", optimizer: "AdamW, fused", attention: "sdpa", threads: facts.machine.threads };
  const ratioOf = (epoch: "first_epoch" | "later_epochs") =>
    ours.tokens_per_second[epoch].median / peer.tokens_per_second[epoch].median;
  const spreadOf = (seconds: (step: DistillDone) => number): Spread => {
    const pairs = sides.ours.steps.map((step, at) => sides.peer!.steps[at]!.seconds / seconds(step)).slice(untimed);
    return { low: Math.min(...pairs), high: Math.max(...pairs) };
  };
  const apart = ours.losses.map((loss, step) => Math.abs(loss / peer.losses[step]! - 1));
  const difference = { first: apart[0]!, largest: Math.max(...apart) };
  return {
    ...base,
    peer: { ...peer, name: "pytorch", version: sides.peer.versions, settings },
    ratio: { first_epoch: ratioOf("first_epoch"), later_epochs: ratioOf("later_epochs") },
    spread: { first_epoch: spreadOf(firstSeconds), later_epochs: spreadOf(({ seconds }) => seconds) },
    loss_memory_ratio: ours.loss_memory_bytes / peer.loss_memory_bytes,
    loss_difference: difference,
    equal: difference.first <= equalBound,
  };
}
