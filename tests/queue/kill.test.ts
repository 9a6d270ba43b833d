// Four workers that are stopped, killed and started anew, and a PostgreSQL that goes at once and comes back: exactly one result a row, and the file of a local batch.
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { afterEach, expect } from "vitest";
import { batch } from "../../src/batch/index.js";
import { queueBatch } from "../../src/queue/index.js";
import { Random } from "../../src/support/random.js";
import { freshFolder, manyRequests, writeLines } from "../batch/requests.js";
import { stillroom } from "../command/program.js";
import { needs } from "../support/needs.js";
import { writeTextToy } from "../support/text_toy.js";
import { postgresOfFile } from "./postgres.js";

process.env.XDG_CACHE_HOME = path.join(freshFolder(), "cache");
const it = needs("postgres");
const postgres = await postgresOfFile();
const workers: ChildProcess[] = [];
afterEach(() => {
  // Also where a test failed: no worker outlives it, and none takes the chunks of the next, whose own worker would wait for ever.
  for (const worker of workers.splice(0)) worker.kill("SIGKILL");
});

/** Compiled by npm test (or npm run build:typescript) before vitest runs. */
const program = path.resolve("dist/bin/stillroom.js");

it("four workers under SIGSTOP, SIGKILL and an immediate restart of PostgreSQL", async () => {
  const [folder, model] = [freshFolder(), writeTextToy()];
  const input = writeLines(manyRequests(4000, 5));
  const whole = path.join(folder, "whole.jsonl");
  await batch(input, { model, threads: 1, store: path.join(folder, "whole"), out: whole });
  const left: number[] = [];
  const begin = (place: number) => {
    const store = path.join(folder, `store-${place}`);
    const args = ["worker", "--queue", postgres.url, "--model", model, "--threads", "1", "--store", store];
    workers[place] = spawn(process.execPath, [program, ...args], { stdio: "ignore" });
    // With a code: by itself, and by no signal of ours.
    workers[place].once("exit", (code) => code !== null && left.push(code));
  };
  for (let place = 0; place < 4; place++) begin(place);
  const random = new Random(7);
  let [stops, kills, restarts, ended] = [0, 0, 0, false];
  const out = path.join(folder, "out.jsonl");
  const done = queueBatch(input, { queue: postgres.url, model, threads: 1, out, chunk: 8, lease: 2 }).finally(() => {
    ended = true;
  });
  const pause = (most: number) => new Promise((resolve) => setTimeout(resolve, 50 + random.below(most)));
  const begun = () => postgres.sql("SELECT 1 FROM stillroom.work LIMIT 1").catch(() => []);
  while (!ended && (await begun()).length === 0) {
    expect(left).toEqual([]);
    await pause(1);
  }
  // One of each at once, while most is still to be done, and then what befalls workers.
  for (let turn = 0; !ended && turn < 20; turn++) {
    const place = random.below(4);
    const worker = workers[place]!;
    if (turn === 2) {
      postgres.down();
      await pause(500);
      postgres.up();
      restarts++;
    } else if (turn % 2 === 0) {
      worker.kill("SIGSTOP");
      stops++;
      // Longer than its lease for some, so that another takes its chunk and it comes back late.
      setTimeout(() => worker.kill("SIGCONT"), turn % 4 === 0 ? 4000 : 300);
    } else {
      worker.kill("SIGKILL");
      kills++;
      begin(place);
    }
    await pause(turn < 2 ? 1 : 400);
  }
  const result = await done;
  // A PostgreSQL that goes and comes back ends none of them.
  expect(left).toEqual([]);
  expect(readFileSync(out).equals(readFileSync(whole))).toBe(true);
  expect(result).toMatchObject({ rows: 3960, errors: 40 });
  expect(Math.min(stops, kills, restarts)).toBeGreaterThan(0);
  const count = async (text: string) => Number((await postgres.sql(text))[0]!.count);
  const lines = new Set(
    readFileSync(input, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.stringify(JSON.parse(line).body)),
  );
  expect(await count("SELECT count(*) FROM stillroom.chunks")).toBe(0);
  // The wrong ones are all the same line.
  expect(await count("SELECT count(*) FROM stillroom.answers")).toBe(lines.size - 1);
}, 180_000);

it("SIGTERM brings back what is done within ten seconds, and the rest is another's", async () => {
  const [folder, model] = [freshFolder(), writeTextToy()];
  const input = writeLines(manyRequests(600, 6));
  const args = ["worker", "--queue", postgres.url, "--model", model, "--threads", "1", "--json"];
  const joined = queueBatch(input, {
    queue: postgres.url,
    model,
    threads: 1,
    out: path.join(folder, "out"),
    chunk: 20,
  });
  const first = await stillroom([...args, "--store", path.join(folder, "a"), "--patience", "30s"], {
    signal: { name: "SIGTERM", when: /rows? ·/ },
  });
  expect(first.code, first.stderr).toBe(0);
  expect(first.endedAfter).toBeLessThan(10_000);
  const second = await stillroom([...args, "--store", path.join(folder, "b"), "--drain"]);
  expect(second.code, second.stderr).toBe(0);
  const result = await joined;
  expect(result).toMatchObject({ rows: 594, errors: 6 });
  const status = await stillroom(["batch", "--status", "--queue", postgres.url]);
  expect(status.stdout).toMatch(/requests\.jsonl +done +600 +600 /);
  // Nobody else was there, and what the first had done was not done again.
  expect(JSON.parse(first.stdout).computed + JSON.parse(second.stdout).computed).toBe(result.computed);
}, 60_000);

it("a queue that nobody answers at is exit code 69, with a remedy and without the password", async () => {
  const url = "postgres://me:geheim@127.0.0.1:9/answers";
  for (const args of [
    ["worker", "--store", path.join(freshFolder(), "store")],
    ["batch", "--status"],
  ]) {
    const { code, stderr, stdout } = await stillroom([...args, "--queue", url, "--json"]);
    expect(code).toBe(69);
    expect(stderr).toMatch(
      /the queue at postgres:\/\/me@127\.0\.0\.1:9\/answers does not answer: .*is PostgreSQL running/,
    );
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "missing" } });
    expect(stderr + stdout).not.toContain("geheim");
  }
  const wrong = await stillroom(["batch", "--status", "--queue", "mysql://me:geheim@host"]);
  expect(wrong).toMatchObject({ code: 64, stderr: expect.not.stringContaining("geheim") });
});
