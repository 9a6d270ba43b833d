// A job's events and result reach whoever listens, whenever they begin to.
import { expect, test } from "vitest";
import { EventRun } from "../../src/support/event-run.js";

async function* counting(upTo: number, fail = false): AsyncGenerator<number, string> {
  for (let i = 1; i <= upTo; i++) {
    await Promise.resolve();
    yield i;
  }
  if (fail) throw new Error("broken");
  return "done";
}

async function collect(run: AsyncIterable<number>): Promise<number[]> {
  const seen: number[] = [];
  for await (const event of run) seen.push(event);
  return seen;
}

test("the result comes without anyone iterating", async () => {
  expect(await new EventRun(counting(3)).result).toBe("done");
});

test("every iterator sees every event, early or late", async () => {
  const run = new EventRun(counting(3));
  const early = collect(run);
  await run.result;
  expect(await Promise.all([early, collect(run)])).toEqual([
    [1, 2, 3],
    [1, 2, 3],
  ]);
});

test("a failure reaches the iterator after the events before it, and the result", async () => {
  const run = new EventRun(counting(2, true));
  const seen: number[] = [];
  await expect(
    (async () => {
      for await (const event of run) seen.push(event);
    })(),
  ).rejects.toThrow("broken");
  expect(seen).toEqual([1, 2]);
  await expect(run.result).rejects.toThrow("broken");
});
