// compare() on a toy, a run of it and predictions: the same numbers as eval's, the tests, and what it refuses.
import { cpSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { evaluate, mcnemar, type RowScore, readPredictions, rightRows, tango } from "../../src/evaluate/index.js";
import { audit, compare, tune } from "../../src/jobs/index.js";
import { readTask, type Task } from "../../src/task/index.js";
import { writeTextToy } from "../support/text_toy.js";
import { writeSetTask } from "./toy-sets.js";
import { writeToyTask } from "./toy-task.js";

const folder = mkdtempSync(path.join(tmpdir(), "stillroom-compare-"));
const run = path.join(folder, "run");
const whole = path.join(folder, "whole");
const headed = path.join(folder, "headed");
const before = path.join(folder, "before.jsonl");
let model: string;
let task: Task;
let scores: RowScore[];

beforeAll(async () => {
  model = writeTextToy();
  task = await readTask(writeToyTask().file);
  const small = { model, batchSize: 8, learningRate: 5e-3, threads: 1 };
  await tune(task, { ...small, out: run, steps: 40, rank: 4, limit: 30 }).result;
  await tune(task, { ...small, out: whole, steps: 2, method: "full" }).result;
  await tune(await readTask(writeSetTask(folder)), { ...small, out: headed, steps: 1, rank: 2 }).result;
  await evaluate(task, { model, predictions: before });
  scores = await readPredictions(before);
});

/** A predictions file with some of the rows changed. */
function predictions(name: string, change: (row: RowScore, place: number) => RowScore | null): string {
  const file = path.join(folder, `${name}.jsonl`);
  writeFileSync(
    file,
    scores
      .flatMap((row, place) => change(row, place) ?? [])
      .map((row) => `${JSON.stringify(row)}\n`)
      .join(""),
  );
  return file;
}

/** A file without its last bytes, under a name in the folder. */
function cut(file: string, name: string): string {
  const whole = readFileSync(file);
  writeFileSync(path.join(folder, name), whole.subarray(0, whole.length - 999));
  return path.join(folder, name);
}

describe("compare", () => {
  it("gives each one's metrics as eval does, and McNemar's test of every two", async () => {
    const adapter = path.join(run, "adapter");
    const names = [model, run, `${model}+${adapter}`, whole, before];
    const seen = new Set<string>();
    const found = await compare(task, names, { seed: 3, onProgress: ({ name }) => seen.add(name) });
    expect(found).toMatchObject({ task: "halves", split: "test", metric: "accuracy", rows: 20, errors: 0, seed: 3 });
    expect(found.compared.map(({ name }) => name)).toEqual(names);
    expect([...seen]).toEqual(names.slice(0, 4));
    const after = path.join(folder, "after.jsonl");
    const tuned = await evaluate(task, { model, adapter: run, seed: 3, predictions: after });
    expect(found.compared[1]).toMatchObject({ model, adapter: run, trained_rows: 30, metrics: tuned.metrics });
    expect(found.compared[2]).toMatchObject({ model, adapter, trained_rows: null, metrics: tuned.metrics });
    expect(found.compared[3]).toMatchObject({ model: path.join(whole, "model.gguf"), adapter: null, trained_rows: 48 });
    expect(found.compared[4]).toMatchObject({ model: null, bytes: null, metrics: found.compared[0]!.metrics });
    expect(found.pairs).toHaveLength(10);
    const [first, second] = [scores, await readPredictions(after)];
    const { exact } = mcnemar(rightRows(task, first), rightRows(task, second));
    const pair = found.pairs[0]!;
    expect(pair).toMatchObject({ first: model, second: run, test: "mcnemar", p_value: exact });
    expect(exact).toBeLessThan(0.05);
    expect(pair.p_holm).toBeGreaterThan(exact);
    expect(pair.difference.high).toBeLessThan(0);
    expect(found.pairs.find(({ first: one, second: other }) => one === model && other === before)).toMatchObject({
      difference: tango(0, 20),
      p_value: 1,
      p_holm: 1,
    });
  });

  it.each<[string, () => string, object]>([
    ["a model that is not there", () => path.join(folder, "no.gguf"), { code: "missing" }],
    ["a model whose end is missing", () => cut(model, "cut.gguf"), { code: "input" }],
    [
      "a run whose adapter is damaged",
      () => {
        cpSync(run, path.join(folder, "damaged"), { recursive: true });
        cut(path.join(run, "adapter/adapter_model.safetensors"), "damaged/adapter/adapter_model.safetensors");
        return path.join(folder, "damaged");
      },
      { code: "input", message: expect.stringContaining("damaged") },
    ],
    [
      "a run whose head answers something else",
      () => headed,
      { code: "input", message: expect.stringMatching(/head of this adapter.* gives sets of .*asks for the labels/) },
    ],
  ])("tells %s before another is asked", async (_, second, told) => {
    const onProgress = vi.fn();
    await expect(compare(task, [model, second()], { onProgress })).rejects.toMatchObject(told);
    await expect(audit(task, { model, against: second(), onProgress, threads: 1 })).rejects.toMatchObject(told);
    expect(onProgress).not.toHaveBeenCalled();
  });

  it("tests other metrics by permutation, and says where lower is better", async () => {
    const found = await compare(task, [model, run], { metric: "log_loss" });
    expect(found.lower_is_better).toBe(true);
    expect(found.pairs[0]).toMatchObject({ test: "permutation" });
    expect(found.pairs[0]!.difference.low).toBeGreaterThan(0);
    expect(found.pairs[0]!.p_value).toBeLessThan(0.01);
  });

  it("counts what not all answered, and takes none of it", async () => {
    const fewer = predictions("fewer", (row, place) => (place < 15 ? row : null));
    const found = await compare(task, [before, fewer]);
    expect(found).toMatchObject({ rows: 15, errors: 5, pairs: [{ p_value: 1 }] });
    expect(found.compared[0]!.metrics).toEqual(found.compared[1]!.metrics);
  });

  it.each<[string, () => string[], object, string, RegExp]>([
    ["a single one", () => [model], {}, "usage", /two names or more/],
    ["one twice", () => [model, model], {}, "usage", /different ones/],
    [
      "an unknown metric",
      () => [before, predictions("a", (row) => row)],
      { metric: "f1" },
      "usage",
      /one of accuracy, .* for metric/,
    ],
    [
      "an unknown metric, before a model is scored",
      () => [model, run],
      {
        metric: "nope",
        onProgress: () => {
          throw new Error("scored");
        },
      },
      "usage",
      /one of accuracy, .*answered_accuracy.* for metric, received "nope"/,
    ],
    ["an unknown option", () => [model, run], { metrics: "f1" }, "usage", /no option metrics; did you mean metric\?/],
    ["a folder that is no run", () => [model, folder], {}, "input", /run\.json.*MODEL\+/],
    ["a model that is not there", () => [path.join(folder, "no.gguf"), before], {}, "missing", /no model/],
    ["predictions that are not there", () => [model, path.join(folder, "no.jsonl")], {}, "missing", /no\.jsonl/],
    [
      "predictions of other answers",
      () => [before, predictions("b", (row) => ({ ...row, answer: "other" }))],
      {},
      "input",
      /b\.jsonl is of other rows: expected the answer .* received "other"/,
    ],
    [
      "predictions of no common row",
      () => [before, predictions("c", (row) => ({ ...row, index: row.index + 99 }))],
      {},
      "input",
      /rows that all of .* received none/,
    ],
    [
      "predictions of other labels",
      () => [before, predictions("d", (row) => ({ ...row, probabilities: { x: 1 } }))],
      {},
      "input",
      /d\.jsonl, row 0: expected probabilities of early, late, received x/,
    ],
  ])("refuses %s", async (_name, names, options, code, message) => {
    await expect(compare(task, names(), options)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it("tells the bad rows once", async () => {
    const bad = await readTask(writeToyTask().file);
    const file = (bad.data.test as { path: string }).path;
    writeFileSync(file, `${readFileSync(file, "utf8")}{"text": "abc"}\n`);
    const told: number[] = [];
    const found = await compare(bad, [model, run], { onBad: ({ line }) => told.push(line) });
    expect(found).toMatchObject({ rows: 20, errors: 1 });
    expect(told).toEqual([21]);
  });
});
