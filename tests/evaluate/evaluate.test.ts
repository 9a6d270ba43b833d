// evaluate() on a toy that is made on the spot: both kinds, both engines, bad rows, few-shot, comparison.
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readRows } from "../../src/dataset/index.js";
import { evaluate, evaluateRows, readJobRows, readPredictions, type SliceTable } from "../../src/evaluate/index.js";
import { Model, openModel } from "../../src/model/index.js";
import { compilePrompt } from "../../src/prompt/index.js";
import { readTask, type Task } from "../../src/task/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { writeTextToy } from "../support/text_toy.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-evaluate-"));
process.env.XDG_CACHE_HOME = path.join(folder, "cache");
let model: Model;
let task: Task;

beforeAll(async () => {
  model = await openModel(writeTextToy(), { threads: 1 });
  task = await readTask(writeToyTask().file);
});
afterAll(() => model.close());

/** A predictions file of the first test rows. */
function predicted(rows: number, answer?: string): string {
  const file = path.join(folder, `predicted-${rows}-${answer}.jsonl`);
  const lines = readFileSync(path.join(path.dirname(task.file), "test.jsonl"), "utf8")
    .trim()
    .split("\n");
  const made = lines.slice(0, rows).map((line, index) => {
    const { half } = JSON.parse(line) as { half: string };
    return JSON.stringify({ index, answer: answer ?? half, prediction: half, probabilities: null });
  });
  writeFileSync(file, `${made.join("\n")}\n`);
  return file;
}

function pipe(): string {
  const file = path.join(folder, "pipe");
  if (!existsSync(file)) execFileSync("mkfifo", [file]);
  return file;
}

function linkTo(target: string): string {
  const file = path.join(folder, "link");
  rmSync(file, { force: true });
  symlinkSync(target, file);
  return file;
}

const both = (file: string) => ({ against: file, predictions: file });

async function generateTask(): Promise<Task> {
  const { folder: data, file } = writeToyTask();
  const text = readFileSync(file, "utf8").replace("classify", "generate").replace("accuracy", "exact_match");
  writeFileSync(file, `${text.replace(/ {2}labels:.*\n/, "")}maxTokens: 4\n`);
  return readTask(path.join(data, "task.yaml"));
}

describe("evaluate", () => {
  it("gives every field of the contract, and the same numbers every time", async () => {
    const predictions = path.join(folder, "predictions.jsonl");
    const found = await evaluate(task, { model, predictions, seed: 3 });
    expect(found).toMatchObject({ task: "halves", model: model.info.path, adapter: null, split: "test", shots: 0 });
    expect(found).toMatchObject({ rows: 20, errors: 0, bad_rows: [], against: null });
    const names = ["accuracy", "macro_f1", "weighted_f1", "log_loss", "brier", "ece"];
    expect(Object.keys(found.metrics)).toEqual(names);
    expect(found.reliability?.reduce((sum, bin) => sum + bin.rows, 0)).toBe(20);
    expect(found.slices).toBeNull();
    const { value, low, high } = found.metrics.accuracy!;
    expect(low! <= value && value <= high!).toBe(true);
    expect(found.confusion?.counts.flat().reduce((sum, count) => sum + count)).toBe(20);
    for (const name of ["rows_per_second", "tokens_per_second", "peak_memory_bytes", "seconds"] as const) {
      expect(found[name]).toBeGreaterThan(0);
    }
    const rows = await readPredictions(predictions);
    expect(rows.map(({ index }) => index)).toEqual([...Array(20).keys()]);
    expect(rows.filter((row) => row.answer === row.prediction).length / 20).toBe(value);
    for (const { probabilities } of rows) expect(probabilities!.early! + probabilities!.late!).toBeCloseTo(1, 9);
    expect((await evaluate(task, { model, seed: 3, tokenBudget: 1 })).metrics.accuracy).toEqual(found.metrics.accuracy);
  });

  it("parts the rows by columns", async () => {
    const { slices: tables, confusion, metrics } = await evaluate(task, { model, slice: ["half", "text", "half"] });
    expect(tables!.map(({ column, slices }) => [column, slices.length])).toEqual([
      ["half", 2],
      ["text", 20],
    ]);
    const [{ slices }] = tables as [SliceTable];
    const counts = confusion!.counts.map((row) => row.reduce((sum, count) => sum + count));
    const late = confusion!.labels.indexOf("late");
    const found = slices.find(({ value }) => value === "late")!;
    expect(slices.map(({ rows }) => rows)).toEqual(counts.sort((a, b) => b - a));
    expect(found.metrics.accuracy!.value).toBe(confusion!.counts[late]![late]! / found.rows);
    expect(Object.keys(found.metrics)).toEqual(Object.keys(metrics));
  });

  it("compares with itself without a difference", async () => {
    const { against } = await evaluate(task, { model, limit: 10, against: model.info.path });
    expect(against).toMatchObject({ against: model.info.path, rows: 10, only_first: 0, only_second: 0, p_value: 1 });
  });

  it.each<[string, () => object, string, RegExp]>([
    ["an --against that is not there", () => ({ against: path.join(folder, "no.gguf") }), "missing", /no model/],
    ["an --against that is a run", () => ({ against: folder }), "usage", /^against takes .* compare takes runs$/],
    ["predictions that are not there", () => ({ against: path.join(folder, "no.jsonl") }), "missing", /no\.jsonl/],
    ["an --against that is no model", () => ({ against: task.file }), "input", /task\.yaml/],
    ["predictions of fewer rows", () => ({ against: predicted(5) }), "input", /is of other rows: .* received nothing/],
    ["predictions of other rows", () => ({ against: predicted(20, "x") }), "input", /is of other rows: .* answer "x"/],
    ["predictions without probabilities", () => ({ against: predicted(20) }), "input", /row 0: .* early, late/],
    [
      "a slice by what is no column",
      () => ({ slice: ["half", "halve"] }),
      "input",
      /in the column halve .* the row has text, half/,
    ],
    ["a slice without a name", () => ({ slice: ["half", " "] }), "usage", /names of columns for slice/],
    ["a folder that is not there", () => ({ predictions: path.join(folder, "no/out.jsonl") }), "io", /cannot write/],
    ["a folder as predictions file", () => ({ predictions: folder }), "io", /cannot write .*: it is a folder/],
    ["a pipe as predictions file", () => ({ predictions: pipe() }), "io", /cannot write .*: it is no plain file/],
    ["the task file as predictions file", () => ({ predictions: task.file }), "usage", /is the task file of halves;/],
    [
      "test data, another way round, as predictions file",
      () => ({ predictions: `${path.dirname(task.file)}/no/../test.jsonl` }),
      "usage",
      /is the test data of halves; choose another file/,
    ],
    ["the model as predictions file", () => ({ predictions: linkTo(model.info.path) }), "usage", /is the model/],
    ["one file to compare with and to write", () => both(predicted(20)), "usage", /is what is compared with/],
    ["a place that takes no files", () => ({ predictions: "/proc/out.jsonl" }), "io", /cannot write/],
  ])("refuses %s before it scores a row", async (_name, options, code, message) => {
    const seen: unknown[] = [];
    const work = evaluate(task, { model, ...options(), onProgress: (progress) => seen.push(progress) });
    await expect(work).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(seen).toEqual([]);
    expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  it("scores through llama.cpp what our engine refuses, with the same probabilities", async () => {
    const { rows } = await readRows(task, "test");
    const { labels } = await readJobRows(task, { split: "test", shots: 0, seed: 0 });
    const job = { lora: null, task, rows, labels, examples: [], prompt: compilePrompt(task, model.template) };
    const ours = await evaluateRows({ ...job, model });
    const refused = new Model({ ...model.info, tunable: false }, null, model.tokenizer, 1);
    const theirs = await evaluateRows({ ...job, model: refused });
    for (const [index, { probabilities }] of theirs.rows.entries()) {
      expect(probabilities!.early).toBeCloseTo(ours.rows[index]!.probabilities!.early!, 3);
    }
  });

  it("puts training rows before the prompt, and never scores them", async () => {
    const all = await evaluate(task, { model, split: "train" });
    const shown = await evaluate(task, { model, split: "train", shots: 4 });
    expect(shown.rows).toBe(all.rows - 4);
    expect(shown.shots).toBe(4);
    expect(shown.metrics.log_loss!.value).not.toBe(all.metrics.log_loss!.value);
    expect((await evaluate(task, { model, split: "train", shots: 4, limit: 7 })).rows).toBe(7);
  });

  it("counts a bad row, and with strict stops at it", async () => {
    const { folder: data, file } = writeToyTask();
    appendFileSync(path.join(data, "test.jsonl"), `{"text": "abc"}\n{"text": "${"a".repeat(300)}", "half": "late"}\n`);
    const bad: string[] = [];
    const broken = await readTask(file);
    const found = await evaluate(broken, { model, onBad: ({ line, reason }) => bad.push(`${line}: ${reason}`) });
    expect(found).toMatchObject({ rows: 20, errors: 2 });
    expect(found.bad_rows.map(({ line }) => line)).toEqual([21, 22]);
    expect(bad[1]).toMatch(/^22: the prompt has \d+ tokens and the answer up to \d+, the model's context 256$/);
    await expect(evaluate(broken, { model, strict: true })).rejects.toMatchObject({ code: "input" });
  });

  it("counts a row that does not suit the template, and says why where none does", async () => {
    const { folder: data, file } = writeToyTask();
    writeFileSync(file, readFileSync(file, "utf8").replace("{{ text }}", "{{ text | trim }}"));
    appendFileSync(path.join(data, "test.jsonl"), '{"text": 5, "half": "late"}\n');
    const trimmed = await readTask(file);
    const found = await evaluate(trimmed, { model });
    expect(found).toMatchObject({
      rows: 20,
      errors: 1,
      bad_rows: [{ line: 21, reason: expect.stringMatching(/trim$/) }],
    });
    await expect(evaluate(trimmed, { model, strict: true })).rejects.toThrow(/test\.jsonl:21: .*trim$/);
    writeFileSync(path.join(data, "test.jsonl"), '{"text": 5, "half": "late"}\n');
    await expect(evaluate(trimmed, { model })).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(
        /no good row in its test split: the first of 1 bad row is .*test\.jsonl:1: .*trim; mend/,
      ),
    });
  });

  it("has the same labels whatever the limit, also where they are the values of the test rows", async () => {
    const { folder: data, file } = writeToyTask({ validation: false });
    writeFileSync(file, readFileSync(file, "utf8").replace(/ {2}(labels|train):.*\n/g, ""));
    writeFileSync(
      path.join(data, "test.jsonl"),
      ["early", "early", "late"].map((half) => `{"text":"a","half":"${half}"}\n`).join(""),
    );
    const found = await evaluate(await readTask(file), { model, limit: 2 });
    expect(found.classes!.map(({ label, support }) => [label, support])).toEqual([
      ["early", 2],
      ["late", 0],
    ]);
  });

  it("stops with strict at a row that does not fit", async () => {
    const { folder: data, file } = writeToyTask();
    appendFileSync(path.join(data, "test.jsonl"), `{"text": "${"a".repeat(300)}", "half": "late"}\n`);
    await expect(evaluate(await readTask(file), { model, strict: true })).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(/test\.jsonl:21: the prompt has \d+ tokens/),
    });
  });

  it("answers a generate task greedily", async () => {
    const found = await evaluate(await generateTask(), { model, predictions: path.join(folder, "words.jsonl") });
    expect(Object.keys(found.metrics)).toEqual(["exact_match", "f1", "rouge_l"]);
    expect(found).toMatchObject({ rows: 20, confusion: null, classes: null });
    const rows = await readPredictions(path.join(folder, "words.jsonl"));
    expect(rows.every(({ probabilities }) => probabilities === null)).toBe(true);
    expect(Math.max(...rows.map(({ prediction }) => prediction.length))).toBeGreaterThan(0);
    expect(Math.max(...rows.map(({ prediction }) => prediction.length))).toBeLessThanOrEqual(4);
  });

  it.each([
    [{ shot: 1 }, "evaluate has no option shot; did you mean shots?"],
    [{ shots: -1 }, "expected a whole number of at least 0 for shots, received -1"],
    [{ limit: 0 }, "expected a whole number of at least 1 for limit, received 0"],
    [{ split: "dev" }, 'expected train, validation or test for split, received "dev"'],
  ])("refuses %j", async (options, message) => {
    await expect(evaluate(task, { model, ...(options as object) })).rejects.toMatchObject({ code: "usage", message });
  });

  it("asks for no more examples than there are", async () => {
    await expect(evaluate(task, { model, shots: 100 })).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(
        /^halves has \d+ training rows for examples, 100 were asked for: ask for no more with shots, or give more rows as data.train$/,
      ),
      options: ["shots"],
    });
  });
});
