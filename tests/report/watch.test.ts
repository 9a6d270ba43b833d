// The live page: it follows a run, begins anew with it, and speaks to this machine only.
import { appendFileSync, mkdtempSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { batch } from "../../src/batch/index.js";
import { type Watch, watch } from "../../src/report/index.js";
import { readTask } from "../../src/task/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { needs } from "../support/needs.js";
import { writeTextToy } from "../support/text_toy.js";
import { closeBrowser, hidden, openPage, violations } from "./browser.js";

const testChromium = needs("chromium");
const line = (step: number) =>
  JSON.stringify({ step, loss: 4 / step, learning_rate: 1e-4, tokens: 100, seconds: 0.5, memory_bytes: 2e8 });
const validation = JSON.stringify({ step: 2, loss: 1.5, metrics: { accuracy: { value: 0.75, low: 0.6, high: 0.9 } } });
const facts = {
  ...{ format: "stillroom-run", version: 1, options: { head: "sigmoid" }, plan: { steps: 9 } },
  ...{ started: "2026-11-01T00:00:00.000Z", data: null, fingerprint: null },
  task: { name: "fruit", metric: "accuracy", sha256: "" },
  model: { path: "model.gguf", sha256: "" },
  machine: { cpu: "", threads: 1, variant: "portable", stillroom: "0.1.0" },
};

/** A RUN folder with two steps and a validation. */
function makeRun(): string {
  const run = mkdtempSync(path.join(os.tmpdir(), "stillroom-watch-"));
  writeFileSync(path.join(run, "run.json"), JSON.stringify(facts));
  writeFileSync(path.join(run, "metrics.jsonl"), `${line(1)}\n${line(2)}\n{"step": 3, "lo`);
  writeFileSync(path.join(run, "validation.jsonl"), `${validation}\n`);
  return run;
}

let page: Watch | null = null;
afterEach(() => page?.close());
afterAll(closeBrowser);
interface Told {
  state: string;
  charts: { rows: unknown[][] }[];
}
const data = async (query: string): Promise<Told> => (await fetch(`${page!.url}data?${query}`)).json() as Promise<Told>;
const rows = (told: Told) => told.charts.map((chart) => chart.rows.length);

describe("a watched batch", () => {
  it("is that of its store, and is begun anew with the next one", async () => {
    const task = await readTask(writeToyTask().file);
    const store = mkdtempSync(path.join(os.tmpdir(), "stillroom-watch-batch-"));
    const asked = { model: writeTextToy(), store, out: path.join(store, "..", `${path.basename(store)}.jsonl`) };
    await batch(task, { ...asked, threads: 1, maxRows: 12 });
    page = await watch(store, { port: 0 });
    const first = await data("generation=-1");
    expect(first).toMatchObject({ x: "seconds", ended: true, state: "ended after 12 of 20 rows, 0 of them known" });
    const [done, speed] = first.charts;
    expect(done!.rows.at(-1)).toEqual([expect.any(Number), 12]);
    const [at, rate] = speed!.rows[0] as [number, number];
    expect(rate * at).toBeCloseTo(done!.rows[0]![1] as number, 6);
    await batch(task, { ...asked, threads: 1 });
    const next = await data("generation=0&steps=100");
    expect(next).toMatchObject({ generation: 1, state: "ended after 20 of 20 rows, 12 of them known" });
    expect(next.charts[0]!.rows.at(-1)![1]).toBe(20);
  });

  it("that was cut off says how far it came", async () => {
    const task = await readTask(writeToyTask({ rows: 3000 }).file);
    const store = mkdtempSync(path.join(os.tmpdir(), "stillroom-watch-batch-"));
    const controller = new AbortController();
    let [done, told] = [0, 0];
    const cut = batch(task, {
      ...{ model: writeTextToy(), store, out: `${store}.jsonl`, threads: 1, signal: controller.signal },
      ...{ split: "train", window: 4 },
      onProgress: ({ rows }) => {
        done = rows;
        // Behind the first of its lines, which is written at once.
        if (++told === 3) controller.abort();
      },
    });
    await expect(cut).rejects.toMatchObject({ code: "cancelled" });
    page = await watch(store, { port: 0 });
    const shown = await data("generation=-1");
    expect(shown.charts[0]!.rows.at(-1)![1]).toBe(done);
    expect(shown).toMatchObject({ ended: false });
  });

  it("has a speed over a second at least, however fast its last rows were told", async () => {
    const store = mkdtempSync(path.join(os.tmpdir(), "stillroom-watch-batch-"));
    const counted = { total_rows: 90, computed: 3, from_store: 1, errors: 0, tokens: 50 };
    const told = [
      [0.5, 1],
      [0.7, 40],
      [1.6, 60],
      [2.5, 70],
      [2.7, 90],
    ].map(([seconds, rows]) => JSON.stringify({ ...counted, rows, seconds }));
    writeFileSync(path.join(store, "progress.jsonl"), `${told.join("\n")}\n`);
    page = await watch(store, { port: 0 });
    const speeds = (await data("generation=-1")).charts[1]!.rows.map((row) => row[1] as number);
    const expected = [1 / 0.5, 40 / 0.7, (60 - 1) / 1.1, (70 - 40) / 1.8, (90 - 60) / 1.1];
    for (const [place, speed] of expected.entries()) expect(speeds[place]).toBeCloseTo(speed, 6);
    expect((await data("generation=0&steps=4")).charts[1]!.rows).toEqual([[2.7, speeds[4]]]);
  });

  testChromium("is drawn over seconds, without a complaint", async () => {
    const store = mkdtempSync(path.join(os.tmpdir(), "stillroom-watch-batch-"));
    const counted = { total_rows: 9, computed: 3, from_store: 1, errors: 1, tokens: 50 };
    const lines = [1, 2, 3].map((seconds) => JSON.stringify({ ...counted, rows: 2 * seconds, seconds }));
    writeFileSync(path.join(store, "progress.jsonl"), `${lines.join("\n")}\n`);
    page = await watch(store, { port: 0 });
    const opened = await openPage(page.url);
    await opened.page.locator("#state", { hasText: /^6 of 9/ }).waitFor();
    expect(await opened.page.textContent("#state")).toBe("6 of 9 rows, 1 of them known, 1 failed");
    expect(await opened.page.textContent("#charts .u-legend")).toContain("seconds");
    expect(opened.complaints).toEqual([]);
    expect(await violations(opened)).toEqual([]);
  });
});

describe("a watched run", () => {
  it("gives what there is, then only what came since", async () => {
    const run = makeRun();
    page = await watch(run, { port: 0 });
    const first = await data("generation=-1&steps=0&validations=0");
    expect(first.charts[0]).toMatchObject({ title: "Loss of a step (nats a label)" });
    expect(first).toMatchObject({
      generation: 0,
      steps: 2,
      validations: 1,
      ended: false,
      state: "step 2 of 9, loss 2.0000",
    });
    expect(first.charts[0]?.rows).toEqual([
      [1, 4],
      [2, 2],
    ]);
    expect(first.charts[2]?.rows).toEqual([[2, 0.75]]);
    appendFileSync(path.join(run, "metrics.jsonl"), `ss": 1}\n${line(4)}\n`);
    const next = await data("generation=0&steps=2&validations=1");
    expect(rows(next)).toEqual([2, 0, 0, 2, 2, 2]);
    expect(next.state).toBe("step 4 of 9, loss 1.0000");
  });

  it("begins anew where the run went back to a checkpoint", async () => {
    const run = makeRun();
    page = await watch(run, { port: 0 });
    await data("generation=-1");
    writeFileSync(path.join(run, "metrics.jsonl"), `${line(1)}\n`);
    expect(rows(await data("generation=0&steps=2&validations=1"))).toEqual([1, 1, 1, 1, 1, 1]);
  });

  it("says when it has ended", async () => {
    const run = makeRun();
    page = await watch(run, { port: 0 });
    writeFileSync(path.join(run, "run.json"), JSON.stringify({ ...facts, result: { steps: 2 } }));
    expect(await data("generation=-1")).toMatchObject({ ended: true, state: "ended after step 2 of 9" });
  });

  it("is no business of a page of another name", async () => {
    page = await watch(makeRun(), { port: 0 });
    const { port } = new URL(page.url);
    const status = await new Promise((resolve, reject) => {
      const options = { port, path: "/data", headers: { host: `evil.example:${port}` } };
      request(options, (answer) => resolve(answer.resume().statusCode))
        .on("error", reject)
        .end();
    });
    expect(status).toBe(403);
  });

  it("is refused where there is no run, or the port is taken", async () => {
    await expect(watch(os.tmpdir(), { port: 0 })).rejects.toThrow("holds no run");
    const file = writeToyTask().file;
    await expect(watch(file, { port: 0 })).rejects.toMatchObject({
      code: "input",
      message: expect.stringContaining(`${file} holds no run: expected the folder that tune or distill wrote`),
    });
    page = await watch(makeRun(), { port: 0 });
    const port = Number(new URL(page.url).port);
    await expect(watch(makeRun(), { port })).rejects.toThrow(`cannot listen on port ${port}`);
    await expect(watch(makeRun(), { port: 0.5 })).rejects.toThrow("expected a whole number from 0 to 65535 for port");
  });

  it("stops with its signal", async () => {
    const controller = new AbortController();
    page = await watch(makeRun(), { port: 0, signal: controller.signal });
    controller.abort();
    await page.closed;
    await expect(fetch(page.url)).rejects.toThrow();
  });

  testChromium("draws itself in a browser as wide as a phone, and again when a step is done", async () => {
    const run = makeRun();
    page = await watch(run, { port: 0 });
    const opened = await openPage(page.url, { width: 360 });
    await opened.page.getByText("step 2 of 9").waitFor();
    expect(await hidden(opened)).toEqual([]);
    expect(await opened.page.locator("canvas").count()).toBe(6);
    // The learning rate, which three decimals would call 0.
    const ticks = await opened.page.evaluate<string[]>("plots[4].axes[1]._values");
    expect(ticks).toContain("1e-4");
    expect(new Set(ticks).size).toBe(ticks.length);
    appendFileSync(path.join(run, "metrics.jsonl"), `ss": 1}\n${line(4)}\n`);
    await opened.page.getByText("step 4 of 9").waitFor();
    expect(opened.complaints).toEqual([]);
    expect(await violations(opened)).toEqual([]);
  });
});
