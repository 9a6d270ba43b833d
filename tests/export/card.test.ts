// The model card: facts that the export measured, in a form that the Hub reads.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { exportText } from "../../bin/print-export.js";
import { evaluate } from "../../src/evaluate/index.js";
import { type ExportResult, exportModel } from "../../src/export/index.js";
import { prompt, tune } from "../../src/jobs/index.js";
import { hashFile } from "../../src/support/files.js";
import { readTask, type Task } from "../../src/task/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { writeTextToy } from "../support/text_toy.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-card-"));
const model = writeTextToy();
let result: ExportResult;
let card = "";

beforeAll(async () => {
  const task = await readTask(writeToyTask().file);
  const adapter = path.join(folder, "run");
  await tune(task, { model, out: adapter, steps: 2, rank: 2, threads: 1 }).result;
  const bounds = { mergedQuantizedKl: 10, metricDrop: 1 };
  result = await exportModel({
    model,
    adapter,
    quantize: "Q8_0",
    check: task,
    out: path.join(folder, "toy.gguf"),
    threads: 1,
    bounds,
  });
  card = readFileSync(path.join(folder, "toy.md"), "utf8");
});

describe("a model card", () => {
  it("has front matter with the measured metric", () => {
    expect(result.card).toBe(path.join(folder, "toy.md"));
    const front = parse(/^---\n(.*?)\n---\n/s.exec(card)![1]!);
    const { value } = result.gate!.metric.quantized;
    expect(front).toMatchObject({ library_name: "gguf", tags: ["stillroom", "gguf", "llama", "q8_0"] });
    expect(front["model-index"][0].results[0]).toMatchObject({
      dataset: { name: "halves", split: "validation" },
      metrics: [{ type: "accuracy", value }],
    });
  });

  it("names base, file, training and gate", async () => {
    expect(card).toContain(`SHA-256 ${await hashFile(model)}`);
    expect(card).toContain(`${result.bytes.toLocaleString("en")} bytes, SHA-256 ${await hashFile(result.out)}`);
    expect(card).toContain("| steps | 2, best ");
    expect(card).toContain("| learning rate | 0.0002 |");
    expect(/^\| [a-z]+[A-Z]/m.exec(card)).toBeNull();
    expect(card).toContain(`KL(merged ‖ this file) is ${result.gate!.kl.merged_quantized!.toPrecision(3)} nats`);
    expect(card).toContain("| licence | not said in the base's metadata |");
  });

  it("claims no quality where none was measured", async () => {
    const out = path.join(folder, "unchecked.gguf");
    const { card: file } = await exportModel({ model, quantize: "Q8_0", out, threads: 1 });
    const text = readFileSync(file, "utf8");
    expect(text).toContain("No quality was measured");
    expect(text).not.toMatch(/## Measured|model-index|## Trained/);
  });

  it("is written beside the merged model that is kept, with that model's own figures", async () => {
    const check: Task = { ...(await readTask(writeToyTask().file)), metric: "log_loss" };
    const keepMerged = path.join(folder, "merged.gguf");
    const adapter = path.join(folder, "run");
    const bounds = { mergedQuantizedKl: 10, metricDrop: 10 };
    const out = path.join(folder, "coarse.gguf");
    const options = { model, adapter, check, bounds, keepMerged, threads: 1 };
    const { merged_card, gate } = await exportModel({ ...options, quantize: "Q4_0", out });
    expect(merged_card).toBe(path.join(folder, "merged.md"));
    const text = readFileSync(merged_card!, "utf8");
    const { merged, quantized } = gate!.metric;
    expect(merged.value.toFixed(3)).not.toBe(quantized.value.toFixed(3));
    expect(text).toContain(`| this file | ${merged.value.toFixed(3)} [`);
    expect(text).toContain(`SHA-256 ${await hashFile(keepMerged)} |`);
    expect(text).toMatch(/^# merged\.gguf$/m);
    expect(text).toMatch(/\| with the adapter at run time \| (.|\n)*KL\(adapter at run time ‖ this file\) is \S+ nats/);
    expect(text).not.toMatch(/importance matrix|Q4_0|\| merged \|/);
    writeFileSync(path.join(folder, "other.md"), "mine");
    const taken = exportModel({ ...options, keepMerged: path.join(folder, "other.gguf"), quantize: "Q4_0", out });
    await expect(taken).rejects.toThrow("other.md is the name of the model card, and holds something else");
    const twin = exportModel({ ...options, keepMerged: path.join(folder, "coarse"), quantize: "Q4_0", out });
    await expect(twin).rejects.toThrow("out and keepMerged are the same file or of one name");
  });

  it("has a value alone where one row gives no interval, as the terminal has a dash", async () => {
    const check: Task = { ...(await readTask(writeToyTask().file)), metric: "log_loss" };
    const bounds = { mergedQuantizedKl: 10, metricDrop: 10 };
    const out = path.join(folder, "one.gguf");
    const found = await exportModel({ model, quantize: "Q8_0", check, out, limit: 1, threads: 1, bounds });
    const { merged, quantized } = found.gate!.metric;
    expect(quantized).toMatchObject({ low: null, high: null });
    const text = readFileSync(found.card, "utf8");
    expect(text).toContain(`| merged | ${merged.value.toFixed(3)} |\n| this file | ${quantized.value.toFixed(3)} |`);
    expect(exportText(found)).toMatch(/^quantised +\d\.\d{3} +– /m);
  });

  it("says that rows were asked behind a prompt file's examples", async () => {
    const task: Task = { ...(await readTask(writeToyTask().file)), metric: "log_loss" };
    const [file, out] = [path.join(folder, "two.json"), path.join(folder, "prompted.gguf")];
    await prompt(task, { model, shots: [2], save: file, threads: 1 });
    const bounds = { mergedQuantizedKl: 10, metricDrop: 10 };
    const tasks = { check: task, imatrix: task, prompt: file };
    const { gate, card } = await exportModel({ model, quantize: "Q8_0", ...tasks, out, threads: 1, bounds });
    const { metrics } = await evaluate(task, { model, prompt: file, split: "validation", threads: 1 });
    expect(gate!.metric.merged.value).toBeCloseTo(metrics.log_loss!.value, 6);
    expect(readFileSync(card, "utf8")).toContain("each behind a prompt file's 2 examples (random)");
    await expect(exportModel({ model, prompt: file, out })).rejects.toThrow(
      /prompt is how the tasks of imatrix and check/,
    );
  });

  it("is replaced by the next export, and never takes the place of another's file", async () => {
    const out = path.join(folder, "twice.gguf");
    await exportModel({ model, quantize: "Q8_0", out, threads: 1 });
    await exportModel({ model, quantize: "F16", out, threads: 1 });
    expect(readFileSync(path.join(folder, "twice.md"), "utf8")).toContain("| type | F16 |");
    writeFileSync(path.join(folder, "notes.md"), "mine");
    const refused = exportModel({ model, quantize: "Q8_0", out: path.join(folder, "notes.gguf"), threads: 1 });
    await expect(refused).rejects.toThrow("notes.md is the name of the model card, and holds something else");
    expect(readFileSync(path.join(folder, "notes.md"), "utf8")).toBe("mine");
  });
});
