// What the student writes with in on-policy steps: rounded products, where that is asked for.
import { existsSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { type DistillOptions, distill } from "../../src/index.js";
import { writingBytes } from "../../src/jobs/on-policy.js";
import { native } from "../../src/support/native.js";
import { runFolder, sha } from "./runs.js";
import { makeToyPair } from "./toy-pair.js";

const { task, teacher, adapter, student } = await makeToyPair();

const asked = (out: string, change: Partial<DistillOptions> = {}): DistillOptions => ({
  ...{ teacher, teacherAdapter: adapter, student, out, steps: 40, batchSize: 8, learningRate: 3e-3, topK: 16 },
  ...{ threads: 1, quantize: "none", checkLimit: 5, onPolicy: 1, ...change },
});

describe.skipIf(native().variants.length === 1)("answers written with int8 products", () => {
  it("are learnt, and are not all those of exact ones", async () => {
    const [out, exact] = [runFolder(), runFolder()];
    const { loss, model } = await distill(task, asked(out, { onPolicyPrecision: "int8" })).result;
    expect(loss.last).toBeLessThan(loss.first * 0.9);
    const other = await distill(task, asked(exact)).result;
    expect(sha(model!)).not.toBe(sha(other.model!));
    await expect(distill(task, asked(out, { resume: true, onPolicyPrecision: "f32" })).result).rejects.toThrow(
      /begun with other onPolicyPrecision \("int8" there, "f32" here\)/,
    );
  });

  it("are refused before the teacher is asked, where the kernels have no such products", async () => {
    const out = runFolder();
    const slow = { variant: native().variants.at(-1)!, onPolicy: 0.5, onPolicyPrecision: "int8" as const };
    await expect(distill(task, asked(out, slow)).result).rejects.toThrow(/for precision, received "int8", .* lacks/);
    expect(existsSync(path.join(out, "teacher"))).toBe(false);
  });
});

it("takes memory for the rounded weights", async () => {
  const { parameters } = await native().inspect(student);
  expect(writingBytes({ parameters } as never, "int8")).toBe(parameters * 1.125);
  expect(writingBytes({ parameters } as never, undefined)).toBe(parameters * 4);
  expect(writingBytes({ parameters } as never, "bf16")).toBe(0);
});

it("is an option of on-policy steps, by name", async () => {
  const wrong = (change: Partial<DistillOptions>) => distill(task, asked(runFolder(), change)).result;
  await expect(wrong({ onPolicy: 0, onPolicyPrecision: "int8" })).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(/give onPolicy too/),
  });
  await expect(wrong({ cache: runFolder() })).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(/no cache is kept: leave cache out, or give onPolicy a share below 1/),
  });
});
