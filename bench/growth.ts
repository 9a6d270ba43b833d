// How cost grows, with everything else held: rows, row length, a beginning in common, sequences, model size. Our engine by itself, and
// llama.cpp beside it where it decodes. Writes each as JSON and as a plot.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { decodeRows } from "../src/decode/index.js";
import { type Model, openModel } from "../src/model/index.js";
import { lineChart, widths } from "../src/report/index.js";
import { throwIfCancelled } from "../src/support/cancelled.js";
import { makeFolder, requireWritable, writeFileAtomic } from "../src/support/files.js";
import { Random } from "../src/support/random.js";
import { packChoices } from "../src/tokens/index.js";
import { microBatcher } from "../src/train/index.js";
import { benched } from "./batched-bench.js";
import { encodedRow, linearLayers } from "./job.js";
import { type Machine, machine } from "./machine.js";
import { writeMadeModel } from "./made-model.js";
import { measured } from "./numbers.js";
import type { TrialSession } from "./tune.js";

/** Lines over a logarithmic axis of sizes. */
export interface Plot {
  title: string;
  x: string;
  y: string;
  lines: { name: string; points: { x: number; y: number }[] }[];
}

export type PlotName = "rows" | "length" | "prefix" | "sequences" | "context" | "size";

export interface GrowthOptions {
  peer: "llama.cpp" | "none";
  model?: string;
  plots: PlotName[];
  out: string;
  repeat: number;
  threads?: number;
}

export interface Growth {
  trial: "growth";
  machine: Machine;
  model: string;
  /** Points are medians. */
  plots: Partial<Record<PlotName, Plot>>;
  /** The plots' files. */
  files: string[];
  equal: null;
}

const rowCounts = [1, 2, 4, 8, 16, 32, 64, 128];
const rowLengths = [32, 64, 128, 256, 512, 1024];
const prefixes = [16, 64, 128, 256, 512, 1024];
const sequenceCounts = [1, 2, 4, 8, 16, 32];
const answerTokens = 24;
/** Layers and width grow together, as in models that are trained. */
const shapes = [
  [128, 6],
  [192, 8],
  [256, 10],
  [384, 14],
  [576, 18],
  [768, 20],
] as const;

interface Work extends TrialSession {
  model: Model;
  repeat: number;
}

export async function benchGrowth(options: GrowthOptions, session: TrialSession): Promise<Growth> {
  const out = path.resolve(options.out);
  const model = await openModel(options.model, { threads: options.threads, signal: session.signal });
  const filesOf = (plot: PlotName) => ["svg", "json"].map((ending) => path.join(out, `${plot}.${ending}`));
  await makeFolder(out);
  for (const file of options.plots.flatMap(filesOf)) await requireWritable(file);
  const facts = await machine(model.threads);
  const work: Work = { ...session, model, repeat: options.repeat };
  const peer = options.peer === "llama.cpp";
  const makers: Record<PlotName, () => Promise<Plot>> = {
    rows: () => byRows(work),
    length: () => byLength(work),
    prefix: () => byPrefix(work),
    sequences: () => bySequences(work, peer),
    context: () => byContext(work, peer),
    size: () => bySize(work),
  };
  const { path: file, name } = model.info;
  const result: Growth = {
    trial: "growth",
    machine: facts,
    model: name ?? path.basename(file),
    plots: {},
    files: [],
    equal: null,
  };
  for (const plot of options.plots) {
    const made = await makers[plot]();
    result.plots[plot] = made;
    const [chart, numbers] = filesOf(plot) as [string, string];
    result.files.push(chart);
    await writeFileAtomic(chart, drawn(made));
    const measured = { machine: facts, model: result.model, repeat: options.repeat, ...made };
    await writeFileAtomic(numbers, `${JSON.stringify(measured, null, 1)}\n`);
  }
  await model.close();
  return result;
}

/** A plot as a file; its horizontal axis has the sizes that were measured. */
function drawn({ title, x, y, lines }: Plot): string {
  const ticks = [...new Set(lines.flatMap(({ points }) => points.map((point) => point.x)))].sort((a, b) => a - b);
  return lineChart({
    ...{ title, x: { label: x, scale: "log", ticks }, y: { label: y, from: 0 }, alone: true },
    series: lines.map((line) => ({ ...line, marks: "both" })),
  })(widths.wide);
}

/** Points of one line: a measurement for each x, in order. */
async function line<X extends number>(
  { say, signal }: Work,
  name: string,
  xs: readonly X[],
  measure: (x: X) => Promise<number>,
): Promise<Plot["lines"][number]> {
  const points: { x: number; y: number }[] = [];
  for (const x of xs) {
    throwIfCancelled(signal, `measuring ${name}`);
    points.push({ x, y: await measure(x) });
    say(`${name}: ${points.at(-1)!.y.toPrecision(3)} at ${x}`);
  }
  return { name, points };
}

/** Median seconds of a piece of work, after one that warms up. */
async function seconds({ repeat }: Work, piece: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let turn = 0; turn <= repeat; turn++) {
    const start = performance.now();
    await piece();
    times.push((performance.now() - start) / 1000);
  }
  return measured(times.slice(1)).median;
}

/** Rows of random tokens that begin with `shared` tokens in common. */
function rowsOf({ info }: Model, count: number, length: number, shared: number): number[][] {
  const random = new Random(count + length + shared);
  const piece = (tokens: number) => Array.from({ length: tokens }, () => 3 + random.below(info.vocabulary - 3));
  const front = piece(shared);
  return Array.from({ length: count }, () => [...front, ...piece(length)]);
}

/** Seconds to score one token behind each row; apart: each row computes what it shares by itself. */
function scoring(work: Work, rows: number[][], apart = false): Promise<number> {
  const prompts = rows.map((row) => Int32Array.from(row));
  const label = [Int32Array.of(5)];
  const batches = apart ? prompts.map((prompt) => [prompt]) : [prompts];
  const packed = batches.map(
    (batch) =>
      packChoices(
        batch,
        batch.map(() => label),
      ).batch,
  );
  return seconds(work, async () => {
    for (const batch of packed) await work.model.native.score(batch, null);
  });
}

/** Seconds of an optimiser step on rows whose second half are labels, LoRA of rank 16. */
function tuning(work: Work, rows: number[][]): Promise<number> {
  const { native } = work.model;
  const options = { rank: 16, alpha: 32, dropout: 0, rsLora: false, targets: linearLayers, seed: 0 };
  const lora = native.createLora(options);
  const adamw = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 1 };
  const trainer = native.createTrainer(lora, { ...adamw, recompute: false, seed: 0 });
  const encoded = rows.map((tokens, index) => encodedRow({ tokens, answerFrom: tokens.length >> 1 }, index));
  const batches = microBatcher(encoded, 512, true)(Int32Array.from(encoded.keys()));
  let step = 0;
  return seconds(work, async () => {
    step++;
    let labels = 0;
    for (const [number, { batch }] of batches.entries())
      labels += (await trainer.accumulate(batch, step, number)).count;
    await trainer.update({ learningRate: 1e-5, divisor: labels });
  });
}

/** Answer tokens a second while all prompts are answered side by side. */
async function decoding(work: Work, prompts: number[][]): Promise<number> {
  const rates: number[] = [];
  for (let turn = 0; turn <= work.repeat; turn++) {
    let before = { seconds: 0, promptTokens: 0, answerTokens: 0 };
    let [tokens, time] = [0, 0];
    const onProgress = (now: typeof before): void => {
      const made = now.answerTokens - before.answerTokens;
      if (now.promptTokens === before.promptTokens && made === prompts.length) {
        tokens += made;
        time += now.seconds - before.seconds;
      }
      before = now;
    };
    const requests = prompts.map((prompt) => ({ prompt: Int32Array.from(prompt), maxTokens: answerTokens }));
    for await (const _ of decodeRows(work.model, requests, { sequences: prompts.length, onProgress }));
    rates.push(tokens / time);
  }
  return measured(rates.slice(1)).median;
}

async function byRows(work: Work): Promise<Plot> {
  const perRow = async (count: number, measure: (rows: number[][]) => Promise<number>) =>
    (1000 * (await measure(rowsOf(work.model, count, 32, 0)))) / count;
  const lines = [
    await line(work, "score", rowCounts, (count) => perRow(count, (rows) => scoring(work, rows))),
    await line(work, "tune", rowCounts, (count) => perRow(count, (rows) => tuning(work, rows))),
  ];
  return { title: "Rows of a batch or step, 32 tokens each", x: "rows", y: "ms a row", lines };
}

async function byLength(work: Work): Promise<Plot> {
  const perToken = async (length: number, measure: (rows: number[][]) => Promise<number>) =>
    (1000 * (await measure(rowsOf(work.model, 1024 / length, length, 0)))) / 1024;
  const lines = [
    await line(work, "score", rowLengths, (length) => perToken(length, (rows) => scoring(work, rows))),
    await line(work, "tune", rowLengths, (length) => perToken(length, (rows) => tuning(work, rows))),
  ];
  return { title: "Length of a row, 1,024 tokens in all", x: "tokens of a row", y: "ms a token", lines };
}

async function byPrefix(work: Work): Promise<Plot> {
  const perRow = async (shared: number, apart: boolean) =>
    (1000 * (await scoring(work, rowsOf(work.model, 32, 32, shared), apart))) / 32;
  const lines = [
    await line(work, "shared beginning computed once", prefixes, (shared) => perRow(shared, false)),
    await line(work, "each row by itself", prefixes.slice(0, 4), (shared) => perRow(shared, true)),
  ];
  return {
    title: "Beginning in common: 32 rows with 32 tokens of their own",
    x: "tokens in common",
    y: "ms a row",
    lines,
  };
}

async function bySequences(work: Work, peer: boolean): Promise<Plot> {
  const prompts = (count: number) => rowsOf(work.model, count, 64, 0);
  const lines = [await line(work, "stillroom", sequenceCounts, (count) => decoding(work, prompts(count)))];
  if (peer) {
    const measure = (count: number) => peerRate(work, count, 64, false);
    lines.push(await line(work, "llama.cpp", sequenceCounts, measure));
  }
  return { title: "Sequences decoded side by side, prompts of 64 tokens", x: "sequences", y: "tokens/s", lines };
}

async function byContext(work: Work, peer: boolean): Promise<Plot> {
  const lines = [
    await line(work, "stillroom", prefixes, (shared) => decoding(work, rowsOf(work.model, 32, 1, shared))),
  ];
  if (peer) lines.push(await line(work, "llama.cpp", prefixes, (shared) => peerRate(work, 32, shared, true)));
  return {
    title: "Prompt in common of 32 sequences that are decoded",
    x: "tokens of the prompt",
    y: "tokens/s",
    lines,
  };
}

/** llama-batched-bench with a cache that all sequences share, and flash attention. */
async function peerRate(
  { model, signal }: Work,
  count: number,
  promptTokens: number,
  shared: boolean,
): Promise<number> {
  const settings = { flash_attention: true, unified_cache: true, micro_batch: 512, wait: "active" as const };
  const work = {
    model: path.resolve(model.info.path),
    threads: model.threads,
    count,
    promptTokens,
    answerTokens,
    shared,
  };
  const { line } = await benched(work, settings, signal);
  return (line.pl * line.tg) / line.t_tg;
}

async function bySize(work: Work): Promise<Plot> {
  const folder = await mkdtemp(path.join(tmpdir(), "stillroom-bench-"));
  const lines: Plot["lines"] = ["score", "tune", "decode, 8 sequences"].map((name) => ({ name, points: [] }));
  try {
    for (const [width, layers] of shapes) {
      const file = path.join(folder, `${width}.gguf`);
      writeMadeModel(file, { width, layers, feedForward: Math.ceil((width * 8) / 3 / 64) * 64, vocabulary: 8192 });
      const model = await openModel(file, { threads: work.model.threads, signal: work.signal });
      const made: Work = { ...work, model };
      const rows = rowsOf(model, 8, 64, 0);
      const tokens = 8 * 64;
      const x = model.info.parameters / 1e6;
      const times = [
        (await scoring(made, rows)) / tokens,
        (await tuning(made, rows)) / tokens,
        1 / (await decoding(made, rows)),
      ];
      for (const [index, time] of times.entries()) lines[index]!.points.push({ x, y: 1000 * time });
      work.say(
        `${x.toFixed(0)} M parameters: ${times.map((time) => (1000 * time).toPrecision(3)).join(", ")} ms a token`,
      );
      await model.close();
      await rm(file);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return { title: "Size of the model, q8_0", x: "parameters, millions", y: "ms a token", lines };
}
