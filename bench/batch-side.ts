// How a peer of the batch trial works its turns off: some rows under way at once, under the settings that turn out fastest. Knows no peer.
import { createInterface } from "node:readline";
import type { BatchJob } from "./batch.js";
import { emit } from "./side.js";

/** Answers a prompt with the place of its label. */
export type Choose = (prompt: number[]) => Promise<number>;

/** What was tried, each with its speed. */
export type Tried<Settings> = Settings & { rows_per_second: number };

async function answerAll(prompts: readonly number[][], choose: Choose, atOnce: number): Promise<number[]> {
  const places = new Array<number>(prompts.length);
  let next = 0;
  const work = async () => {
    for (let row = next++; row < prompts.length; row = next++) places[row] = await choose(prompts[row]!);
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return places;
}

/** The fastest of some settings on the rows of the warm-up turn, twice each, the second time counts. */
export async function fastest<Settings extends { sequences: number }>(
  { rows, turns, tries }: BatchJob,
  settings: readonly Settings[],
  open: (one: Settings) => Promise<{ choose: Choose; close: () => Promise<void> }>,
): Promise<{ best: Settings; tried: Tried<Settings>[] }> {
  const prompts = turns[0]!.slice(0, tries).map((row) => rows[row]!.prompt);
  const tried: Tried<Settings>[] = [];
  for (const one of settings) {
    const { choose, close } = await open(one);
    const half = prompts.length >> 1;
    await answerAll(prompts.slice(0, half), choose, one.sequences);
    const began = performance.now();
    await answerAll(prompts.slice(half), choose, one.sequences);
    tried.push({ ...one, rows_per_second: (1000 * (prompts.length - half)) / (performance.now() - began) });
    await close();
  }
  const best = tried.reduce((most, one) => (one.rows_per_second > most.rows_per_second ? one : most));
  return { best, tried };
}

/** The turns, one for each line on stdin. */
export async function playBatches(job: BatchJob, choose: Choose, atOnce: number): Promise<void> {
  let number = 0;
  for await (const _ of createInterface({ input: process.stdin })) {
    const prompts = job.turns[number++]!.map((row) => job.rows[row]!.prompt);
    const start = performance.now();
    const places = await answerAll(prompts, choose, atOnce);
    const seconds = (performance.now() - start) / 1000;
    emit({ event: "step", answers: places.map((place) => job.labels[place]!.text), margins: null, seconds });
  }
}
