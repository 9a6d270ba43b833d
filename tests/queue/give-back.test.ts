// A worker that gives back what it has not done: told to end amid a chunk, and when its lease runs out before the first answer. Both at a counted answer, in one chunk
// under a lease that no test waits for.
import { readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect, vi } from "vitest";
import { type answerAll, batch } from "../../src/batch/index.js";
import { queueBatch, queueStatus, work } from "../../src/queue/index.js";
import { completion, freshFolder, writeLines } from "../batch/requests.js";
import { needs } from "../support/needs.js";
import { writeTextToy } from "../support/text_toy.js";
import { postgresOfFile } from "./postgres.js";

process.env.XDG_CACHE_HOME = path.join(freshFolder(), "cache");

const hooks = vi.hoisted(() => ({
  /** Before the next chunk is worked on. */
  before: null as (() => Promise<unknown>) | null,
  /** After each answer, with how many there were. */
  told: (() => undefined) as (answers: number) => void,
}));
vi.mock("../../src/batch/index.js", async (original) => {
  const real = await original<typeof import("../../src/batch/index.js")>();
  let answers = 0;
  const counted: typeof answerAll = async (engine, requests, front, tell, signal) => {
    const { before } = hooks;
    hooks.before = null;
    await before?.();
    return real.answerAll(
      engine,
      requests,
      front,
      async (...told) => {
        await tell(...told);
        hooks.told(++answers);
      },
      signal,
    );
  };
  return { ...real, answerAll: counted };
});

const it = needs("postgres");
const postgres = await postgresOfFile();
const model = writeTextToy();

const rows = 300;
const store = () => path.join(freshFolder(), "store");

/** Rows of one chunk, handed in, and the file that a local batch writes of them. */
async function oneChunk(of: string, lease: number) {
  const how = { queue: postgres.url, model, threads: 1 };
  const input = writeLines(
    Array.from({ length: rows }, (_, row) => completion(`row ${row}`, `${of} ${row}:`, { max_tokens: 1 + (row % 9) })),
  );
  const [out, whole] = [path.join(freshFolder(), "out.jsonl"), path.join(freshFolder(), "whole.jsonl")];
  await batch(input, { model, threads: 1, store: store(), out: whole });
  const handed = queueBatch(input, { ...how, out, chunk: rows, lease });
  while ((await queueStatus({ queue: postgres.url }))[0]?.state !== "answering") await setTimeout(20);
  return { how, handed, isWhole: () => readFileSync(out).equals(readFileSync(whole)) };
}

it("told to end amid a chunk, it brings back what is done, and the rest is another's at once", async () => {
  const { how, handed, isWhole } = await oneChunk("Fruit", 3600);
  const ending = new AbortController();
  let first = 0;
  hooks.told = (answers) => {
    first ||= answers;
    if (answers === first + 4) ending.abort();
  };
  const ended = await work({ ...how, store: store(), signal: ending.signal });
  hooks.told = () => undefined;
  expect(ended.rows).toBeGreaterThanOrEqual(5);
  expect(ended.rows).toBeLessThan(rows);
  const [next] = await Promise.all([work({ ...how, store: store(), drain: true }), handed]);
  // What the first had done was not done again, and nobody waited for its lease, or began the job anew.
  expect(next).toMatchObject({ rows: rows - ended.rows, computed: rows - ended.rows, from_store: 0 });
  expect((await queueStatus({ queue: postgres.url }))[0]).toMatchObject({ done: rows, computed: rows, errors: 0 });
  expect(isWhole()).toBe(true);
}, 60_000);

it("at the end of its lease without an answer, it brings back the first one, and the rest is handed on", async () => {
  const { how, handed, isWhole } = await oneChunk("Herb", 1);
  // Past three quarters of the lease.
  hooks.before = () => setTimeout(800);
  const pieces: number[] = [];
  const onProgress = ({ computed }: { computed: number }) => pieces.push(computed);
  const [worker] = await Promise.all([work({ ...how, store: store(), drain: true, onProgress }), handed]);
  expect(worker).toMatchObject({ rows, computed: rows, errors: 0 });
  expect(pieces.length).toBeGreaterThan(1);
  expect(pieces[0]).toBeGreaterThan(0);
  expect(pieces[0]).toBeLessThan(rows / 2);
  expect(isWhole()).toBe(true);
}, 60_000);
