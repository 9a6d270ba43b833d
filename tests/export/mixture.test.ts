// export with a size: the file keeps to it, its types are the best that fit by measured loss, and too little is refused with what would do.
import { mkdtempSync, readdirSync, statSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { readRows } from "../../src/dataset/index.js";
import { exportModel } from "../../src/export/index.js";
import { firstBatch } from "../../src/export/rows.js";
import { type Model, openModel } from "../../src/model/index.js";
import { native } from "../../src/support/native.js";
import { readTask, type Task } from "../../src/task/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { textToy, writeTextToy } from "../support/text_toy.js";

const base = mkdtempSync(path.join(os.tmpdir(), "stillroom-size-"));
let model: Model;
let task: Task;
let folder = "";
let out = "";

// Rows of 256 and of 32: both lists of types.
const toy = { ...textToy, feedForward: 256 };

beforeAll(async () => {
  model = await openModel(writeTextToy({}, toy), { threads: 2 });
  task = await readTask(writeToyTask().file);
});
afterAll(() => model.close());
beforeEach(() => {
  folder = mkdtempSync(path.join(base, "out-"));
  out = path.join(folder, "out.gguf");
});

describe("exportModel with a size", () => {
  it("keeps to the size, with less loss for more bytes, and has in the file what it chose", async () => {
    const phases: string[] = [];
    const smallest = (await exportModel({ model, imatrix: task, size: 10 ** 15, out })).mixture!.smallest;
    let before = Number.POSITIVE_INFINITY;
    for (const size of [smallest, smallest + 4000, smallest + 12_000]) {
      const found = await exportModel({
        ...{
          model,
          imatrix: task,
          check: task,
          limit: 10,
          size,
          out,
          bounds: { mergedQuantizedKl: 10, metricDrop: 1 },
        },
        onProgress: ({ phase }) => phases.at(-1) !== phase && phases.push(phase),
      });
      const { mixture, bytes } = found;
      expect(found.type).toBe(mixture!.type);
      expect(bytes).toBe(statSync(out).size);
      expect(bytes).toBeLessThanOrEqual(size);
      if (mixture!.type === "mixed") expect(size - bytes).toBeLessThan(2000);
      expect(mixture).toMatchObject({ budget: size, smallest, split: "validation" });
      expect(mixture!.tensors).toHaveLength(1 + 7 * toy.layers);
      const counts: Record<string, number> = {};
      for (const { type } of mixture!.tensors) counts[type] = (counts[type] ?? 0) + 1;
      expect((await native().inspect(out)).types).toMatchObject(counts);
      // Errors of single matrices add up, nearly.
      expect(mixture!.kl.measured).toBeLessThan(before);
      expect(mixture!.kl.measured).toBeGreaterThan(mixture!.kl.expected / 2);
      expect(mixture!.kl.measured).toBeLessThan(mixture!.kl.expected * 2);
      before = mixture!.kl.measured;
    }
    expect(phases.slice(0, 4)).toEqual(["importance", "measure", "quantize", "check"]);
    expect(readdirSync(folder).sort()).toEqual(["out.gguf", "out.md"]);
  });

  it("measures a matrix as the file with that matrix quantised has it, and finer types by their error", async () => {
    const { rows } = await readRows(task, "train");
    const { batch } = firstBatch(model, task, rows, [], 2048)!;
    const trials = await model.native.openSensitivity(batch, null);
    const all = trials.matrices.map(({ name }) => ({ name, type: "q8_0" }));
    const measured = async (chosen: string, type: string) => {
      const tensors = all.map(({ name }) => ({ name, type: name === chosen ? type : "q8_0" }));
      const file = path.join(folder, `${chosen}.gguf`);
      await native().quantize(model.info.path, file, { type: "Q8_0", tensors, importance: null, threads: 1 });
      const other = await native().openModel(file, { threads: 1, variant: null });
      const { klSum } = await model.native.compare(batch, null, other, null);
      await other.close();
      return klSum;
    };
    for (const [name, type] of [
      ["token_embd.weight", "q4_0"],
      ["blk.0.attn_k.weight", "q4_0"],
      ["blk.1.ffn_down.weight", "q2_K"],
    ]) {
      const index = trials.matrices.findIndex((matrix) => matrix.name === name);
      const number = trials.matrices[index]!.types.findIndex((one) => one.type === type);
      const { klSum, error } = await trials.measure(index, number, true);
      // The others are rounded to 8 bits in the file.
      expect(klSum / (await measured(name!, type!))).toBeCloseTo(1, 0.5);
      const finer = await trials.measure(index, number + 1, true);
      expect(finer.error).toBeLessThan(error);
      const factor = finer.klSum / ((klSum * finer.error) / error);
      expect(factor).toBeGreaterThan(0.5);
      expect(factor).toBeLessThan(2);
      expect(await trials.measure(index, number + 1, false)).toEqual({ error: finer.error, klSum: 0 });
    }
    // Nothing of a trial stays behind.
    const [first, again] = [await trials.measure(3, 0, true), await trials.measure(3, 0, true)];
    expect(again).toEqual(first);
    await trials.close();
    await expect(trials.measure(0, 0, true)).rejects.toThrow("the trials of single matrices is closed");
  });

  it("refuses too small a size with the smallest that there is, before it measures", async () => {
    const phases = new Set<number>();
    const work = exportModel({
      ...{ model, imatrix: task, size: 1000, out },
      onProgress: ({ phase, done }) => phase === "measure" && phases.add(done),
    });
    const error = await work.catch((thrown) => thrown);
    expect(error).toMatchObject({ code: "usage", options: ["size"] });
    const [, smallest] = /the smallest that they make has (\d+); give at least --size \1/.exec(error.message)!;
    expect([...phases]).toEqual([0]);
    expect(readdirSync(folder)).toEqual([]);
    const { bytes } = await exportModel({ model, imatrix: task, size: Number(smallest), out });
    expect(bytes).toBe(Number(smallest));
  });

  it("measures without an importance matrix on the rows of the gate's task", async () => {
    const found = await exportModel({ model, check: task, size: 10 ** 9, limit: 5, out });
    expect(found).toMatchObject({ imatrix_tokens: null, gate: { passed: true, rows: 5 }, mixture: { rows: 5 } });
    expect(new Set(found.mixture!.tensors.map(({ type }) => type))).toEqual(new Set(["q8_0"]));
  });

  it("takes one of llama.cpp's own types where that does less, and no worse ever", async () => {
    const kl = async (file: string) => {
      const { rows } = await readRows(task, "validation");
      const { batch } = firstBatch(model, task, rows, [], 2048)!;
      const other = await native().openModel(file, { threads: 1, variant: null });
      const { klSum, positions } = await model.native.compare(batch, null, other, null);
      await other.close();
      return klSum / positions;
    };
    const taken = new Set<string>();
    for (const type of ["Q4_K_M", "Q5_K_M", "Q6_K"]) {
      const usual = await exportModel({ model, imatrix: task, quantize: type, out: path.join(folder, "usual.gguf") });
      const found = await exportModel({ model, imatrix: task, size: usual.bytes, out });
      expect(found.bytes).toBeLessThanOrEqual(usual.bytes);
      expect(await kl(out)).toBeCloseTo(found.mixture!.kl.measured, 6);
      expect(found.mixture!.kl.measured).toBeLessThanOrEqual((await kl(usual.out)) * (1 + 1e-6));
      taken.add(found.type);
    }
    expect(taken).toContain("mixed");
  });

  it("can be called off while it measures", async () => {
    const controller = new AbortController();
    let calls = 0;
    const work = exportModel({
      ...{ model, imatrix: task, size: 10 ** 9, out, signal: controller.signal },
      onProgress: ({ phase }) => phase === "measure" && ++calls === 3 && controller.abort(),
    });
    await expect(work).rejects.toMatchObject({ code: "cancelled" });
    expect(calls).toBe(3);
    expect(readdirSync(folder)).toEqual([]);
  });

  it.each([
    [{ size: 1 }, /size needs a task on whose rows it can measure/],
    [{ size: 1.5 }, /expected a whole number of at least 1 for size, received 1\.5/],
  ])("refuses %j", async (options, message) => {
    await expect(exportModel({ model, out, ...options })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(message),
    });
  });

  it("refuses a size beside a type", async () => {
    const work = exportModel({ model, out, imatrix: task, quantize: "Q4_0", size: 10 ** 9 });
    await expect(work).rejects.toThrow("size chooses the types itself: leave out quantize");
  });
});
