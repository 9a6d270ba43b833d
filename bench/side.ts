// One side of a trial as a child process that speaks JSON lines: ready, then one answer a step, then done. Owns the process.
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { throwIfCancelled } from "../src/support/cancelled.js";
import { StillroomError } from "../src/support/errors.js";
import type { NativeProfileRow } from "../src/support/native.js";

/** What was computed, padding and repeats included. */
export interface Work {
  tokens: number;
  /** Pairs of a token and one that it sees, itself included. */
  pairs: number;
  /** Rows of logits. */
  logits: number;
  /** Tokens for which the last layer goes beyond keys and values (default: all). */
  queried?: number;
}

export interface Ready {
  event: "ready";
  versions: Record<string, string>;
  /** What the side chose by itself. */
  settings?: object;
  /** Where it listens, if it does. */
  url?: string;
}

export interface StepDone {
  event: "step";
  loss: number;
  labels: number;
  rows: number;
  /** Tokens of the rows, each row by itself and without padding. */
  tokens: number;
  seconds: number;
  work: Work;
}

export interface SideDone {
  event: "done";
  peak_memory_bytes: number;
  /** Of the timed steps, by part and kernel; our side only. */
  profile?: NativeProfileRow[];
  /** What the loss took beside the model; of the distillation trial. */
  loss_memory_bytes?: number;
}

/** A turn of the scoring trial. */
export interface ScoreDone {
  event: "step";
  /** (rows, labels) log-probability by the mean over the label's tokens. */
  means: number[][];
  tokens: number;
  seconds: number;
  /** What there is to compute when everything that the rows share is computed once; our side tells. */
  work?: Work;
}

/** A turn of the decoding trial. */
export interface DecodeDone {
  event: "step";
  /** (prompts, tokens) without end tokens; null where a side computes no text. */
  answers: number[][] | null;
  /** Tokens of prompts that the turn computed; null where a side does not tell. */
  prompt_tokens: number | null;
  /** Of the whole turn, prompts included. */
  seconds: number;
  /** Answer tokens while all sequences decode and no prompt is computed, and how long that was. */
  generated: number;
  generation_seconds: number;
  /** From the start of the turn to the first token of each answer. */
  first_token_seconds: number[] | null;
  /** From tokens of a sequence to its next ones, while all decode. */
  token_seconds: number[] | null;
}

/** A turn of the distillation trial: one optimiser step. */
export interface DistillDone {
  event: "step";
  /** Mean over the labels: ours from the tokens that are kept of the teacher's, the peer's over all tokens. */
  loss: number;
  labels: number;
  rows: number;
  tokens: number;
  /** Of asking the teacher for these rows; null where it is part of the step. */
  teach_seconds: number | null;
  seconds: number;
}

/** A turn of the on-policy trial: answers that are written, graded and learnt in one optimiser step. */
export interface WrittenDone {
  event: "step";
  /** Mean over the tokens that were written: ours from what is kept of the teacher's answers, the peer's over all tokens. */
  loss: number;
  /** Tokens written, ends included. */
  labels: number;
  /** (rows, tokens) what was written; our side tells. */
  answers: number[][] | null;
  seconds: number;
}

/** A turn of the look-up trial: look-ups one after the other. */
export interface LookupDone {
  event: "step";
  lookups: number;
  /** Sum of their waits; half, and 99 of 100, were no longer than p50 and p99. */
  seconds: number;
  p50: number;
  p99: number;
  /** SHA-256 over all answers. */
  answers: string;
  /** Of the same look-ups with many under way at once, where the side can. */
  pipelined_seconds?: number;
}

/** A turn of the batch trial. */
export interface BatchDone {
  event: "step";
  /** Labels, in the order of the rows. */
  answers: string[];
  /** Of our side: log p of the best label less that of the next. */
  margins: number[] | null;
  seconds: number;
}

/** Says one line of the protocol, on our own stdout. */
export function emit(
  line: Ready | StepDone | ScoreDone | DecodeDone | DistillDone | WrittenDone | LookupDone | BatchDone | SideDone,
): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** Says the last line, with the most memory that this process had. */
export function emitDone(more: Pick<SideDone, "profile" | "loss_memory_bytes"> = {}): void {
  emit({ event: "done", peak_memory_bytes: process.resourceUsage().maxRSS * 1024, ...more });
}

/** What a side is to do, each turn once its line has come on our own stdin, until that ends. */
export async function* turnsOf<Turn>(turns: readonly Turn[]): AsyncGenerator<[number, Turn]> {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  for (const turn of turns.entries()) {
    if ((await lines.next()).done) return;
    yield turn;
  }
}

/** Step: what it answers to each turn. */
export class Side<Step extends { event: "step" } = StepDone> {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  readonly #name: string;
  /** Everything that the process had to say has been read. */
  readonly #closed: Promise<unknown>;
  #complaints = "";

  constructor(name: string, command: string, args: string[]) {
    this.#name = name;
    this.#child = spawn(command, args, { stdio: "pipe" });
    this.#child.stdin.on("error", () => undefined); // told by the missing answer
    this.#closed = new Promise((resolve) => {
      this.#child.on("close", resolve);
      this.#child.on("error", (error) => {
        this.#complaints += error.message;
        resolve(error);
      });
    });
    this.#child.stderr.on("data", (text: Buffer) => {
      this.#complaints = (this.#complaints + text.toString()).slice(-2000);
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  ready(): Promise<Ready> {
    return this.#next<Ready>("ready");
  }

  /** @param given - what the side is told for this step, as one line */
  step(given = ""): Promise<Step> {
    this.#child.stdin.write(`${given}\n`);
    return this.#next<Step>("step");
  }

  done(): Promise<SideDone> {
    this.#child.stdin.end();
    return this.#next<SideDone>("done");
  }

  /** Ends the process if it still runs. */
  close(): void {
    this.#child.kill();
  }

  async #next<L extends { event: string }>(event: L["event"]): Promise<L> {
    const { value, done } = await this.#lines.next();
    if (done) {
      await this.#closed;
      throw new StillroomError("internal", `${this.#name} ended before "${event}":\n${this.#complaints.trim()}`);
    }
    const line = JSON.parse(value) as L;
    if (line.event === event) return line;
    throw new StillroomError("internal", `${this.#name} said ${line.event} in place of ${event}`);
  }
}

/** Lets sides take turns; whatever happens, and where the work is called off at once, none is left running. */
export async function withSides<Step extends { event: "step" }, T>(
  sides: readonly Pick<Side<Step>, "close">[],
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  const stop = (): void => {
    for (const side of sides) side.close();
  };
  signal.addEventListener("abort", stop);
  try {
    return await work();
  } catch (error) {
    throwIfCancelled(signal, "taking turns");
    throw error;
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}
