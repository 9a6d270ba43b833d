// exportModel() on a toy: what is written, what the gate says, and that a failure leaves nothing behind.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { type EvaluateOptions, evaluate, readPredictions } from "../../src/evaluate/index.js";
import { exportModel } from "../../src/export/index.js";
import { inspect, type Model, openModel, resolveDefaultModel } from "../../src/model/index.js";
import { native } from "../../src/support/native.js";
import { Random } from "../../src/support/random.js";
import { readTask, type Task } from "../../src/task/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { writeTextToy } from "../support/text_toy.js";

const base = mkdtempSync(path.join(os.tmpdir(), "stillroom-export-"));
process.env.XDG_CACHE_HOME = path.join(base, "cache");
const adapter = path.join(base, "adapter.gguf");
let model: Model;
let check: Task;
let folder = "";
let out = "";

beforeAll(async () => {
  model = await openModel(writeTextToy(), { threads: 1 });
  check = await readTask(writeToyTask().file);
  const options = { rank: 2, alpha: 4, dropout: 0, rsLora: false, seed: 1 };
  const lora = model.native.createLora({ ...options, targets: ["q", "k", "v", "o", "gate", "up", "down"] });
  const random = new Random(1);
  const tensors = lora
    .tensors()
    .map((tensor) => ({ ...tensor, data: tensor.data.map(() => 0.2 * (random.float() - 0.5)) }));
  await native().writeAdapter(adapter, tensors, { architecture: "llama", alpha: 4, name: "toy" });
});
afterAll(() => model.close());
beforeEach(() => {
  folder = mkdtempSync(path.join(base, "out-"));
  out = path.join(folder, "out.gguf");
});

describe("exportModel", () => {
  it("tells of a place that takes no file before any work", async () => {
    const phases: string[] = [];
    for (const places of [{ out: "/proc/out.gguf" }, { out, keepMerged: "/proc/merged.gguf" }]) {
      const work = exportModel({ model, adapter, ...places, onProgress: ({ phase }) => phases.push(phase) });
      await expect(work).rejects.toMatchObject({
        code: "io",
        message: expect.stringMatching(/^cannot write \/proc\//),
      });
    }
    expect(phases).toEqual([]);
  });

  it("writes one checked file: merged exactly, quantised within the bound", async () => {
    const phases: string[] = [];
    const keepMerged = path.join(folder, "merged.gguf");
    const found = await exportModel({
      ...{ model, adapter, quantize: "q8_0", check, out, keepMerged, limit: 10 },
      onProgress: ({ phase, done }) => done === 0 && phases.push(phase),
    });
    const [card, merged_card] = [path.join(folder, "out.md"), path.join(folder, "merged.md")];
    expect(found).toMatchObject({
      card,
      merged_card,
      out,
      type: "Q8_0",
      adapter,
      model: model.info.path,
      imatrix_tokens: null,
    });
    expect(found.bytes).toBe(readFileSync(out).length);
    const gate = found.gate!;
    expect(gate).toMatchObject({ passed: true, failures: [], split: "validation", rows: 10, errors: 0 });
    expect(gate.kl.adapter_merged).toBeLessThan(1e-6);
    expect(gate.kl.merged_quantized).toBeGreaterThan(0);
    expect(gate.metric.adapter!.value).toBe(gate.metric.merged.value);
    const { adapter_merged, merged_quantized } = gate.changes;
    expect(adapter_merged).toMatchObject({ difference: { value: 0 }, test: "mcnemar", p_value: 1, bound: 0.02 });
    const { merged, quantized } = gate.metric;
    expect(merged_quantized.difference.value).toBeCloseTo(quantized.value - merged.value, 12);
    expect([...new Set(phases)]).toEqual(["merge", "quantize", "check"]);
    expect(readdirSync(folder).sort()).toEqual(["merged.gguf", "merged.md", "out.gguf", "out.md"]);
    expect((await inspect(out)).types.q8_0).toBeGreaterThan(0);
    expect((await inspect(keepMerged)).types.q8_0).toBeUndefined();
  });

  it("checks a generate task through llama.cpp, where adapter and merged model answer the same", async () => {
    const { file } = writeToyTask();
    const text = readFileSync(file, "utf8").replace("classify", "generate").replace("accuracy", "f1");
    writeFileSync(file, `${text.replace(/ {2}labels:.*\n/, "")}maxTokens: 4\n`);
    const task = await readTask(file);
    const { gate } = await exportModel({ model, adapter, quantize: "F32", check: task, out, limit: 10 });
    expect(gate).toMatchObject({ passed: true, rows: 10, metric: { name: "f1" } });
    const answers = async (options: EvaluateOptions) => {
      const predictions = path.join(folder, "predictions.jsonl");
      await evaluate(task, { ...options, predictions });
      return (await readPredictions(predictions)).map(({ prediction }) => prediction);
    };
    const merged = await answers({ model: out });
    expect(await answers({ model, adapter })).toEqual(merged);
    expect(await answers({ model })).not.toEqual(merged);
  });

  it("compares with the run-time adapter, not with the base", async () => {
    const withAdapter = await exportModel({ model, adapter, quantize: "F32", check, out, limit: 10 });
    const without = await exportModel({
      model,
      quantize: "F32",
      check,
      out: path.join(folder, "base.gguf"),
      limit: 10,
    });
    expect(without.gate!.kl).toEqual({ adapter_merged: null, merged_quantized: 0 });
    expect(without.gate!.metric.adapter).toBeNull();
    expect(readFileSync(out).equals(readFileSync(path.join(folder, "base.gguf")))).toBe(false);
    expect(withAdapter.gate!.top1_agreement).toBe(1);
  });

  it("fails the gate by name of the step, keeps the file that was there, and leaves nothing else", async () => {
    writeFileSync(out, "GGUF, an earlier one");
    const work = exportModel({ model, adapter, quantize: "Q4_0", check, out, bounds: { mergedQuantizedKl: 1e-9 } });
    const error = await work.catch((thrown) => thrown);
    expect(error).toMatchObject({
      code: "gate",
      message: expect.stringMatching(
        /out\.gguf was not written: on \d+ validation rows quantising moved .* the bound is 1e-9; a finer type, .*more rows or another bound may pass$/,
      ),
    });
    expect(error.cause.gate.passed).toBe(false);
    expect(readdirSync(folder)).toEqual(["out.gguf"]);
    expect(readFileSync(out, "utf8")).toBe("GGUF, an earlier one");
  });

  it("leaves out a row that does not suit the template", async () => {
    const { folder: data, file } = writeToyTask({ validation: false });
    writeFileSync(file, readFileSync(file, "utf8").replace("{{ text }}", "{{ text | trim }}"));
    const test = path.join(data, "test.jsonl");
    writeFileSync(test, `{"text":5,"half":"early"}\n${readFileSync(test, "utf8")}`);
    const found = await exportModel({ model, adapter, quantize: "F32", check: await readTask(file), out, limit: 5 });
    expect(found.gate).toMatchObject({ passed: true, rows: 4, errors: 1 });
  });

  it("tells of rows that cannot be asked about before anything is merged, with the place, the number and the remedy", async () => {
    const { folder: data, file } = writeToyTask({ validation: false });
    // The labels are the values of the training rows.
    writeFileSync(file, readFileSync(file, "utf8").replace(/ {2}labels:.*\n/, ""));
    const test = path.join(data, "test.jsonl");
    const refusal = async (rows: readonly object[]) => {
      writeFileSync(test, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
      const onProgress = vi.fn();
      const work = exportModel({ model, adapter, check: await readTask(file), out, onProgress });
      const { code, message } = await work.catch((thrown) => thrown);
      expect(code).toBe("input");
      expect(onProgress).not.toHaveBeenCalled();
      expect(readdirSync(folder)).toEqual([]);
      return message;
    };
    const stray = { text: "a", half: "unicorn" };
    expect(await refusal([stray, stray])).toBe(
      `halves has no good row in its test split: the first of 2 bad rows is ${test}:1: ` +
        'the answer "unicorn" is none of the 2 labels; mend the rows, or give others for data.test',
    );
    const long = { text: "a".repeat(5000), half: "early" };
    expect(await refusal([long, long])).toMatch(
      /^no row fits .*\.gguf: of the shortest of 2 rows, .*test\.jsonl:1, the prompt has \d+ tokens .*; give shorter rows, or/,
    );
  });

  it("has the same labels whatever the limit, also where they are the values of the test rows", async () => {
    const { folder: data, file } = writeToyTask({ validation: false });
    writeFileSync(file, readFileSync(file, "utf8").replace(/ {2}(labels|train):.*\n/g, ""));
    writeFileSync(
      path.join(data, "test.jsonl"),
      ["early", "early", "late"].map((half) => `{"text":"a","half":"${half}"}\n`).join(""),
    );
    // Of one label nothing could be chosen.
    const found = await exportModel({ model, adapter, quantize: "F32", check: await readTask(file), out, limit: 2 });
    expect(found.gate).toMatchObject({ passed: true, rows: 2 });
  });

  it("makes the importance matrix of the task's own rows", async () => {
    const found = await exportModel({ model, adapter, quantize: "Q4_0", imatrix: check, out, limit: 5 });
    expect(found.imatrix_tokens).toBeGreaterThan(5 * 5);
    expect(found.gate).toBeNull();
  });

  it("leaves nothing behind when it is called off, at whichever phase", async () => {
    for (const at of ["merge", "quantize", "check"]) {
      const controller = new AbortController();
      const work = exportModel({
        ...{ model, adapter, quantize: "Q8_0", check, out, signal: controller.signal },
        onProgress: ({ phase }) => phase === at && controller.abort(),
      });
      await expect(work).rejects.toMatchObject({ code: "cancelled" });
      expect(readdirSync(folder)).toEqual([]);
    }
  });

  it.each([
    [{ quantize: "Q8_1_M" }, /expected a quantisation type for quantize, received "Q8_1_M"; did you mean Q\w+\?/],
    [{ out: "" }, /expected a path for out, received ""/],
    [{ out: base }, /expected the path of a file for out, received/],
    [{ bounds: { metricDrop: -1 } }, /expected a number of at least 0 for bounds\.metricDrop, received -1/],
    [{ bounds: { metricdrop: 1 } }, /bounds has no option metricdrop; did you mean metricDrop\?/],
    [{ check: undefined, quantise: "Q8_0" }, /exportModel has no option quantise; did you mean quantize\?/],
  ])("refuses %j", async (options, message) => {
    const work = exportModel({ model, out, ...(options as object) });
    await expect(work).rejects.toMatchObject({ code: "usage", message: expect.stringMatching(message) });
  });

  it("never writes over its own base", async () => {
    const bytes = readFileSync(model.info.path).length;
    const { dir, base: name } = path.parse(model.info.path);
    // The second leads through a folder that is not there.
    for (const file of [model.info.path, `${dir}/no/../${name}`]) {
      await expect(exportModel({ model, out: file })).rejects.toMatchObject({ code: "usage" });
    }
    expect(readFileSync(model.info.path).length).toBe(bytes);
  });

  it("never writes over the model in the box, whatever is exported", async () => {
    const box = await resolveDefaultModel();
    // Called off beforehand, so that a mistake here costs no model.
    const signal = AbortSignal.abort();
    for (const places of [{ out: box }, { out, keepMerged: box }]) {
      await expect(exportModel({ model, adapter, ...places, signal })).rejects.toMatchObject({
        code: "usage",
        message: `${box} is the model in stillroom's box; choose another file`,
      });
    }
  });

  it("never writes over what it reads", async () => {
    const run = path.join(folder, "run");
    mkdirSync(path.join(run, "adapter"), { recursive: true });
    const files = [adapter, check.file, path.join(path.dirname(check.file), "train.jsonl")];
    for (const file of files) {
      for (const places of [{ out: file }, { out, keepMerged: file }]) {
        const work = exportModel({ model, adapter, imatrix: check, check, ...places });
        await expect(work).rejects.toMatchObject({
          code: "usage",
          message: expect.stringMatching(/ is (a file of the adapter|the task file|the train data) .*; choose another/),
        });
      }
    }
    const inRun = exportModel({ model, adapter: run, out: path.join(run, "adapter.gguf") });
    await expect(inRun).rejects.toThrow("adapter.gguf is a file of the adapter");
  });
});
