// What both sides of the look-up trial are asked, and how a turn is timed. Knows no store.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { latency } from "./numbers.js";
import { emit, emitDone, type LookupDone } from "./side.js";

export interface LookupJob {
  /** A folder for the side's own files. */
  folder: string;
  keys: number;
  /** Of a turn, one after the other. */
  lookups: number;
  seed: number;
  /** The look-ups come by HTTP, from elsewhere. */
  http: boolean;
}

export interface Answered {
  text: string;
  probabilities: Record<string, number>;
}

/** The text of a key, and what is known for it: a choice between two labels, as of a review. */
export const textOf = (number: number): string => `review ${number} of many: a gripping, if uneven, piece of work`;
export function answerOf(number: number): Answered {
  const negative = 1 / (2 + (number % 997));
  return { text: number % 2 ? "positive" : "negative", probabilities: { negative, positive: 1 - negative } };
}

/** Keys of a turn in an order that no cache guesses: a linear congruential generator over all of them. */
export function* numbersOf(
  { keys, lookups, seed }: Pick<LookupJob, "keys" | "lookups" | "seed">,
  turn: number,
): Generator<number> {
  let state = (seed + turn * 7919) >>> 0;
  for (let i = 0; i < lookups; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield Math.floor((state / 2 ** 32) * keys);
  }
}

export function sha256Of(answers: readonly string[]): string {
  const hash = createHash("sha256");
  for (const answer of answers) hash.update(`${answer}\n`);
  return hash.digest("hex");
}

/** Fills a side's store, unless an earlier run did; gives the seconds that it took. */
export async function filledOnce({ folder }: LookupJob, fill: () => Promise<void> | void): Promise<number> {
  const file = path.join(folder, "filled");
  if (existsSync(file)) return Number(readFileSync(file, "utf8"));
  const began = performance.now();
  await fill();
  const seconds = (performance.now() - began) / 1000;
  writeFileSync(file, `${seconds}`);
  return seconds;
}

/** Times single look-ups, and their number a second: what lies between them, making the text of the next, is no part of either. */
export class Turn {
  readonly #waits: number[] = [];
  readonly #answers: string[] = [];

  add(seconds: number, answer: string): void {
    this.#waits.push(seconds);
    this.#answers.push(answer);
  }

  done(more: Partial<LookupDone> = {}): LookupDone {
    const seconds = this.#waits.reduce((sum, wait) => sum + wait, 0);
    const answers = sha256Of(this.#answers);
    return { event: "step", seconds, lookups: this.#waits.length, ...latency(this.#waits), answers, ...more };
  }
}

/** The turns of a side whose look-ups are calls: one for each line on stdin, until that ends. */
export async function playTurns(job: LookupJob, look: (text: string) => string): Promise<void> {
  let number = 0;
  for await (const _ of createInterface({ input: process.stdin })) {
    const turn = new Turn();
    for (const key of numbersOf(job, number++)) {
      const text = textOf(key);
      const before = performance.now();
      const answer = look(text);
      turn.add((performance.now() - before) / 1000, answer);
    }
    emit(turn.done());
  }
  emitDone();
}

/** A side that serves: it waits until stdin ends. */
export async function whileServing(): Promise<void> {
  for await (const _ of createInterface({ input: process.stdin }));
  emitDone();
}
