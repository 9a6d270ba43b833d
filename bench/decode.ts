// The decoding trial: greedy answers to many prompts side by side, by our engine and by a peer, taking turns. First our answers are
// compared with llama.cpp's, then the times count.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { requireType } from "../src/export/index.js";
import { openModel } from "../src/index.js";
import {
  type NativeModelInfo,
  type NativePrecision,
  type NativeProfileRow,
  native,
  rethrow,
} from "../src/support/native.js";
import { type Agreement, Reference } from "./answers.js";
import { BatchedBench } from "./batched-bench.js";
import { type Machine, machine } from "./machine.js";
import { decodeFlops, type Latency, latency, type Measured, measured } from "./numbers.js";
import { peerProgram } from "./setup.js";
import { type DecodeDone, type Ready, Side, type SideDone, withSides } from "./side.js";
import type { TrialSession } from "./tune.js";
import { textPrompts } from "./work.js";

export interface DecodeBenchOptions {
  peer: "llama.cpp" | "node-llama-cpp" | "none";
  model?: string;
  type?: string;
  sequences: number;
  promptTokens: number;
  answerTokens: number;
  sharedPrefix: boolean;
  repeat: number;
  threads?: number;
  precision?: NativePrecision;
  seed: number;
}

/** What each side is given. A turn answers all prompts. */
export interface DecodeJob {
  model: string;
  threads: number;
  precision: NativePrecision;
  /** Each promptTokens and one more, which is the sequence's own: generation begins with computing it. */
  prompts: number[][];
  promptTokens: number;
  /** Tokens at the front that all prompts have in common: all but the last, or none. */
  sharedTokens: number;
  answerTokens: number;
}

/** A child process that speaks the protocol of side.ts, or what plays its part. */
interface DecodeSide {
  ready(): Promise<Ready>;
  step(): Promise<DecodeDone>;
  done(): Promise<SideDone>;
  close(): void;
}

export interface DecodeSideResult {
  /** Answer tokens a second while all sequences decode and no prompt is computed. */
  generation_tokens_per_second: Measured;
  /** Answers a second over the whole turn, prompts included. */
  rows_per_second: Measured;
  /** Of prompts, in each turn (the least): what the prompts share is computed once; null where a side does not tell. */
  computed_prompt_tokens: number | null;
  /** From the start of a turn to an answer's first token, and from each of a sequence's tokens to the next; null where a side tells only sums. */
  first_token_seconds: Latency | null;
  token_seconds: Latency | null;
  peak_memory_bytes: number;
  /** Of generation: the file's bytes, read once a step, over the memory's peak; and the operations over the FMA peak. */
  bandwidth_share: number;
  fma_share: number;
  /** Where the time of the timed turns went, prompts included; our side only, and not where llama.cpp runs the model. */
  profile?: NativeProfileRow[];
}

export interface DecodeBench {
  trial: "decode";
  machine: Machine;
  model: { name: string; type: string; bytes: number };
  sequences: number;
  prompt_tokens: number;
  answer_tokens: number;
  shared_prefix: boolean;
  ours: DecodeSideResult & { settings: object; versions: Record<string, string> };
  peer: (DecodeSideResult & { name: string; version: Record<string, string>; settings: object }) | null;
  /** Ours over the peer's generation_tokens_per_second (medians). */
  ratio: number | null;
  spread: { low: number; high: number } | null;
  /** Our answers are llama.cpp's, or leave them only where it finds the two tokens nearer than equal_bound. */
  equal: boolean;
  /** Of natural log-probabilities. */
  equal_bound: number;
  /** Share of prompts with llama.cpp's answer, and the largest such difference of the rest. */
  agreement: number;
  largest_gap: number;
}

/** llama.cpp rounds activations to 8 bits, and int8 products round too: tokens nearer than this may change places (docs/numerics.md). */
const equalBound = 0.75;

export async function benchDecode(options: DecodeBenchOptions, session: TrialSession): Promise<DecodeBench> {
  if (options.peer === "llama.cpp") peerProgram(options.peer); // one that is missing is told before any work
  // The name as it is typed: "type" alone would be found in "quantisation type", too.
  const type = options.type === undefined ? {} : { type: requireType(options.type, "--type") };
  const folder = await mkdtemp(path.join(tmpdir(), "stillroom-bench-"));
  try {
    const file = await modelOf({ ...options, ...type }, folder, session);
    const model = await openModel(file, { threads: options.threads, signal: session.signal });
    const { info, threads } = model;
    const reference = await Reference.open(model, options.promptTokens + 1 + options.answerTokens);
    const { sequences, promptTokens, answerTokens, sharedPrefix, seed } = options;
    const candidates = textPrompts(model, 2 * sequences, { tokens: promptTokens, sharedPrefix, seed });
    const answers = await reference.answer(candidates, sequences, answerTokens);
    const job: DecodeJob = {
      model: path.resolve(info.path),
      threads,
      precision: options.precision ?? "f32",
      prompts: answers.prompts,
      promptTokens,
      sharedTokens: sharedPrefix ? promptTokens : 0,
      answerTokens,
    };
    const facts = await machine(threads);
    const turns = await takeTurns(job, options, folder, session);
    const agreement = await reference.compare(answers, turns[0]!.steps[0]!.answers!);
    await reference.close();
    await model.close();
    return summary(options, job, info, facts, agreement, turns);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The model as it is, or quantised to the type that is asked for. */
async function modelOf(options: DecodeBenchOptions, folder: string, { say, signal }: TrialSession): Promise<string> {
  const { precision } = options; // one that the processor lacks is told here, not by a side that dies of it
  const model = await openModel(options.model, { threads: options.threads, precision, signal });
  const { path: given } = model.info;
  const { threads } = model;
  await model.close();
  if (options.type === undefined) return given;
  say(`quantising ${path.basename(given)} to ${options.type}`);
  const out = path.join(folder, `${options.type}.gguf`);
  await native().quantize(given, out, { type: options.type, importance: null, threads }).catch(rethrow);
  return out;
}

interface Turns {
  steps: DecodeDone[];
  versions: Record<string, string>;
  settings: object;
  peakMemoryBytes: number;
  profile?: NativeProfileRow[] | undefined;
}

async function takeTurns(
  job: DecodeJob,
  { peer, repeat }: DecodeBenchOptions,
  folder: string,
  { say, signal }: TrialSession,
): Promise<Turns[]> {
  const file = path.join(folder, "decode.json");
  await writeFile(file, JSON.stringify(job));
  const script = (name: string) => fileURLToPath(new URL(name, import.meta.url));
  const sides: DecodeSide[] = [new Side<DecodeDone>("stillroom", process.execPath, [script("./ours-decode.js"), file])];
  if (peer === "llama.cpp") sides.push(new BatchedBench(job, signal));
  if (peer === "node-llama-cpp")
    sides.push(new Side<DecodeDone>(peer, process.execPath, [script("./node-llama-decode.js"), file]));
  return withSides(sides, signal, async () => {
    const turns: Turns[] = [];
    for (const side of sides) {
      const { versions, settings = {} } = await side.ready();
      turns.push({ steps: [], versions, settings, peakMemoryBytes: 0 });
    }
    for (let turn = 0; turn <= repeat; turn++) {
      for (const [number, side] of sides.entries()) turns[number]!.steps.push(await side.step());
      const told = turns.map(({ steps }) => `${speed(steps.at(-1)!).toFixed(0)} tokens/s`);
      say(`${turn === 0 ? "warm-up" : "timed"} turn ${turn + 1}: ours ${told.join(", peer ")}`);
    }
    for (const [number, side] of sides.entries()) {
      const done = await side.done();
      turns[number]!.peakMemoryBytes = done.peak_memory_bytes;
      turns[number]!.profile = done.profile;
    }
    return turns;
  });
}

const speed = ({ generated, generation_seconds }: DecodeDone): number => generated / generation_seconds;

function sideOf(
  job: DecodeJob,
  { steps, peakMemoryBytes, profile }: Turns,
  info: NativeModelInfo,
  facts: Machine,
): DecodeSideResult {
  const timed = steps.slice(1); // the first turn warms up
  const rate = measured(timed.map(speed));
  const all = (pick: (step: DecodeDone) => number[] | null): Latency | null => {
    const values = timed.map(pick);
    return values.includes(null) ? null : latency(values.flatMap((one) => one!));
  };
  const computed = timed.map((step) => step.prompt_tokens);
  const flops = decodeFlops(info, job.promptTokens + job.answerTokens / 2);
  return {
    generation_tokens_per_second: rate,
    rows_per_second: measured(timed.map(({ seconds }) => job.prompts.length / seconds)),
    computed_prompt_tokens: computed.includes(null) ? null : Math.min(...computed.map((one) => one!)),
    first_token_seconds: all((step) => step.first_token_seconds),
    token_seconds: all((step) => step.token_seconds),
    peak_memory_bytes: peakMemoryBytes,
    bandwidth_share: ((rate.median / job.prompts.length) * info.fileBytes) / 1e9 / facts.bandwidth_peak_gbps,
    fma_share: (rate.median * flops) / 1e9 / facts.fma_peak_gflops,
    ...(profile && { profile }),
  };
}

function summary(
  options: DecodeBenchOptions,
  job: DecodeJob,
  info: NativeModelInfo,
  facts: Machine,
  { agreement, largest_gap }: Agreement,
  [first, second]: Turns[],
): DecodeBench {
  const ours = sideOf(job, first!, info, facts);
  const base = {
    trial: "decode" as const,
    machine: facts,
    model: {
      name: info.name ?? path.basename(info.path),
      type: options.type ?? mostOf(info.types),
      bytes: info.fileBytes,
    },
    sequences: job.prompts.length,
    prompt_tokens: options.promptTokens,
    answer_tokens: options.answerTokens,
    shared_prefix: options.sharedPrefix,
    ours: { ...ours, settings: first!.settings, versions: first!.versions },
    equal: largest_gap <= equalBound,
    equal_bound: equalBound,
    agreement,
    largest_gap,
  };
  if (!second) return { ...base, peer: null, ratio: null, spread: null };
  const peer = sideOf(job, second, info, facts);
  const ratios = measured(first!.steps.map((step, turn) => speed(step) / speed(second.steps[turn]!)).slice(1));
  return {
    ...base,
    peer: { ...peer, name: options.peer, version: second.versions, settings: second.settings },
    ratio: ours.generation_tokens_per_second.median / peer.generation_tokens_per_second.median,
    spread: { low: ratios.low, high: ratios.high },
  };
}

/** The type of most tensors that are no vectors; a file's vectors are f32. */
function mostOf(types: Record<string, number>): string {
  const weights = Object.entries(types).filter(([type]) => type !== "f32");
  return weights.reduce((most, one) => (one[1] > most[1] ? one : most), ["f32", 0] as [string, number])[0];
}
