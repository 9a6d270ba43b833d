// The tuning trial: ours and PyTorch + PEFT on the same rows from the same first weights, taking turns step by step.
// First the losses must agree, then the times count.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { openModel } from "../src/index.js";
import { unexpected } from "../src/support/errors.js";
import type { NativeModelInfo, NativePrecision, NativeProfileRow } from "../src/support/native.js";
import type { OptimizerName } from "../src/train/index.js";
import { type JobRow, linearLayers, type TuneJob, writeFirstAdapter, writeJob } from "./job.js";
import { type Machine, machine } from "./machine.js";
import { type Measured, measured, stepFlops } from "./numbers.js";
import { peerProgram, peerScript } from "./setup.js";
import { Side, type StepDone, withSides } from "./side.js";
import { type WorkKind, works } from "./work.js";

export interface TuneBenchOptions {
  /** full: all weights, with AdamW of either kind of moments on our side. */
  method: "lora" | "full";
  optimizer: OptimizerName;
  peer: "pytorch" | "none";
  model?: string;
  work: "dense" | "sst2" | "both";
  repeat: number;
  threads?: number;
  precision?: NativePrecision;
  /** Folder of SST-2, where the text of either work comes from. */
  data?: string;
  /** Of the adapter (default 16). */
  rank?: number;
  peerLogits: "all" | "labels";
  peerRows?: number;
  seed: number;
}

/** One side on one kind of work. */
export interface SideResult {
  tokens_per_second: Measured;
  rows_per_second: Measured;
  step_seconds: Measured;
  peak_memory_bytes: number;
  /** Operations that the computed tokens need, over the time and the FMA peak; a side's own padding and sharing included. */
  fma_share: number;
  /** Tokens that went through the layers, over the tokens of the rows. */
  computed_tokens_share: number;
  losses: number[];
  /** Where the time of the timed steps went; our side only. */
  profile?: NativeProfileRow[];
}

type ByWork<T> = Record<string, T>;

export interface TuneBench {
  trial: "tune";
  machine: Machine;
  /** rank: null where all weights are trained. */
  model: { name: string; rank: number | null };
  ours: { settings: TuneJob["ours"]; versions: Record<string, string>; work: ByWork<SideResult> };
  peer: { name: string; version: Record<string, string>; settings: object; work: ByWork<SideResult> } | null;
  /** Ours over the peer's tokens per second (medians). */
  ratio: ByWork<number> | null;
  /** Ours over the peer's peak memory. */
  memory_ratio: ByWork<number> | null;
  /** Whether all losses agree within equal_bound. */
  equal: boolean;
  equal_bound: number;
  largest_loss_difference: ByWork<number> | null;
  /** Lowest and highest ratio of two steps on the same rows. */
  spread: ByWork<{ low: number; high: number }> | null;
}

/** Steps on the same rows again and again before the timed ones: warm-up, and losses that only agree if both learn the same. */
const equalSteps = 3;
const equalBound = 0.01;
const usualRank = 16;
type OpenModel = Awaited<ReturnType<typeof openModel>>;

/** What a trial is given besides its options. */
export interface TrialSession {
  say: (line: string) => void;
  signal: AbortSignal;
}

export async function benchTune(options: TuneBenchOptions, session: TrialSession): Promise<TuneBench> {
  requireAdapterFor(options);
  if (options.peer === "pytorch") peerProgram(options.peer); // one that is missing is told before any work
  const folder = await mkdtemp(path.join(tmpdir(), "stillroom-bench-"));
  try {
    const chosen: WorkKind[] = options.work === "both" ? ["dense", "sst2"] : [options.work];
    const model = await openModel(options.model, {
      threads: options.threads,
      precision: options.precision,
      signal: session.signal,
    });
    const { info, threads } = model;
    const jobs = new Map<WorkKind, TuneJob>();
    for (const kind of chosen) jobs.set(kind, await jobOf(kind, model, options, folder));
    await model.close();
    const facts = await machine(threads);
    const sides = new Map<WorkKind, Awaited<ReturnType<typeof takeTurns>>>();
    for (const [kind, job] of jobs) sides.set(kind, await takeTurns(kind, job, options, folder, session));
    return summary(options, info, facts, jobs, sides);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What only frozen weights beside an adapter have, as tune refuses it. */
function requireAdapterFor({ method, rank, precision = "f32" }: TuneBenchOptions): void {
  if (method === "lora") return;
  if (rank !== undefined) throw unexpected('method "lora"', "rank", rank);
  if (precision !== "f32") throw unexpected(`"f32" with method "${method}"`, "precision", precision);
}

async function jobOf(kind: WorkKind, model: OpenModel, options: TuneBenchOptions, folder: string): Promise<TuneJob> {
  const { rowsOfStep, rows: rowsOf } = works[kind];
  const { rank = usualRank, seed, repeat, optimizer } = options;
  const rows: JobRow[] = await rowsOf(model, rowsOfStep * (repeat + 1), seed, options.data);
  const batch = (index: number) => Array.from({ length: rowsOfStep }, (_, row) => index * rowsOfStep + row);
  const order = [...Array<number>(equalSteps).fill(0), ...Array.from({ length: repeat }, (_, step) => step + 1)];
  const adapter = { rank, alpha: 2 * rank, seed, targets: linearLayers };
  return {
    model: path.resolve(model.info.path),
    threads: model.threads,
    precision: options.precision ?? "f32",
    rows,
    steps: order.map((index) => ({ rows: batch(index), learningRate: options.method === "full" ? 2e-5 : 2e-4 })),
    untimed: equalSteps,
    optimizer: { optimizer, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 1 },
    adapter:
      options.method === "full" ? null : await writeFirstAdapter(path.join(folder, `${kind}-adapter`), model, adapter),
    out: null,
    ours: { tokenBudget: 512, sharePrefix: true, recompute: false, seed },
    peer: { microBatchRows: options.peerRows ?? rowsOfStep, logits: options.peerLogits },
  };
}

interface Turns {
  steps: StepDone[];
  versions: Record<string, string>;
  peakMemoryBytes: number;
  profile?: NativeProfileRow[] | undefined;
}

/** Every step by one side and then by the other, each in a process of its own that waits while the other works. */
async function takeTurns(
  kind: WorkKind,
  job: TuneJob,
  options: TuneBenchOptions,
  folder: string,
  { say, signal }: TrialSession,
): Promise<{ ours: Turns; peer: Turns | null }> {
  const file = await writeJob(path.join(folder, `${kind}.json`), job);
  const script = fileURLToPath(new URL("./ours-tune.js", import.meta.url));
  const sides = [new Side("stillroom", process.execPath, [script, file])];
  if (options.peer === "pytorch") {
    sides.push(new Side("pytorch", peerProgram(options.peer), [peerScript("pytorch_tune.py"), file, "--interactive"]));
  }
  return withSides(sides, signal, async () => {
    const turns: Turns[] = [];
    for (const side of sides) {
      turns.push({ steps: [], versions: (await side.ready()).versions, peakMemoryBytes: 0 });
    }
    for (const index of job.steps.keys()) {
      for (const [number, side] of sides.entries()) turns[number]!.steps.push(await side.step());
      const last = turns.map(({ steps }) => steps.at(-1)!);
      const told = last.map(({ loss, seconds }) => `loss ${loss.toFixed(5)} in ${seconds.toFixed(2)} s`);
      say(`${kind} ${index < equalSteps ? "equality" : "timed"} step ${index + 1}: ours ${told.join(", peer ")}`);
    }
    for (const [number, side] of sides.entries()) {
      const done = await side.done();
      turns[number]!.peakMemoryBytes = done.peak_memory_bytes;
      turns[number]!.profile = done.profile;
    }
    return { ours: turns[0]!, peer: turns[1] ?? null };
  });
}

function sideResult(turns: Turns, info: NativeModelInfo, rank: number | null, facts: Machine): SideResult {
  const timed = turns.steps.slice(equalSteps);
  const over = (value: (step: StepDone) => number) => measured(timed.map((step) => value(step) / step.seconds));
  const sum = (value: (step: StepDone) => number) => timed.reduce((total, step) => total + value(step), 0);
  return {
    tokens_per_second: over((step) => step.tokens),
    rows_per_second: over((step) => step.rows),
    step_seconds: measured(timed.map((step) => step.seconds)),
    peak_memory_bytes: turns.peakMemoryBytes,
    fma_share: over((step) => stepFlops(info, rank, step.work)).median / 1e9 / facts.fma_peak_gflops,
    computed_tokens_share: sum((step) => step.work.tokens) / sum((step) => step.tokens),
    losses: turns.steps.map((step) => step.loss),
    ...(turns.profile && { profile: turns.profile }),
  };
}

function summary(
  options: TuneBenchOptions,
  info: NativeModelInfo,
  facts: Machine,
  jobs: Map<WorkKind, TuneJob>,
  sides: Map<WorkKind, { ours: Turns; peer: Turns | null }>,
): TuneBench {
  const each = <T>(value: (kind: WorkKind, side: { ours: Turns; peer: Turns }) => T): ByWork<T> =>
    Object.fromEntries(
      [...sides].map(([kind, side]) => [kind, value(kind, { ours: side.ours, peer: side.peer ?? side.ours })]),
    );
  const rank = options.method === "full" ? null : (options.rank ?? usualRank);
  const ours = each((_, side) => sideResult(side.ours, info, rank, facts));
  const first = [...sides.values()][0]!;
  const job = [...jobs.values()][0]!;
  const base = {
    trial: "tune" as const,
    machine: facts,
    model: { name: info.name ?? path.basename(info.path), rank },
    ours: { settings: job.ours, versions: first.ours.versions, work: ours },
    equal_bound: equalBound,
  };
  if (!first.peer) {
    const nothing = { peer: null, ratio: null, memory_ratio: null, largest_loss_difference: null, spread: null };
    return { ...base, ...nothing, equal: true };
  }
  const peer = each((_, side) => sideResult(side.peer, info, rank, facts));
  const apart = each((_, side) =>
    Math.max(...side.ours.steps.map(({ loss }, step) => Math.abs(loss / side.peer.steps[step]!.loss - 1))),
  );
  const pairs = each((_, side) =>
    measured(
      side.ours.steps.slice(equalSteps).map((step, at) => side.peer.steps[at + equalSteps]!.seconds / step.seconds),
    ),
  );
  const settings = {
    dtype: "float32",
    optimizer: rank === null ? "AdamW, fused" : "AdamW",
    attention: "sdpa",
    threads: facts.threads,
    logits: options.peerLogits,
    rows_of_forward: Object.fromEntries([...jobs].map(([kind, { peer }]) => [kind, peer.microBatchRows])),
    padding: "longest of the forward pass",
  };
  return {
    ...base,
    peer: { name: rank === null ? "pytorch" : "pytorch+peft", version: first.peer.versions, settings, work: peer },
    ratio: each((kind) => ours[kind]!.tokens_per_second.median / peer[kind]!.tokens_per_second.median),
    memory_ratio: each((kind) => ours[kind]!.peak_memory_bytes / peer[kind]!.peak_memory_bytes),
    equal: Object.values(apart).every((difference) => difference <= equalBound),
    largest_loss_difference: apart,
    spread: each((kind) => ({ low: pairs[kind]!.low, high: pairs[kind]!.high })),
  };
}
