// Heads of a task's own on a toy: trained alone and over an adapter, resumed, and read by eval, prompt and batch alike.
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { batch } from "../../src/batch/index.js";
import { readRows } from "../../src/dataset/index.js";
import { evaluate, readPredictions } from "../../src/evaluate/index.js";
import { exportModel } from "../../src/export/index.js";
import { prompt, tune } from "../../src/jobs/index.js";
import { type Model, openModel } from "../../src/model/index.js";
import { openStore } from "../../src/store/index.js";
import { readTask, type Task } from "../../src/task/index.js";
import type { TuneOptions } from "../../src/train/index.js";
import { jsonLines } from "../support/json-lines.js";
import { writeTextToy } from "../support/text_toy.js";
import { cutAfter } from "./runs.js";
import { writeToyTask } from "./toy-task.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-heads-"));
process.env.XDG_CACHE_HOME = path.join(folder, "cache");
const gguf = writeTextToy();
let model: Model;
let classes: Task;
let numbers: Task;

/** The toy task with numbers for its labels: 10 for early, 50 for late. */
async function numberTask(): Promise<Task> {
  const { folder: data, file } = writeToyTask({ rows: 120 });
  for (const name of ["train.jsonl", "test.jsonl"]) {
    const lines = readFileSync(path.join(data, name), "utf8");
    writeFileSync(path.join(data, name), lines.replaceAll('"early"', "10").replaceAll('"late"', "50"));
  }
  const text = readFileSync(file, "utf8").replace("classify", "regress").replace("accuracy", "rmse");
  writeFileSync(
    file,
    text.replace("{ early: early, late: late }", '{ 0: "0", 60: "60" }').replace(", stratify: half", ""),
  );
  return readTask(file);
}

beforeAll(async () => {
  model = await openModel(gguf, { threads: 1 });
  classes = await readTask(writeToyTask({ rows: 120 }).file);
  numbers = await numberTask();
});
afterAll(() => model.close());

const named = (name: string) => path.join(folder, name);

async function tuned(task: Task, name: string, options: Partial<TuneOptions>): Promise<string> {
  await tune(task, { model: gguf, out: named(name), threads: 1, epochs: 20, learningRate: 1e-2, ...options }).result;
  return named(name);
}

describe("a head", () => {
  it.each<[string, Partial<TuneOptions>]>([
    ["alone", { method: "head", head: "softmax" }],
    ["over an adapter", { head: "softmax", rank: 2, epochs: 4, classWeights: "balanced" }],
  ])("%s learns labels", async (name, options) => {
    const adapter = await tuned(classes, name, options);
    expect(existsSync(path.join(adapter, "adapter.gguf"))).toBe(options.method !== "head");
    const before = await evaluate(classes, { model });
    const after = await evaluate(classes, { model, adapter });
    expect(after.metrics.accuracy!.value).toBeGreaterThanOrEqual(0.9);
    expect(after.metrics.log_loss!.value).toBeLessThan(before.metrics.log_loss!.value);
  });

  it("learns numbers, and reports them in the task's units", async () => {
    const run = tune(numbers, {
      model: gguf,
      out: named("numbers"),
      threads: 1,
      method: "head",
      epochs: 20,
      learningRate: 1e-2,
    });
    const { validation, adapter, head } = await run.result;
    expect([adapter, head]).toEqual([null, named("numbers/head.safetensors")]);
    expect(Object.keys(validation!)).toEqual(
      expect.arrayContaining(["loss", "mae", "rmse", "pearson", "spearman", "r2"]),
    );
    const { metrics } = await evaluate(numbers, { model, adapter: named("numbers") });
    // Answers are 10 or 50: their mean is off by 20.
    expect(metrics.rmse!.value).toBeLessThan(15);
    expect(metrics.pearson!.value).toBeGreaterThan(0.8);
  });

  it("of quantiles gives an interval, with its coverage", async () => {
    const adapter = await tuned(numbers, "quantiles", { method: "head", head: "pinball", quantiles: [0.1, 0.5, 0.9] });
    const predictions = named("quantiles.jsonl");
    const { metrics } = await evaluate(numbers, { model, adapter, predictions });
    const rows = await readPredictions(predictions);
    const within = rows.filter(
      ({ answer, interval }) => interval![0] <= Number(answer) && Number(answer) <= interval![1],
    );
    expect(metrics.coverage!.value).toBe(within.length / rows.length);
    expect(metrics.interval_width!.value).toBeGreaterThan(0);
  });

  it("resumed ends with the bytes of a run that was never cut off", async () => {
    const options = { method: "head", head: "huber", huberDelta: 0.5 } as const;
    await tuned(numbers, "whole", options);
    const how = { model: gguf, out: named("cut"), threads: 1, epochs: 20, learningRate: 1e-2, ...options };
    await cutAfter(30, (signal) => tune(numbers, { ...how, signal }));
    await tune(numbers, { model: gguf, out: named("cut"), threads: 1, resume: true }).result;
    const bytes = (name: string) => readFileSync(path.join(named(name), "head.safetensors"));
    expect(bytes("cut").equals(bytes("whole"))).toBe(true);
  }, 30_000);

  it.each<["classes" | "numbers", string]>([
    ["classes", "alone"],
    ["numbers", "quantiles"],
  ])("answers batch as it answers eval: %s", async (kind, name) => {
    const task = kind === "classes" ? classes : numbers;
    const [adapter, predictions, out] = [named(name), named(`${kind}.jsonl`), named(`${kind}-batch.jsonl`)];
    await evaluate(task, { model, adapter, predictions });
    const { errors, from_store } = await batch(task, { model, adapter, store: named(`${kind}-store`), out });
    expect(errors).toBe(0);
    const told = jsonLines(out);
    for (const [index, row] of (await readPredictions(predictions)).entries()) {
      expect(told[index]).toMatchObject({ index: row.index, prediction: row.prediction });
      expect(told[index].interval === undefined).toBe(kind === "classes");
      for (const end of [0, 1])
        expect(told[index].interval?.[end]).toEqual(row.interval && expect.closeTo(row.interval[end]!, 6));
    }
    const again = await batch(task, { model, adapter, store: named(`${kind}-store`), out });
    expect(again.from_store).toBe(told.length);
    expect(jsonLines(out)).toEqual(told);
    const store = await openStore(named(`${kind}-store`), { readOnly: true });
    const { rows } = await readRows(task, "test");
    expect(store.lookup(String(rows[0]!.fields.text)).interval).toEqual(told[0].interval);
    await store.close();
    // Another adapter's answers are others.
    const other = await batch(task, { model, store: named(`${kind}-store`), out });
    expect(other.from_store).toBe(from_store);
    const { tried } = await prompt(task, { model, adapter, shots: [0], try: "abcde" });
    expect(tried!.probabilities === null).toBe(kind === "numbers");
  });

  it.each<[string, () => Promise<unknown>, string, RegExp]>([
    [
      "a loss of another kind",
      () => tuned(classes, "x1", { head: "squared" }),
      "usage",
      /expected "softmax" of kind classify for head/,
    ],
    [
      "another task's labels",
      () => evaluate(numbers, { model, adapter: named("alone") }),
      "input",
      /gives the labels early, late; halves asks for numbers/,
    ],
    [
      "an option of another loss",
      () => tuned(numbers, "x2", { head: "squared", quantiles: [0.5] }),
      "usage",
      /expected head "pinball" for quantiles/,
    ],
    [
      "full weights under it",
      () => tuned(numbers, "x3", { method: "full" }),
      "usage",
      /expected "lora" or "head", with which a head of the task's own \(\w+\) goes, for method, received "full"/,
    ],
    [
      "a precision for numbers",
      () => tuned(numbers, "x4", { targetPrecision: 0.9 }),
      "usage",
      /^targetPrecision is of labels, and \w+ is of kind regress$/,
    ],
    [
      "a calibrated prompt, whose texts a head is not asked for,",
      () => prompt(classes, { model, adapter: named("alone"), shots: [0], calibrate: true, compare: true }),
      "usage",
      /^calibrate is for labels that are asked for by their texts, and .*alone has a head of its own$/,
    ],
    [
      "an export",
      () => exportModel({ model: gguf, adapter: named("alone"), quantize: "Q8_0", out: named("x.gguf") }),
      "usage",
      /has a head of the task's own, which a GGUF cannot hold: give its run for under/,
    ],
  ])("refuses %s", async (_name, work, code, message) => {
    await expect(work()).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});

it("without a head, a number is what is expected of the labels that stand for numbers", async () => {
  const predictions = named("ordinal.jsonl");
  await evaluate(numbers, { model, predictions });
  for (const { prediction, probabilities } of await readPredictions(predictions)) {
    expect(Number(prediction)).toBeCloseTo(60 * probabilities!["60"]!, 3);
  }
  const bare: Task = { ...numbers, answer: { field: "half" } };
  await expect(evaluate(bare, { model })).rejects.toThrow(
    /is of kind regress: a number needs a head \(tune\), or answer\.labels/,
  );
  await expect(evaluate(numbers, { model, against: gguf })).rejects.toThrow(/numbers are neither: compare tests/);
});

it("an answer that is no number is a bad row", async () => {
  const { folder: data, file } = writeToyTask();
  writeFileSync(
    file,
    readFileSync(file, "utf8")
      .replace("classify", "regress")
      .replace("accuracy", "mae")
      .replace("{ early: early, late: late }", '{ 0: "0", 60: "60" }'),
  );
  const task = await readTask(file);
  await expect(evaluate(task, { model, limit: 3 })).rejects.toThrow(/half "(early|late)" is no number/);
  expect(existsSync(data)).toBe(true);
});
