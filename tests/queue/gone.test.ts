// Those who go in the middle of a queue's work: a submitter that is killed, a worker that is stopped over its lease, and one that gives the rest of a chunk back.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect } from "vitest";
import { batch } from "../../src/batch/index.js";
import { Database } from "../../src/queue/database.js";
import { queueBatch, queueStatus, work } from "../../src/queue/index.js";
import { completion, freshFolder, manyRequests, writeLines } from "../batch/requests.js";
import { stillroom } from "../command/program.js";
import { needs } from "../support/needs.js";
import { writeTextToy } from "../support/text_toy.js";
import { postgresOfFile } from "./postgres.js";

process.env.XDG_CACHE_HOME = path.join(freshFolder(), "cache");
const it = needs("postgres");
const postgres = await postgresOfFile();
const model = writeTextToy();

const program = path.resolve("dist/bin/stillroom.js");
const store = () => path.join(freshFolder(), "store");
const newest = async () => (await queueStatus({ queue: postgres.url }))[0]!;

/** Waits until a question to PostgreSQL has the answer true. */
async function until(question: string): Promise<void> {
  const asked = () =>
    postgres.sql(`SELECT (${question}) AS yes`).catch((error: { code?: string }) => {
      // There is no such table before the first submitter.
      if (error.code === "42P01") return [];
      throw error;
    });
  while (!(await asked())[0]?.yes) await setTimeout(2);
}

/** The file that a local batch writes. */
async function local(input: string): Promise<Buffer> {
  const out = path.join(freshFolder(), "out.jsonl");
  await batch(input, { model, threads: 1, store: store(), out });
  return readFileSync(out);
}

/** Long answers, so that one chunk takes seconds. */
const longRows = (count: number, tokens: number) =>
  writeLines(
    Array.from({ length: count }, (_, row) =>
      completion(`row ${row}`, `tell me of ${row}`, { max_tokens: tokens, temperature: 1, seed: row }),
    ),
  );

it("a submitter that is killed while it hands in, and again while it waits, goes on when it is begun again", async () => {
  const input = writeLines(manyRequests(6000, 8));
  const whole = await local(input);
  const out = path.join(freshFolder(), "out.jsonl");
  const args = ["batch", input, "--queue", postgres.url, "--model", model, "--threads", "1", "--out", out];
  const killedWhen = async (question: string) => {
    const child = spawn(process.execPath, [program, ...args], { stdio: "ignore" });
    await until(question);
    child.kill("SIGKILL");
    await once(child, "exit");
  };
  await killedWhen("SELECT submitted > 0 FROM stillroom.jobs");
  const { job, state } = await newest();
  expect(state).toBe("submitting");
  await killedWhen("SELECT complete FROM stillroom.jobs");
  expect(existsSync(out)).toBe(false);
  const [ended, worker] = await Promise.all([
    stillroom(args),
    work({ queue: postgres.url, model, threads: 1, store: store(), drain: true }),
  ]);
  expect(ended.code, ended.stderr).toBe(2);
  expect(readFileSync(out).equals(whole)).toBe(true);
  // It is the same job, and its rows were computed once.
  expect(await newest()).toMatchObject({ job, rows: 6000, computed: worker.computed });
}, 90_000);

it("a worker whose lease ends amid a chunk brings back what is done, and hands the rest on", async () => {
  const how = { queue: postgres.url, model, threads: 1 };
  // One chunk of as much work as this machine cannot do within the lease.
  for (let tokens = 30; ; tokens *= 2) {
    const [input, out] = [longRows(1500, tokens), path.join(freshFolder(), "out.jsonl")];
    const handed = queueBatch(input, { ...how, out, chunk: 1500, lease: 1 });
    await until("SELECT bool_and(complete) AND sum(total) >= 1500 FROM stillroom.jobs WHERE finished IS NULL");
    const parts: number[] = [];
    const onProgress = ({ computed }: { computed: number }) => parts.push(computed);
    const worker = await work({ ...how, store: store(), drain: true, onProgress });
    await handed;
    // In pieces that add up to it: nothing is done twice, and nobody takes the first piece's rows for what the store knew before.
    expect(worker).toMatchObject({ rows: 1500, computed: 1500, from_store: 0, errors: 0 });
    expect(await newest()).toMatchObject({ done: 1500, computed: 1500, errors: 0 });
    if (worker.chunks === 1) continue;
    expect(parts).toHaveLength(worker.chunks);
    expect(readFileSync(out).equals(await local(input))).toBe(true);
    return;
  }
}, 90_000);

it("a worker that stands still over its lease comes back to a chunk that is done, and adds nothing", async () => {
  const input = longRows(60, 200);
  const whole = await local(input);
  const out = path.join(freshFolder(), "out.jsonl");
  const how = { queue: postgres.url, model, threads: 1 };
  const args = ["worker", "--queue", postgres.url, "--model", model, "--threads", "1", "--store", store(), "--json"];
  const still = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "ignore"] });
  let said = "";
  still.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  // One chunk: whoever has it has all.
  const handed = queueBatch(input, { ...how, out, chunk: 60, lease: 2 });
  await until("EXISTS (SELECT FROM stillroom_boss.job WHERE state = 'active' AND data ? 'chunk')");
  still.kill("SIGSTOP");
  await Promise.all([handed, work({ ...how, store: store(), drain: true })]);
  const before = await newest();
  expect(before).toMatchObject({ done: 60, computed: 60 });
  still.kill("SIGCONT");
  await setTimeout(500);
  still.kill("SIGTERM");
  const [code] = await once(still, "exit");
  expect(code).toBe(0);
  expect(JSON.parse(said)).toMatchObject({ rows: 0, errors: 0 });
  const { rows_per_second: _, ...same } = before;
  expect(await newest()).toMatchObject(same);
  expect(readFileSync(out).equals(whole)).toBe(true);
}, 90_000);

it("a server that goes while one process alone is at work does not end it", async () => {
  const database = await Database.open(postgres.url, { patience: 10 });
  const done = await database.alone(5, async () => {
    await postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stillroom'");
    // Its own connection has heard of it by now, and there is nobody else to listen.
    await setTimeout(100);
    return (await database.executeSql("SELECT 1 AS one")).rows;
  });
  expect(done).toEqual([{ one: 1 }]);
  await database.close();
});
