// Tasks whose answers are sets of labels, on a toy: learnt by a head, resumed, calibrated, answered alike by eval, batch and serve, and refused where no head can answer.
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { batch } from "../../src/batch/index.js";
import { evaluate, readPredictions } from "../../src/evaluate/index.js";
import { exportModel } from "../../src/export/index.js";
import { audit, compare, distill, prompt, teach, tune } from "../../src/jobs/index.js";
import { type Model, openModel } from "../../src/model/index.js";
import { reportEvaluation } from "../../src/report/index.js";
import { openStore } from "../../src/store/index.js";
import { readTask, type Task } from "../../src/task/index.js";
import type { TuneOptions } from "../../src/train/index.js";
import { post, started } from "../serve/server.js";
import { writeTextToy } from "../support/text_toy.js";
import { cutAfter } from "./runs.js";
import { setLines, setTask, writeSetTask } from "./toy-sets.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-multilabel-"));
process.env.XDG_CACHE_HOME = path.join(folder, "cache");
const gguf = writeTextToy();
const named = (name: string) => path.join(folder, name);
let model: Model;
let task: Task;

function taskFile(name: string, change: (text: string) => string): string {
  writeFileSync(named(name), change(setTask));
  return named(name);
}

beforeAll(async () => {
  model = await openModel(gguf, { threads: 1 });
  task = await readTask(writeSetTask(folder));
});
afterAll(() => model.close());

const usual = { threads: 1, method: "head", epochs: 12, learningRate: 3e-2 } as const;

async function tuned(name: string, options: Partial<TuneOptions> = {}): Promise<string> {
  await tune(task, { model: gguf, out: named(name), ...usual, ...options }).result;
  return named(name);
}

describe("a head that gives sets of labels", () => {
  it("is what tune trains of such a task, and is calibrated with a threshold of each label", async () => {
    const { head, adapter, calibration, validation } = await tune(task, { model: gguf, out: named("run"), ...usual })
      .result;
    expect([head, adapter]).toEqual([named("run/head.safetensors"), null]);
    expect(Object.keys(validation!)).toEqual(
      expect.arrayContaining(["micro_f1", "macro_f1", "subset_accuracy", "ece"]),
    );
    const { sets } = JSON.parse(readFileSync(calibration!, "utf8"));
    expect(Object.keys(sets.labels)).toEqual(["late", "odd"]);
    const { metrics, classes } = await evaluate(task, { model, adapter: named("run") });
    expect(metrics.micro_f1!.value).toBeGreaterThan(0.9);
    expect(metrics.subset_accuracy!.value).toBeGreaterThan(0.8);
    expect(classes!.map(({ label }) => label)).toEqual(["late", "odd"]);
    // The empty set is an answer: a quarter of the rows has it.
    const predictions = named("run.jsonl");
    await evaluate(task, { model, adapter: named("run"), predictions });
    expect((await readPredictions(predictions)).filter(({ prediction }) => prediction === "[]").length).toBeGreaterThan(
      4,
    );
    await expect(evaluate(task, { model, adapter: named("run"), calibration: false })).resolves.toMatchObject({
      rows: 40,
    });
  });

  it("learns over an adapter too, rare labels weighed up, with labels of the task file", async () => {
    const own = await readTask(
      taskFile("named.yaml", (text) => `${text}  labels: { late: in the second half, odd: at odd places }\n`),
    );
    const out = named("adapter");
    await tune(own, { model: gguf, out, threads: 1, rank: 2, epochs: 3, learningRate: 1e-2, classWeights: "balanced" })
      .result;
    expect(existsSync(path.join(out, "adapter.gguf"))).toBe(true);
    const { metrics, classes } = await evaluate(own, { model, adapter: out });
    expect(metrics.micro_f1!.value).toBeGreaterThan(0.8);
    expect(classes!.map(({ label }) => label)).toEqual(["in the second half", "at odd places"]);
    await expect(evaluate(task, { model, adapter: out })).rejects.toThrow(
      /gives sets of the labels at odd places, in the second half; letters asks for sets of the labels late, odd/,
    );
  });

  it("with a target precision gives fewer labels, more of them right", async () => {
    const plain = await evaluate(task, { model, adapter: await tuned("few", { epochs: 1 }) });
    const sure = await evaluate(task, { model, adapter: await tuned("sure", { epochs: 1, targetPrecision: 0.97 }) });
    const given = ({ classes }: typeof plain) => classes!.reduce((sum, { recall }) => sum + recall, 0);
    const precision = ({ classes }: typeof plain) => classes!.reduce((sum, one) => sum + one.precision, 0);
    expect(given(sure)).toBeLessThan(given(plain));
    expect(precision(sure)).toBeGreaterThan(precision(plain));
  });

  it("resumed ends with the bytes of a run that was never cut off", async () => {
    await tuned("whole");
    await cutAfter(40, (signal) => tune(task, { model: gguf, out: named("cut"), ...usual, signal }));
    await tune(task, { model: gguf, out: named("cut"), threads: 1, resume: true }).result;
    for (const name of ["head.safetensors", "calibration.json"]) {
      const bytes = (run: string) => readFileSync(path.join(named(run), name));
      expect(bytes("cut").equals(bytes("whole")), name).toBe(true);
    }
  }, 30_000);

  it("answers eval, batch, lookup, serve and prompt alike", async () => {
    const [adapter, predictions, out, store] = [
      named("run"),
      named("eval.jsonl"),
      named("batch.jsonl"),
      named("store"),
    ];
    await evaluate(task, { model, adapter, predictions });
    expect(await batch(task, { model, adapter, store, out })).toMatchObject({ errors: 0, rows: 40 });
    const told = readFileSync(out, "utf8").trim().split("\n");
    const rows = readFileSync(named("test.jsonl"), "utf8").trim().split("\n");
    const texts = rows.map((line) => JSON.parse(line).text as string);
    const answers = told.map((line) => JSON.parse(line));
    for (const [place, { answer, prediction }] of (await readPredictions(predictions)).entries())
      expect(answers[place]).toMatchObject({ answer, prediction });
    const known = await openStore(store);
    expect(known.lookup(texts[0]!)).toMatchObject({ hit: true, answer: answers[0].prediction });
    await known.close();
    const server = await started({ model: gguf, task, adapter });
    const { json } = await post(server, "/v1/predict", { rows: texts.map((text) => ({ text })) });
    const predicted = answers.map(({ prediction, probabilities }) => ({ answer: prediction, probabilities }));
    expect(json.answers).toMatchObject(predicted);
    await server.close();
    const { tried } = await prompt(task, { model, adapter, shots: [0], try: texts[0]! });
    const { sets } = JSON.parse(readFileSync(path.join(adapter, "calibration.json"), "utf8"));
    const thresholds = { late: sets.labels.late.threshold, odd: sets.labels.odd.threshold };
    expect(tried).toMatchObject({ answer: answers[0].prediction, thresholds });
  });

  it("is compared, parted and reported", async () => {
    await tuned("short", { steps: 2, epochs: undefined });
    const found = await compare(task, [named("run"), named("short")], { metric: "subset_accuracy" });
    expect(found.pairs).toMatchObject([{ test: "mcnemar" }]);
    expect(found.pairs[0]!.difference.value).toBeGreaterThan(0);
    const usually = await compare(task, [named("run"), named("short")]);
    expect(usually).toMatchObject({ metric: "average_precision", pairs: [{ test: "permutation" }] });
    const predictions = named("short.jsonl");
    await evaluate(task, { model, adapter: named("short"), predictions });
    const result = await evaluate(task, { model, adapter: named("run"), against: predictions, slice: ["half"] });
    expect(result.against!.only_first).toBeGreaterThan(0);
    expect(result.slices![0]!.slices[0]!.metrics.micro_f1!.value).toBeGreaterThan(0);
    await reportEvaluation(result, "stillroom eval task.yaml", named("page.html"));
    const page = readFileSync(named("page.html"), "utf8");
    expect(page).toContain("Each label");
    expect(page).toContain("average precision");
    expect(page).not.toContain("What is taken for what");
  });
});

it("an example of a prompt file stands with its set, and one with an unknown label is refused", async () => {
  const save = named("prompt.json");
  const closed = await readTask(taskFile("closed.yaml", (text) => `${text}  labels: { late: late, odd: odd }\n`));
  const { shown } = await prompt(closed, {
    model,
    adapter: named("run"),
    shots: [2],
    select: ["random"],
    show: true,
    save,
  });
  expect(shown!.text).toMatch(/\[("late")?,?("odd")?\]/);
  const { metrics } = await evaluate(closed, { model, adapter: named("run"), prompt: save });
  expect(metrics.micro_f1!.value).toBeGreaterThanOrEqual(0);
  const file = JSON.parse(readFileSync(save, "utf8"));
  file.examples[0].value = '["early"]';
  writeFileSync(save, JSON.stringify(file));
  await expect(evaluate(closed, { model, adapter: named("run"), prompt: save })).rejects.toThrow(
    /examples\.0 in .*: is lists "early", which is none of late, odd/,
  );
});

it("labels that the training rows do not have are bad rows of the test", async () => {
  writeFileSync(named("strange.jsonl"), `${setLines(5, 9).join("\n")}\n{"text":"abc","is":["late","green"]}\n`);
  const strange = await readTask(taskFile("strange.yaml", (text) => text.replace("test.jsonl", "strange.jsonl")));
  const { rows, errors, bad_rows } = await evaluate(strange, { model, adapter: named("run") });
  expect({ rows, errors }).toEqual({ rows: 5, errors: 1 });
  expect(bad_rows).toMatchObject([{ line: 6, reason: 'the answer "green" is none of the 2 labels' }]);
});

describe("without a head, or where none can answer,", () => {
  it.each<[string, () => Promise<unknown>, string, RegExp]>([
    [
      "eval",
      () => evaluate(task, { model }),
      "input",
      /is of kind multilabel: a set of labels needs a head, .* give its run as adapter$/,
    ],
    ["batch", () => batch(task, { model, store: named("none"), out: named("none.jsonl") }), "input", /needs a head/],
    ["serve", () => started({ model: gguf, task }), "input", /needs a head/],
    [
      "another model to hold against",
      () => evaluate(task, { model, adapter: named("run"), against: gguf }),
      "usage",
      /a set of labels needs a head: give a predictions file/,
    ],
    [
      "a head of one label",
      () => tuned("x1", { head: "softmax" }),
      "usage",
      /expected "sigmoid" of kind multilabel for head, received "softmax"/,
    ],
    ["coverage", () => tuned("x7", { coverage: 0.9 }), "usage", /^coverage is of numbers, and letters is of kind/],
    [
      "all weights",
      () => tuned("x2", { method: "full" }),
      "usage",
      /expected "lora" or "head", with which a head of the task's own \(sigmoid\) goes, for method, received "full"/,
    ],
    ["audit", () => audit(task, { model }), "input", /is of kind multilabel: a set of labels needs a head/],
    [
      "teach",
      () => teach(task, { teacher: gguf, out: named("x4") }).result,
      "usage",
      /a teacher is asked about texts, and letters is of kind multilabel/,
    ],
    [
      "distill",
      () => distill(task, { teacher: gguf, student: gguf, out: named("x5") }).result,
      "usage",
      /a teacher is asked about texts/,
    ],
    [
      "export that is to be checked",
      () => exportModel({ model: gguf, check: task, quantize: "Q8_0", out: named("x6.gguf") }),
      "usage",
      /expected a task that is answered in words for check/,
    ],
    [
      "contextual calibration",
      () => prompt(task, { model, shots: [0], calibrate: true, try: "abc" }),
      "usage",
      /calibrate is for labels that are asked for by their texts/,
    ],
  ])("%s is refused", async (_name, work, code, message) => {
    await expect(work()).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    for (const name of ["x1", "x2", "x3", "x4", "x5", "x6.gguf", "x7"])
      expect(existsSync(named(name)), name).toBe(false);
  });
});
