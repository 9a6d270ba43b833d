// Batches through a queue on a toy: the file of a local batch, by workers in this process and in others, joined, refused and given up.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect } from "vitest";
import { loadCalibration, writeCalibration } from "../../src/adapter/index.js";
import { type BatchOptions, batch } from "../../src/batch/index.js";
import { unpackChunk } from "../../src/queue/chunk.js";
import {
  type JobStatus,
  type QueueBatchOptions,
  queueBatch,
  queueStatus,
  type WorkerOptions,
  work,
} from "../../src/queue/index.js";
import { Queue, queueOf } from "../../src/queue/queue.js";
import { type Maker, openStore } from "../../src/store/index.js";
import { readTask, type Task } from "../../src/task/index.js";
import { completion, embedding, freshFolder, manyRequests, writeLines, writeOpenTask } from "../batch/requests.js";
import { calibratedPrompt, calibratedRun, setsRun } from "../batch/runs.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { needs } from "../support/needs.js";
import { writeTextToy } from "../support/text_toy.js";
import { postgresOfFile } from "./postgres.js";

process.env.XDG_CACHE_HOME = path.join(freshFolder(), "cache");
const it = needs("postgres");
const model = writeTextToy();
const postgres = await postgresOfFile();

const asked = (given: Partial<QueueBatchOptions> = {}): QueueBatchOptions => ({
  ...{ queue: postgres.url, model, threads: 1, out: path.join(freshFolder(), "out.jsonl"), chunk: 16 },
  ...given,
});
const working = (given: Partial<WorkerOptions> = {}): WorkerOptions => ({
  ...{ queue: postgres.url, model, threads: 1, store: path.join(freshFolder(), "store"), drain: true },
  ...given,
});

async function local(
  input: Parameters<typeof batch>[0],
  given: Partial<BatchOptions> = {},
): Promise<{ out: Buffer; errors: Buffer | null }> {
  const folder = freshFolder();
  const out = path.join(folder, "out.jsonl");
  const result = await batch(input, { model, threads: 1, ...given, store: path.join(folder, "store"), out });
  return { out: readFileSync(out), errors: result.errors_file === null ? null : readFileSync(result.errors_file) };
}

const sql = (text: string, values: unknown[] = []) => postgres.sql(text, values);

const newest = async (): Promise<JobStatus> => (await queueStatus({ queue: postgres.url }))[0]!;

/** Hands rows in, and leaves when all are there. */
async function handIn(input: Parameters<typeof batch>[0], options: QueueBatchOptions): Promise<void> {
  const controller = new AbortController();
  const leaving = queueBatch(input, { ...options, signal: controller.signal });
  const outcome = expect(leaving).rejects.toMatchObject({
    code: "cancelled",
    message: expect.stringMatching(/stays in the queue/),
  });
  await until(async () => (await newest())?.state === "answering");
  controller.abort();
  await outcome;
}

describe("a batch through a queue", () => {
  it("of requests and of a task, has the bytes of a local one", async () => {
    const vectors = [embedding("list", ["plum", "pear", "plum"]), embedding("one", "pear", { pooling: "last" })];
    for (const input of [
      writeLines([...manyRequests(300), ...vectors]),
      await readTask(writeOpenTask("classify", 150)),
    ]) {
      const whole = await local(input);
      const to = asked();
      const [result, worker] = await Promise.all([
        queueBatch(input, to),
        // The first chunk may come after the worker: it waits for more.
        handedIn().then(() => work(working())),
      ]);
      expect(readFileSync(to.out).equals(whole.out)).toBe(true);
      if (whole.errors)
        expect(readFileSync(result.errors_file!).toString().replaceAll(to.out, "")).toBe(whole.errors.toString());
      else expect(result.errors_file).toBe(null);
      expect(worker.computed).toBe(result.computed);
      // Again: all is known, and no worker is needed.
      const again = asked();
      expect(await queueBatch(input, again)).toMatchObject({
        rows: result.rows,
        computed: 0,
        from_store: result.computed + result.from_store,
      });
      expect(readFileSync(again.out).equals(whole.out)).toBe(true);
    }
    expect(await sql("SELECT 1 FROM stillroom.chunks")).toEqual([]);
    // By hand: every key once, and every value's checksum holds (the second runs read them all).
    expect(await sql("SELECT key FROM stillroom.answers GROUP BY key HAVING count(*) > 1")).toEqual([]);
  }, 60_000);

  const halves = () => readTask(writeToyTask().file);
  type Trained = { task: Task } & Pick<BatchOptions, "adapter" | "prompt" | "shots" | "seed">;
  const trained: [string, (task: Task) => Promise<Trained>][] = [
    [
      "a calibration that leaves rows open",
      async (task) => ({ task, adapter: await calibratedRun(task, model, false) }),
    ],
    ["a head and such a calibration", async (task) => ({ task, adapter: await calibratedRun(task, model, true) })],
    ["a head for sets of labels", () => setsRun(model)],
    ["a calibrated prompt file", async (task) => ({ task, prompt: await calibratedPrompt(task, model) })],
    ["answered rows before each prompt", async (task) => ({ task, shots: 2, seed: 3 })],
  ];
  for (const [name, made] of trained)
    it(`of a task with ${name}, has the bytes of a local one`, async () => {
      const { task, ...given } = await made(await halves());
      const whole = await local(task, given);
      if (name.includes("calibration")) {
        const lines = whole.out.toString().trim().split("\n");
        const open = lines.filter((line) => JSON.parse(line).prediction === "").length;
        expect([open > 0, open < lines.length]).toEqual([true, true]);
      }
      const to = asked({ ...given, chunk: 6 });
      const [result, worker] = await Promise.all([
        queueBatch(task, to),
        handedIn().then(() => work(working(given.adapter ? { adapter: given.adapter } : {}))),
      ]);
      expect(result).toMatchObject({ rows: 20, errors: 0, computed: worker.computed });
      expect(worker.chunks).toBeGreaterThan(2);
      expect(readFileSync(to.out).equals(whole.out)).toBe(true);
    }, 60_000);

  it("whose run has another calibration since is another job", async () => {
    const task = await halves();
    const adapter = await calibratedRun(task, model, false);
    const first = (await loadCalibration(adapter))!;
    await writeCalibration(adapter, { ...first, temperature: 2 });
    await handIn(task, asked({ adapter }));
    const { job } = await newest();
    await writeCalibration(adapter, { ...first, temperature: 3 });
    const whole = await local(task, { adapter });
    const to = asked({ adapter });
    const again = queueBatch(task, to);
    await until(async () => (await newest()).job > job && (await newest()).state === "answering");
    await work(working({ adapter }));
    await again;
    expect(readFileSync(to.out).equals(whole.out)).toBe(true);
  }, 60_000);

  it("started twice is one job; what is done already, here or there, is not done again", async () => {
    const input = writeLines(manyRequests(200, 2));
    const whole = await local(input);
    const [one, two] = [asked(), asked()];
    await handIn(input, one);
    const { job: before } = await newest();
    const both = Promise.all([queueBatch(input, one), queueBatch(input, two)]);
    const worker = await work(working());
    await both;
    const { job, done, rows, computed } = await newest();
    expect({ job, done, rows, computed }).toEqual({ job: before, done: 200, rows: 200, computed: worker.computed });
    for (const { out } of [one, two]) expect(readFileSync(out).equals(whole.out)).toBe(true);
    // A longer file: only what is new goes to workers; and a store gets all, with its texts.
    const longer = writeLines([...manyRequests(200, 2), completion("more", "something new")]);
    const store = path.join(freshFolder(), "answers");
    const more = await Promise.all([queueBatch(longer, asked({ store })), handedIn().then(() => work(working()))]);
    expect(more[0].computed).toBe(1);
    const opened = await openStore(store, { readOnly: true });
    expect(opened.lookup("something new")).toMatchObject({ hit: true });
    await opened.close();
  }, 60_000);

  it("a worker's own store is its first level", async () => {
    const input = writeLines(Array.from({ length: 100 }, (_, row) => completion(`${row}`, `kept by a worker ${row}`)));
    const store = path.join(freshFolder(), "store");
    const one = asked();
    const [, first] = await Promise.all([queueBatch(input, one), handedIn().then(() => work(working({ store })))]);
    // What all share is gone; what the worker keeps is not.
    await sql("DELETE FROM stillroom.answers");
    const two = asked();
    const [again, worker] = await Promise.all([
      queueBatch(input, two),
      handedIn().then(() => work(working({ store }))),
    ]);
    expect(first).toMatchObject({ computed: 100, from_store: 0 });
    expect(worker).toMatchObject({ computed: 0, from_store: 100 });
    expect(again).toMatchObject({ computed: 0, from_store: 100 });
    expect(readFileSync(two.out).equals(readFileSync(one.out))).toBe(true);
  }, 60_000);

  it("a submitter that was called off, and one whose rows are handed in by halves, go on", async () => {
    const input = writeLines(manyRequests(5000, 3));
    const whole = await local(input);
    const controller = new AbortController();
    const to = asked({ signal: controller.signal, onProgress: () => controller.abort(), chunk: 200 });
    await expect(queueBatch(input, to)).rejects.toMatchObject({ code: "cancelled" });
    expect(existsSync(to.out)).toBe(false);
    const { state, done } = await newest();
    expect(state).toBe("submitting");
    expect(done).toBeLessThan(5000);
    const [again, first] = [asked({ chunk: 200 }), asked({ chunk: 200 })];
    await Promise.all([queueBatch(input, again), queueBatch(input, first), work(working({ drain: true }))]);
    expect(readFileSync(again.out).equals(whole.out)).toBe(true);
    expect(readFileSync(first.out).equals(whole.out)).toBe(true);
  }, 90_000);
});

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** When rows of a job wait. */
const handedIn = () => until(async () => ["answering", "submitting"].includes((await newest())?.state));

describe("what goes wrong", () => {
  it("a worker of another model is refused by name, with both hashes", async () => {
    await handIn(writeLines([completion("a", "plum")]), asked());
    const other = writeTextToy({ "general.name": "another" });
    await expect(work(working({ model: other }))).rejects.toMatchObject({
      code: "usage",
      message:
        /no job of the queue .*asks for the weights [0-9a-f]{64} \(text-toy\), this worker has [0-9a-f]{64} \(another\)/,
    });
    await work(working());
  }, 30_000);

  it("a chunk that is never brought back is tried row by row, and costs only the row that fails alone", async () => {
    const wrong = completion("wrong", "unlucky", { n: 2 });
    const input = writeLines([
      wrong,
      ...Array.from({ length: 8 }, (_, row) => completion(`row ${row}`, `unlucky ${row}`)),
    ]);
    const to = asked({ chunk: 8, lease: 1 });
    await handIn(input, to);
    const [{ maker }] = (await sql("SELECT maker FROM stillroom.jobs ORDER BY id DESC LIMIT 1")) as [{ maker: Maker }];
    const name = queueOf(maker);
    const queue = await Queue.open(postgres.url, { patience: 0, supervise: 1 });
    try {
      const next = async <T>(look: () => Promise<T | null>): Promise<T> => {
        for (;;) {
          const found = await look();
          if (found !== null) return found;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      };
      // Workers that take the chunk and are not heard of again.
      for (let worker = 0; worker < 3; worker++) await next(() => queue.take(name));
      const { lease, reason } = await next(() => queue.takeSuspect(name));
      expect(reason).toMatch(/its worker died, or its lease ran out/);
      const whole = (await queue.read(lease))!;
      await queue.judge(name, lease, whole, unpackChunk(whole.body), [], "test");
      // Now each row is a chunk of its own; one of them brings down whoever takes it.
      for (let failed = 0; failed < 3; ) {
        const one = await next(() => queue.take(name));
        const chunk = (await queue.read(one))!;
        const [request] = unpackChunk(chunk.body);
        expect(chunk.lease).toBe(10);
        if (String.fromCharCode(...request!.prompt).endsWith("3")) {
          await queue.fail(name, one, "planted");
          failed++;
        } else
          await queue.bring(name, one, chunk, { answers: [], failures: [], computed: 0, known: 0, tokens: 0 }, "test", [
            request!,
          ]);
      }
    } finally {
      await queue.close();
    }
    const [result] = await Promise.all([queueBatch(input, to), work(working())]);
    expect(result).toMatchObject({ rows: 7, errors: 2 });
    const [own, given] = readFileSync(result.errors_file!, "utf8").trim().split("\n");
    expect(JSON.parse(own!)).toMatchObject({ custom_id: "wrong", response: { status_code: 400 } });
    expect(JSON.parse(given!)).toMatchObject({ custom_id: "row 3", response: { status_code: 500 } });
    expect(given).toMatch(/was given up after 3 tries on its own: planted/);
  }, 60_000);

  it("an answer that is not what was written is computed again", async () => {
    const input = writeLines([completion("a", "damaged"), completion("b", "not damaged")]);
    const whole = await local(input);
    await Promise.all([queueBatch(input, asked()), handedIn().then(() => work(working()))]);
    await sql("UPDATE stillroom.answers SET value = set_byte(value, 40, get_byte(value, 40) # 1)");
    const to = asked();
    // Between the two rounds of this batch nothing waits: one that drains might end there.
    const ended = new AbortController();
    const again = queueBatch(input, to).finally(() => ended.abort());
    await Promise.all([again, work(working({ drain: false, signal: ended.signal }))]);
    expect(readFileSync(to.out).equals(whole.out)).toBe(true);
  }, 60_000);
});
