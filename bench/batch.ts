// The batch trial: the rows of a classify task answered in bulk, by `batch` and by a peer that asks row by row, taking turns on the same rows. First the answers must agree,
// then the times count.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { labelsOf, type Row, readRows } from "../src/dataset/index.js";
import { openModel } from "../src/index.js";
import { compilePrompt } from "../src/prompt/index.js";
import { StillroomError } from "../src/support/errors.js";
import type { NativePrecision } from "../src/support/native.js";
import { Random } from "../src/support/random.js";
import { encodeAnswer, encodePrompt } from "../src/tokens/index.js";
import { type Machine, machine } from "./machine.js";
import { type Measured, measured } from "./numbers.js";
import { type RowSession, readClassifyTask } from "./scored-rows.js";
import { peerProgram } from "./setup.js";
import { type BatchDone, Side, withSides } from "./side.js";

export interface BatchBenchOptions {
  peer: "node-llama-cpp" | "llama.cpp" | "none";
  model?: string;
  data?: string;
  split: "train" | "test";
  rows: number;
  repeat: number;
  threads?: number;
  precision?: NativePrecision;
  seed: number;
}

/** What each side is given. */
export interface BatchJob {
  /** For the side's own files; ours finds the rows of turn N there, in turn-N.jsonl. */
  folder: string;
  model: string;
  threads: number;
  precision: NativePrecision;
  task: string;
  data: string | undefined;
  /** Each is one token, so that a greedy token under this bias on all of them is the most likely label. */
  labels: { text: string; token: number }[];
  bias: number;
  rows: { prompt: number[] }[];
  turns: number[][];
  /** Rows on which a peer tries a setting. */
  tries: number;
}

export interface BatchSide {
  rows_per_second: Measured;
  accuracy: number;
  peak_memory_bytes: number;
  versions: Record<string, string>;
  settings: object;
}

export interface BatchBench {
  trial: "batch";
  machine: Machine;
  task: string;
  rows_of_turn: number;
  prompt_tokens: number;
  ours: BatchSide;
  peer: (BatchSide & { name: string }) | null;
  ratio: number | null;
  spread: { low: number; high: number } | null;
  /** Answers agree wherever our two best labels are further apart than equal_bound, in nats. */
  equal: boolean | null;
  equal_bound: number;
  agreement: number | null;
  errors: number;
}

/** llama.cpp rounds activations to 8 bits, as narrow products of ours do. */
const bound = 0.5;
/** Far above any logit: no other token wins. */
const bias = 100;
const tries = 48;
/** At most this many rows warm both sides up before the timed turns. */
const warmUpRows = 200;

export async function benchBatch(
  taskFile: string,
  options: BatchBenchOptions,
  session: RowSession,
): Promise<BatchBench> {
  const { peer, repeat } = options;
  // One that is missing is told before any work.
  const program = peer === "llama.cpp" ? peerProgram("llama-server") : null;
  const folder = await mkdtemp(path.join(tmpdir(), "stillroom-bench-"));
  try {
    const { job, chosen, errors } = await jobOf(taskFile, folder, options, session);
    const facts = await machine(job.threads);
    const script = (name: string) => fileURLToPath(new URL(name, import.meta.url));
    const file = path.join(folder, "batch.json");
    await writeFile(file, JSON.stringify(job));
    const sides = [new Side<BatchDone>("stillroom", process.execPath, [script("./ours-batch.js"), file])];
    if (peer === "node-llama-cpp")
      sides.push(new Side(peer, process.execPath, [script("./node-llama-batch.js"), file]));
    if (program) sides.push(new Side(peer, process.execPath, [script("./llama-server-batch.js"), file, program]));
    return await withSides(sides, session.signal, async () => {
      const readies = [];
      for (const side of sides) readies.push(await side.ready());
      const turns = sides.map((): BatchDone[] => []);
      for (let turn = 0; turn <= repeat; turn++) {
        for (const [number, side] of sides.entries()) turns[number]!.push(await side.step());
        const told = turns.map((steps) => `${steps.at(-1)!.seconds.toFixed(2)} s`);
        session.say(`${turn === 0 ? "warm-up" : "timed"} turn ${turn + 1}: ours ${told.join(", peer ")}`);
      }
      const results: BatchSide[] = [];
      for (const [number, side] of sides.entries()) {
        const { versions, settings = {} } = readies[number]!;
        const { peak_memory_bytes } = await side.done();
        results.push({ ...sideOf(turns[number]!, chosen), peak_memory_bytes, versions, settings });
      }
      const [ours, theirs] = turns;
      const base = {
        trial: "batch" as const,
        machine: facts,
        task: taskFile,
        rows_of_turn: options.rows,
        prompt_tokens: job.rows.reduce((sum, { prompt }) => sum + prompt.length, 0) / job.rows.length,
        ours: results[0]!,
        equal_bound: bound,
        errors,
      };
      if (!theirs) return { ...base, peer: null, ratio: null, spread: null, equal: null, agreement: null };
      const ratios = measured(ours!.slice(1).map(({ seconds }, turn) => theirs[turn + 1]!.seconds / seconds));
      const pairs = ours!.flatMap(({ answers, margins }, turn) =>
        answers.map((answer, row) => ({ same: answer === theirs[turn]!.answers[row], margin: margins![row]! })),
      );
      return {
        ...base,
        peer: { ...results[1]!, name: peer },
        ratio: results[0]!.rows_per_second.median / results[1]!.rows_per_second.median,
        spread: { low: ratios.low, high: ratios.high },
        equal: pairs.every(({ same, margin }) => same || margin <= bound),
        agreement: pairs.filter(({ same }) => same).length / pairs.length,
      };
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A seeded part of the split, cut into turns. */
async function jobOf(
  taskFile: string,
  folder: string,
  options: BatchBenchOptions,
  { signal, onBad }: RowSession,
): Promise<{ job: BatchJob; chosen: Row[][]; errors: number }> {
  const { data, split, rows: size, repeat, seed } = options;
  const task = await readClassifyTask(taskFile, data);
  const { rows, bad } = await readRows(task, split, { onBad, signal });
  const warm = Math.min(size, warmUpRows);
  const needed = warm + size * repeat;
  if (rows.length < needed)
    throw new StillroomError(
      "usage",
      `expected at least ${needed} rows of ${split} for --rows ${size} and --repeat ${repeat} (with the turn that warms up), received ${rows.length}`,
    );
  const model = await openModel(options.model, { threads: options.threads, precision: options.precision });
  try {
    const prompt = compilePrompt(task, model.template);
    const labels = labelsOf(task, rows).map(({ text }) => {
      const tokens = encodeAnswer(model.tokenizer, prompt.renderAnswer(text));
      if (tokens.length === 1) return { text, token: tokens[0]! };
      throw new StillroomError(
        "usage",
        `expected labels of one token each, so that a peer's one token is the same question; ${JSON.stringify(text)} has ${tokens.length}`,
      );
    });
    const random = new Random(seed);
    const order = rows.map((row) => ({ row, at: random.float() })).sort((a, b) => a.at - b.at);
    const part = order.slice(0, needed).map(({ row }) => row);
    const ends = Array.from({ length: repeat + 1 }, (_, turn) => warm + turn * size);
    const chosen = ends.map((end, turn) => part.slice(ends[turn - 1] ?? 0, end));
    await mkdir(folder, { recursive: true });
    for (const [turn, of] of chosen.entries())
      await writeFile(
        path.join(folder, `turn-${turn}.jsonl`),
        of.map(({ fields }) => `${JSON.stringify(fields)}\n`).join(""),
      );
    const job: BatchJob = {
      ...{ folder, model: path.resolve(model.info.path), threads: model.threads, task: path.resolve(taskFile), data },
      ...{ precision: options.precision ?? "f32", labels, bias, tries },
      rows: part.map((row) => ({ prompt: [...encodePrompt(model.tokenizer, prompt.render(row, []))] })),
      turns: chosen.map((of, turn) => of.map((_, row) => (ends[turn - 1] ?? 0) + row)),
    };
    return { job, chosen, errors: bad.length };
  } finally {
    await model.close();
  }
}

/** The first turn warms up. */
function sideOf(
  turns: readonly BatchDone[],
  chosen: readonly Row[][],
): Pick<BatchSide, "rows_per_second" | "accuracy"> {
  const right = turns.flatMap(({ answers }, turn) =>
    answers.map((answer, row) => answer === chosen[turn]![row]!.answer),
  );
  return {
    rows_per_second: measured(turns.slice(1).map(({ answers, seconds }) => answers.length / seconds)),
    accuracy: right.filter(Boolean).length / right.length,
  };
}
