// Rounded products in a run: only where they leave the loss within a hundredth.
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { teach, tune } from "../../src/jobs/index.js";
import { lossDifference, type Score } from "../../src/jobs/tune-precision.js";
import { native } from "../../src/support/native.js";
import { readTask, type Task } from "../../src/task/index.js";
import type { MicroBatch, TuneOptions } from "../../src/train/index.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { cutAfter, runFolder, sha } from "./runs.js";
import { writeToyTask } from "./toy-task.js";

/** Where a model's states have one channel that is a thousand times the others, these are lost among the 127 steps of a group of integers. */
const coarse = () =>
  writeTextToy({}, textToy, (name, data) => {
    if (name.endsWith("norm.weight")) data[0]! *= 1000;
  });

const small = { steps: 4, batchSize: 8, rank: 4, threads: 1 };

async function run(task: Task, change: Partial<TuneOptions>) {
  const work = tune(task, { out: runFolder(), ...small, ...change });
  const warnings: string[] = [];
  for await (const event of work) if (event.type === "warning") warnings.push(`${event.kind}: ${event.message}`);
  const { precision, adapter } = await work.result;
  return { precision, hash: sha(adapter!.gguf), warnings };
}

describe("the loss of a step by two kinds of products", () => {
  const step = (...batches: string[]) => batches.map((batch) => ({ batch }) as unknown as MicroBatch);
  const score =
    (of: Record<string, number[]>): Score =>
    async (batch) =>
      Float64Array.from(of[batch as unknown as string]!);

  it("differs by the worst step's part, over all of its micro-batches", async () => {
    const exact = score({ a: [-1, -2], b: [-1], c: [-4] });
    const asked = score({ a: [-1.1, -2], b: [-0.98], c: [-4.04] });
    // 4.08 of 4, and 4.04 of 4.
    expect(await lossDifference([step("a", "b"), step("c")], asked, exact)).toBeCloseTo(0.02, 12);
    expect(await lossDifference([step("c")], asked, exact)).toBeCloseTo(0.01, 12);
  });

  it("does not count where exact products are not finite, and is infinite where only the others are not", async () => {
    const [good, bad] = [score({ a: [-1] }), score({ a: [Number.NaN] })];
    expect(await lossDifference([step("a")], good, bad)).toBe(0);
    expect(await lossDifference([step("a")], bad, good)).toBe(Infinity);
  });
});

describe.skipIf(native().variants.length === 1)("a run in int8", () => {
  it("stays so where the loss does", async () => {
    const task = await readTask(writeToyTask().file);
    const model = writeTextToy();
    const [asked, exact] = [await run(task, { model, precision: "int8" }), await run(task, { model })];
    expect(asked).toMatchObject({ precision: "int8", warnings: [] });
    expect(exact.precision).toBe("f32");
    expect(asked.hash).not.toBe(exact.hash);
  });

  it("goes on in f32 where they move it further, with a warning and the bytes of such a run", async () => {
    const task = await readTask(writeToyTask().file);
    const model = coarse();
    const [asked, exact] = [await run(task, { model, precision: "int8" }), await run(task, { model })];
    expect(asked.warnings).toEqual([
      expect.stringMatching(
        /^precision: products in int8 move the loss of the first steps' rows by [\d.]+ %, more than 1 %: the run goes on in f32$/,
      ),
    ]);
    expect(asked).toMatchObject({ precision: "f32", hash: exact.hash });
  });

  it("that went on in f32 does so when it is resumed", async () => {
    const task = await readTask(writeToyTask().file);
    const options = { model: coarse(), precision: "int8" } as const;
    const whole = await run(task, options);
    const out = runFolder();
    await cutAfter(2, (signal) => tune(task, { ...options, ...small, out, signal }));
    const resumed = await run(task, { ...options, out, resume: true });
    expect(resumed).toMatchObject({ precision: "f32", hash: whole.hash });
  });
});

it("of a teacher that llama.cpp runs is refused before the teacher is asked", async () => {
  const task = await readTask(writeToyTask().file);
  const teacher = writeTextToy({ "llama.attention.sliding_window": 64 });
  const asked = { teacher, out: runFolder(), threads: 1 };
  await expect(teach(task, { ...asked, teacherPrecision: "int8" }).result).rejects.toMatchObject({
    code: "usage",
    message: `${teacher} is run by llama.cpp, which has products of its own: leave teacherPrecision out`,
    options: ["teacherPrecision"],
  });
  expect(existsSync(asked.out)).toBe(false);
  expect((await teach(task, asked).result).computed).toBe(48);
});
