// The scoring trial: labels of a classify task by our engine and by a peer, taking turns on the same rows. First the answers must
// agree, then the times count.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { labelsOf } from "../src/dataset/index.js";
import { openModel } from "../src/index.js";
import { chooseExamples, compilePrompt } from "../src/prompt/index.js";
import { StillroomError } from "../src/support/errors.js";
import type { NativeModelInfo, NativePrecision, NativeProfileRow } from "../src/support/native.js";
import { encodeAnswer, encodePrompt } from "../src/tokens/index.js";
import { type Machine, machine } from "./machine.js";
import { type Measured, measured, scoreFlops } from "./numbers.js";
import { labelledRows, type RowSession, readClassifyTask } from "./scored-rows.js";
import { peerProgram, peerScript } from "./setup.js";
import { type ScoreDone, Side, withSides } from "./side.js";
import type { TrialSession } from "./tune.js";

export interface ScoreBenchOptions {
  peer: "pytorch" | "node-llama-cpp" | "none";
  model?: string;
  data?: string;
  shots: number;
  rows: number;
  repeat: number;
  threads?: number;
  precision?: NativePrecision;
  peerRows: number;
  peerPrefix: boolean;
  seed: number;
}

/** What each side is given: token rows, and which of them each turn scores. */
export interface ScoreJob {
  model: string;
  threads: number;
  precision: NativePrecision;
  rows: { prompt: number[]; choices: number[][]; answer: number }[];
  turns: number[][];
  peer: { batchRows: number; prefix: boolean };
}

export interface ScoreSide {
  rows_per_second: Measured;
  /** Tokens of prompts and labels, each row as if it were alone. */
  tokens_per_second: Measured;
  peak_memory_bytes: number;
  accuracy: number;
  /** Of the operations that are needed when what the rows of a turn share is computed once, whichever side. */
  fma_share: number;
  /** Where the time of the timed turns went; our side only. */
  profile?: NativeProfileRow[];
}

export interface ScoreBench {
  trial: "score";
  machine: Machine;
  task: string;
  shots: number;
  labels: number;
  rows_of_turn: number;
  ours: ScoreSide & { settings: object; versions: Record<string, string> };
  peer: (ScoreSide & { name: string; version: Record<string, string>; settings: object }) | null;
  ratio: number | null;
  spread: { low: number; high: number } | null;
  /** Answers agree wherever the peer's two best labels are further apart than equal_bound. */
  equal: boolean;
  /** Of the log-probability by the mean over a label's tokens. */
  equal_bound: number;
  agreement: number | null;
  largest_difference: number | null;
  /** Bad rows that were left out. */
  errors: number;
}

/** f32 sides differ by rounding; llama.cpp rounds activations to 8 bits, and narrow products round too. */
const bounds = { exact: 1e-3, rounded: 0.5 };

export async function benchScore(
  taskFile: string,
  options: ScoreBenchOptions,
  session: RowSession,
): Promise<ScoreBench> {
  if (options.peer === "pytorch") peerProgram(options.peer); // one that is missing is told before any work
  const folder = await mkdtemp(path.join(tmpdir(), "stillroom-bench-"));
  try {
    const { job, labels, info, errors } = await jobOf(taskFile, options, session);
    const file = path.join(folder, "score.json");
    await writeFile(file, JSON.stringify(job));
    const facts = await machine(job.threads);
    const turns = await takeTurns(file, job, options, session);
    const first = turns[0]!.steps;
    const rates = turns.map(({ steps }) =>
      steps.map(({ seconds }, at) => scoreFlops(info, first[at]!.work!) / 1e9 / seconds),
    );
    const shares = rates.map((rate) => measured(timed(rate)).median / facts.fma_peak_gflops);
    return { ...summary(taskFile, options, job, labels, facts, turns, shares), errors };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function jobOf(
  taskFile: string,
  options: ScoreBenchOptions,
  session: RowSession,
): Promise<{ job: ScoreJob; labels: number; info: NativeModelInfo; errors: number }> {
  const task = await readClassifyTask(taskFile, options.data);
  // A precision that the processor lacks is told here, not by a side that dies of it.
  const { threads, precision } = options;
  const model = await openModel(options.model, { threads, precision, signal: session.signal });
  const count = options.rows * (options.repeat + 1); // the first turn warms up
  const { train, test, errors } = await labelledRows(task, count, session);
  const { rows } = test;
  if (rows.length < count) throw tooFewRows(options, rows.length);
  const prompt = compilePrompt(task, model.template);
  const known = labelsOf(task, train.rows);
  const labels = known.map(({ text }) => text);
  const examples = chooseExamples(train.rows, { shots: options.shots, seed: options.seed, labels: known });
  const choices = labels.map((text) => [...encodeAnswer(model.tokenizer, prompt.renderAnswer(text))]);
  const job: ScoreJob = {
    model: path.resolve(model.info.path),
    threads: model.threads,
    precision: options.precision ?? "f32",
    rows: rows.map((row) => ({
      prompt: [...encodePrompt(model.tokenizer, prompt.render(row, examples))],
      choices,
      answer: labels.indexOf(row.answer),
    })),
    turns: Array.from({ length: options.repeat + 1 }, (_, turn) =>
      Array.from({ length: options.rows }, (_, row) => turn * options.rows + row),
    ),
    peer: { batchRows: options.peerRows, prefix: options.peerPrefix },
  };
  await model.close();
  return { job, labels: labels.length, info: model.info, errors };
}

/** Fewer turns than were asked for, or the one that warms up alone, would be told as what they are not. */
function tooFewRows({ rows, repeat }: ScoreBenchOptions, there: number): StillroomError {
  const needed = `expected at least ${rows * (repeat + 1)} test rows for --rows ${rows} and --repeat ${repeat}`;
  const fitting = Math.floor(there / (repeat + 1));
  const remedy = fitting > 0 ? `--rows ${fitting} fits` : "lower --repeat, or give the task more test rows";
  return new StillroomError("usage", `${needed} (with the turn that warms up), received ${there}; ${remedy}`);
}

interface Turns {
  steps: ScoreDone[];
  versions: Record<string, string>;
  peakMemoryBytes: number;
  profile?: NativeProfileRow[] | undefined;
}

async function takeTurns(
  file: string,
  job: ScoreJob,
  { peer }: ScoreBenchOptions,
  { say, signal }: TrialSession,
): Promise<Turns[]> {
  const script = (name: string) => fileURLToPath(new URL(name, import.meta.url));
  const sides = [new Side<ScoreDone>("stillroom", process.execPath, [script("./ours-score.js"), file])];
  if (peer === "pytorch") sides.push(new Side(peer, peerProgram(peer), [peerScript("pytorch_score.py"), file]));
  if (peer === "node-llama-cpp") sides.push(new Side(peer, process.execPath, [script("./node-llama-score.js"), file]));
  return withSides(sides, signal, async () => {
    const turns: Turns[] = [];
    for (const side of sides) {
      turns.push({ steps: [], versions: (await side.ready()).versions, peakMemoryBytes: 0 });
    }
    for (const index of job.turns.keys()) {
      for (const [number, side] of sides.entries()) turns[number]!.steps.push(await side.step());
      const told = turns.map(({ steps }) => `${steps.at(-1)!.seconds.toFixed(2)} s`);
      say(`${index === 0 ? "warm-up" : "timed"} turn ${index + 1}: ours ${told.join(", peer ")}`);
    }
    for (const [number, side] of sides.entries()) {
      const done = await side.done();
      turns[number]!.peakMemoryBytes = done.peak_memory_bytes;
      turns[number]!.profile = done.profile;
    }
    return turns;
  });
}

const best = (values: number[]): number => values.indexOf(Math.max(...values));

/** The first turn warms up. */
const timed = <T>(turns: T[]): T[] => turns.slice(1);

function sideOf(job: ScoreJob, { steps, peakMemoryBytes, profile }: Turns, fma_share: number): ScoreSide {
  const means = steps.flatMap(({ means }) => means);
  const right = job.turns.flat().filter((row, place) => best(means[place]!) === job.rows[row]!.answer).length;
  return {
    rows_per_second: measured(timed(steps).map(({ means, seconds }) => means.length / seconds)),
    tokens_per_second: measured(timed(steps).map(({ tokens, seconds }) => tokens / seconds)),
    peak_memory_bytes: peakMemoryBytes,
    accuracy: right / means.length,
    fma_share,
    ...(profile && { profile }),
  };
}

function summary(
  taskFile: string,
  options: ScoreBenchOptions,
  job: ScoreJob,
  labels: number,
  facts: Machine,
  [first, second]: Turns[],
  shares: number[],
): Omit<ScoreBench, "errors"> {
  const exact = options.peer === "pytorch" && job.precision === "f32";
  const bound = exact ? bounds.exact : bounds.rounded;
  const base = {
    trial: "score" as const,
    machine: facts,
    task: taskFile,
    shots: options.shots,
    labels,
    rows_of_turn: job.turns[0]!.length,
    ours: { ...sideOf(job, first!, shares[0]!), settings: { precision: job.precision }, versions: first!.versions },
    equal_bound: bound,
  };
  if (!second) {
    const nothing = { peer: null, ratio: null, spread: null, agreement: null, largest_difference: null };
    return { ...base, ...nothing, equal: true };
  }
  const peer = sideOf(job, second, shares[1]!);
  const [mine, theirs] = [first!, second].map(({ steps }) => steps.flatMap(({ means }) => means)) as [
    number[][],
    number[][],
  ];
  const margin = (means: number[]) => {
    const [high, next] = [...means].sort((a, b) => b - a) as [number, number];
    return high - next;
  };
  const same = mine.map((means, row) => best(means) === best(theirs[row]!));
  const apart = mine.flatMap((means, row) => means.map((mean, label) => Math.abs(mean - theirs[row]![label]!)));
  const ratios = measured(first!.steps.map(({ seconds }, turn) => second.steps[turn]!.seconds / seconds).slice(1));
  const settings =
    options.peer === "pytorch"
      ? { threads: job.threads, dtype: "float32", rows_of_forward: options.peerRows, prefix_cached: options.peerPrefix }
      : { threads: job.threads, sequences: options.peerRows, batch_tokens: 512, prefix_cached: true };
  return {
    ...base,
    peer: { ...peer, name: options.peer, version: second.versions, settings },
    ratio: base.ours.rows_per_second.median / peer.rows_per_second.median,
    spread: { low: ratios.low, high: ratios.high },
    equal: same.every((agrees, row) => agrees || margin(theirs[row]!) <= bound),
    agreement: same.filter(Boolean).length / same.length,
    largest_difference: apart.reduce((most, value) => Math.max(most, value), 0),
  };
}
