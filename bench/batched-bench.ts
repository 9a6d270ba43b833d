// The peer of the decoding trial that computes no text: llama-batched-bench, a process a turn, with the settings that turn out its fastest.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { StillroomError } from "../src/index.js";
import type { DecodeJob } from "./decode.js";
import { peerProgram } from "./setup.js";
import type { DecodeDone, Ready, SideDone } from "./side.js";

/** What it leaves to its user, and what that changed. */
interface Settings {
  flash_attention: boolean;
  /** One cache for all sequences, in which each looks at every cell; else a cache for each. */
  unified_cache: boolean;
  /** Tokens of a prompt computed at once. */
  micro_batch: number;
  /** What its threads do while they wait, OMP_WAIT_POLICY: spinning is faster where nothing else wants the cores. */
  wait: "active" | "passive";
}

interface Tried {
  settings: Settings;
  generation_tokens_per_second: number;
  seconds: number;
}

/** The fields of a line of its JSON that we use. */
interface Line {
  pl: number;
  tg: number;
  t_tg: number;
  t: number;
}

/** Answers of the runs that look for the best settings, in tokens. */
const trialTokens = 16;
const mostAttempts = 8;

/** Plays the part of a Side. */
export class BatchedBench {
  readonly #job: DecodeJob;
  readonly #signal: AbortSignal;
  readonly #tried: Tried[] = [];
  #settings: Settings = { flash_attention: true, unified_cache: true, micro_batch: 512, wait: "active" };
  #peakMemoryBytes = 0;

  constructor(job: DecodeJob, signal: AbortSignal) {
    this.#job = job;
    this.#signal = signal;
  }

  /** Flash attention and the cache's kind are tried together, then what else there is, each with the best so far. */
  async ready(): Promise<Ready> {
    for (const flash_attention of [true, false])
      for (const unified_cache of [true, false]) await this.#try({ flash_attention, unified_cache });
    this.#settings = this.#fastest().settings;
    await this.#try({ wait: "passive" });
    const fastest = this.#fastest();
    this.#settings = fastest.settings;
    const wide = await this.#try({ micro_batch: 2048 });
    if (wide.seconds < fastest.seconds) this.#settings = wide.settings;
    this.#peakMemoryBytes = 0;
    const { out, complaints } = await call(["--version"], this.#signal);
    const versions = { "llama.cpp": /version: (\S+)/.exec(out + complaints)?.[1] ?? "unknown" };
    const { threads } = this.#job;
    const fixed = { threads, cache_type: "f16", weights: "repacked for the processor" };
    return { event: "ready", versions, settings: { ...fixed, ...this.#settings, tried: this.#tried } };
  }

  async step(): Promise<DecodeDone> {
    const { pl, tg, t_tg, t } = await this.#bench(this.#settings, this.#job.answerTokens);
    const unknown = { answers: null, prompt_tokens: null, first_token_seconds: null, token_seconds: null };
    return { event: "step", ...unknown, seconds: t, generated: pl * tg, generation_seconds: t_tg };
  }

  async done(): Promise<SideDone> {
    return { event: "done", peak_memory_bytes: this.#peakMemoryBytes };
  }

  /** Nothing runs between turns; a turn ends with the signal. */
  close(): void {}

  async #try(change: Partial<Settings>): Promise<Tried> {
    const settings = { ...this.#settings, ...change };
    const { pl, tg, t_tg, t } = await this.#bench(settings, trialTokens);
    const tried = { settings, generation_tokens_per_second: (pl * tg) / t_tg, seconds: t };
    this.#tried.push(tried);
    return tried;
  }

  #fastest(): Tried {
    return this.#tried.reduce((best, one) =>
      one.generation_tokens_per_second > best.generation_tokens_per_second ? one : best,
    );
  }

  async #bench(settings: Settings, answerTokens: number): Promise<Line> {
    const { model, threads, prompts, sharedTokens, promptTokens } = this.#job;
    const work = { model, threads, count: prompts.length, promptTokens, answerTokens, shared: sharedTokens > 0 };
    const { line, peakMemoryBytes } = await benched(work, settings, this.#signal);
    this.#peakMemoryBytes = Math.max(this.#peakMemoryBytes, peakMemoryBytes);
    return line;
  }
}

/** What one run of it is asked to do. */
interface BatchedWork {
  model: string;
  threads: number;
  count: number;
  promptTokens: number;
  answerTokens: number;
  /** The prompt is one for all. */
  shared: boolean;
}

/** One run. */
export async function benched(
  { model, threads, count, promptTokens, answerTokens, shared }: BatchedWork,
  { flash_attention, unified_cache, micro_batch, wait }: Settings,
  signal: AbortSignal,
): Promise<{ line: Line; peakMemoryBytes: number }> {
  const options: Record<string, string | number> = {
    "-m": model,
    // Room for every sequence by itself, in the blocks of 256 that the cache grows by.
    "-c": count * 256 * Math.ceil((promptTokens + answerTokens + 1) / 256),
    "-b": 2048,
    "-ub": micro_batch,
    "-npp": promptTokens,
    "-ntg": answerTokens,
    "-npl": count,
    "-t": threads,
    "-tb": threads,
    "-fa": flash_attention ? "on" : "off",
    "--output-format": "jsonl",
  };
  const flags = [unified_cache ? "-kvu" : "-no-kvu", ...(shared ? ["-pps"] : [])];
  const args = [...Object.entries(options).flat().map(String), ...flags];
  // On a busy machine it may end before its log has printed the result (exit code 0, nothing on stdout): then it is asked again.
  for (let attempt = 1; ; attempt++) {
    const { out, complaints, peakMemoryBytes } = await call(args, signal, { OMP_WAIT_POLICY: wait });
    const line = out.split("\n").find((one) => one.startsWith("{"));
    if (line !== undefined) return { line: JSON.parse(line) as Line, peakMemoryBytes };
    if (attempt === mostAttempts)
      throw new StillroomError("internal", `llama-batched-bench printed no result:\n${complaints}`);
  }
}

/** What the program prints on stdout, the last of what it prints on stderr, and its largest resident memory. */
async function call(
  args: string[],
  signal: AbortSignal,
  environment: Record<string, string> = {},
): Promise<{ out: string; complaints: string; peakMemoryBytes: number }> {
  const env = { ...process.env, ...environment };
  const child = spawn(peerProgram("llama.cpp"), args, { stdio: ["ignore", "pipe", "pipe"], signal, env });
  const said = { out: "", complaints: "" }; // apart: one breaks into the other's lines
  let peakMemoryBytes = 0;
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    said.out += part;
  });
  child.stderr.setEncoding("utf8").on("data", (part: string) => {
    said.complaints = (said.complaints + part).slice(-2000);
  });
  const watch = setInterval(() => {
    peakMemoryBytes = Math.max(peakMemoryBytes, peakMemory(child.pid));
  }, 50);
  const ended = await new Promise<string | null>((resolve) => {
    child.once("error", ({ message }) => resolve(message));
    child.once("close", (code) => resolve(code === 0 ? null : `exit code ${code}`));
  });
  clearInterval(watch);
  if (ended === null) return { ...said, peakMemoryBytes };
  throw new StillroomError("internal", `llama-batched-bench failed (${ended}):\n${said.complaints}`);
}

/** Largest resident memory of a process that runs, by Linux; 0 where that cannot be read. */
function peakMemory(pid: number | undefined): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
