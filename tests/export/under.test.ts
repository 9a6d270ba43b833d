// exportModel() of a model that stays under an adapter: the gate's figures are those of the two together, with a head and without one.
import { mkdtempSync, readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { beforeAll, expect, it, vi } from "vitest";
import { exportText } from "../../bin/print-export.js";
import { evaluate } from "../../src/evaluate/index.js";
import { type ExportOptions, exportModel } from "../../src/export/index.js";
import { tune } from "../../src/jobs/index.js";
import { readTask, type Task } from "../../src/task/index.js";
import { writeSetTask } from "../jobs/toy-sets.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { writeTextToy } from "../support/text_toy.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-under-"));
const named = (name: string) => path.join(folder, name);
const model = writeTextToy();
// Sensitive to every bit of the answers.
const metric = "log_loss";
let sets: Task;
let halves: Task;

beforeAll(async () => {
  sets = { ...(await readTask(writeSetTask(folder))), metric };
  halves = { ...(await readTask(writeToyTask().file)), metric };
  const options = { model, steps: 4, rank: 2, learningRate: 3e-2, threads: 1 };
  await tune(sets, { ...options, out: named("headed") }).result;
  await tune(halves, { ...options, out: named("worded") }).result;
});

/** The gate's figures, which are those of eval. */
async function checked(check: Task, under: string, out: string) {
  const found = await exportModel({ ...{ model, under, quantize: "Q8_0", check, out, threads: 1 } });
  const { gate } = found;
  for (const [file, value] of [
    [model, gate!.metric.merged],
    [out, gate!.metric.quantized],
  ] as const) {
    const { metrics } = await evaluate(check, { model: file, adapter: under, split: "validation", threads: 1 });
    expect(value).toEqual(metrics[metric]);
  }
  expect(gate!.metric.merged.value).not.toBe(gate!.metric.quantized.value);
  expect(found).toMatchObject({ adapter: null, under, gate: { passed: true, metric: { adapter: null } } });
  return { found, gate: gate!, card: readFileSync(found.card, "utf8") };
}

it("under a head measures the metric that both have with it, and no words", async () => {
  const { found, gate, card } = await checked(sets, named("headed"), named("sets.gguf"));
  expect(gate).toMatchObject({ positions: 0, kl: { adapter_merged: null, merged_quantized: null } });
  expect(gate.top1_agreement).toBeNull();
  expect(card).toContain("| runs under | headed, which is not in this file |");
  expect(card).toMatch(/\| before quantising \| (.|\n)*Both were run under headed, whose head gave the answers\./);
  expect(card).toContain("| steps | 4, best ");
  expect(card).toMatch(/\| loss \| \S+ to \S+ \(nats a label\) \|/);
  expect(exportText(found)).toMatch(/before quantising +\S+ +\S+ – \S+ *\nquantised .*\nboth run under .*headed\n/);
});

it("under an adapter that answers in words measures these too", async () => {
  const { gate, card } = await checked(halves, named("worded"), named("halves.gguf"));
  expect(gate.positions).toBeGreaterThan(0);
  expect(gate.kl.merged_quantized).toBeGreaterThan(0);
  expect(gate.kl.merged_quantized).toBeLessThan(0.01);
  expect(card).toMatch(/Both were run under worded\. KL\(before quantising ‖ this file\) is \S+ nats/);
});

it.each<[string, Partial<ExportOptions>, RegExp]>([
  ["an adapter to merge", { adapter: "a" }, /^adapter is merged and under is not: give one of them$/],
  ["a size", { size: 1e6 }, /^size measures a model without under: give quantize$/],
  ["no task", { check: undefined }, /^under needs check, whose rows are answered with it: give one$/],
  [
    "a merged model to keep",
    { keepMerged: "m.gguf" },
    /^keepMerged keeps what merging makes, and without adapter nothing is merged: leave it out$/,
  ],
  [
    "a bound of merging",
    { bounds: { adapterMergedKl: 0.1 } },
    /^bounds.adapterMergedKl bounds what merging moves, and without adapter nothing is merged: leave it out$/,
  ],
  [
    "one where there is nothing to merge either",
    { under: undefined, check: undefined, keepMerged: "m.gguf" },
    /^keepMerged keeps what merging makes/,
  ],
  ["sets of labels and no head", { under: undefined }, /a GGUF holds none; under takes the run of the head$/],
])("refuses %s", async (_name, change, message) => {
  const work = exportModel({ model, under: named("headed"), check: sets, out: named("x.gguf"), ...change });
  await expect(work).rejects.toMatchObject({ code: "usage", message: expect.stringMatching(message) });
});

it.each<[string, () => Partial<ExportOptions>, RegExp]>([
  [
    "a head of sets for one label",
    () => ({ check: halves }),
    /^the head of this adapter, .* asks for the labels early/,
  ],
  [
    "an adapter without a head for sets",
    () => ({ under: named("worded") }),
    /: a set of labels needs a head, .* tune it, and give its run as under$/,
  ],
  [
    "a task without a good row",
    () => ({ under: named("worded"), check: { ...halves, answer: { field: "nowhere" } } }),
    /has no good row in its validation split; mend the rows, or give others for data\.validation$/,
  ],
])("refuses %s before anything is quantised", async (_name, change, message) => {
  const onProgress = vi.fn();
  const work = exportModel({
    model,
    under: named("headed"),
    check: sets,
    out: named("x.gguf"),
    onProgress,
    ...change(),
  });
  await expect(work).rejects.toMatchObject({ code: "input", message: expect.stringMatching(message) });
  expect(onProgress).not.toHaveBeenCalled();
});
