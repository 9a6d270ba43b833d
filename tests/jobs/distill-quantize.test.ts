// The end of a run of distill on toys: last steps on rounded weights, resumed to the same bytes, and what that buys; a student under a size; refusals.
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { type DistillOptions, type DistillResult, distill, evaluate } from "../../src/index.js";
import { native } from "../../src/support/native.js";
import { readTask } from "../../src/task/index.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { cutAfter, runFolder, sha } from "./runs.js";
import { makeToyPair } from "./toy-pair.js";
import { writeToyTask } from "./toy-task.js";

const { task, teacher, adapter, student } = await makeToyPair();

const small = (out: string, change: Partial<DistillOptions> = {}): DistillOptions => ({
  ...{ teacher, teacherAdapter: adapter, student, out, batchSize: 8, learningRate: 3e-3, topK: 16, threads: 1 },
  ...{ steps: 12, quantize: "Q4_0", checkLimit: 40, ...change },
});
const validated = ({ validation }: DistillResult) => (validation!.log_loss as { value: number }).value;
const logLoss = async (model: string) =>
  (await evaluate(task, { model, split: "validation", threads: 1 })).metrics.log_loss!.value;

test("the last steps train the model that is exported, which is better for it than quantising at the end", async () => {
  const run = (quantizeAware: number) =>
    distill(task, small(runFolder(), { steps: 160, evaluateEvery: 20, quantizeAware })).result;
  const [plain, aware] = [await run(0), await run(0.5)];
  // What was validated last or best is, number for number, the exported file.
  expect(await logLoss(aware.quantized!)).toBeCloseTo(validated(aware), 6);
  expect(await logLoss(plain.model!)).toBeCloseTo(validated(plain), 6);
  expect(Math.abs((await logLoss(aware.model!)) - validated(aware))).toBeGreaterThan(1e-4);
  const lost = { plain: await logLoss(plain.quantized!), aware: await logLoss(aware.quantized!) };
  expect(lost.aware, JSON.stringify(lost)).toBeLessThan(lost.plain);
  // No step before the rounding is the best one.
  expect(aware.best_step).toBeGreaterThan(80);
  // The weights that they are rounded from lie nearer to nothing that is bounded.
  expect(aware.gate!.bounds.merged_quantized_kl).toBeNull();
});

test.each<Partial<DistillOptions>>([
  { quantizeAware: 6 },
  { quantizeAware: 0.5, optimizer: "adamw_8bit", recompute: true, layers: [0], targets: ["down", "q"] },
  { quantizeAware: 0.5, onPolicy: 0.5, loss: "reverse_kl" },
])("cut off before and after the rounding begins, %j: the bytes of an undisturbed run", async (change) => {
  const [whole, out] = [runFolder(), runFolder()];
  const undisturbed = await distill(task, small(whole, change)).result;
  // 6: the step after which the rounding begins.
  for (const at of [4, 6, 9])
    await cutAfter(at, (signal) => distill(task, { ...small(out, change), signal, resume: at > 4 }));
  const resumed = await distill(task, { out, resume: true } as DistillOptions).result;
  expect(sha(resumed.model!)).toBe(sha(undisturbed.model!));
  expect(sha(resumed.quantized!)).toBe(sha(undisturbed.quantized!));
  await expect(distill(task, { out, resume: true, quantizeAware: 3 } as DistillOptions).result).rejects.toThrow(
    /begun with other quantizeAware \([\d.]+ there, 3 here\)/,
  );
});

test("the exported matrices are the last weights rounded, with no importance matrix", async () => {
  const result = await distill(task, small(runFolder(), { quantizeAware: 1 })).result;
  const again = path.join(result.run, "again.gguf");
  await native().quantize(result.model!, again, { type: "Q4_0", importance: null, threads: 1 });
  expect(sha(again)).toBe(sha(result.quantized!));
});

test("a student under a size", async () => {
  const size = 60_000;
  const result = await distill(task, small(runFolder(), { quantize: undefined, size })).result;
  expect(statSync(result.quantized!).size).toBeLessThanOrEqual(size);
  expect(result.comparison.at(-1)).toMatchObject({ name: "quantized", bytes: statSync(result.quantized!).size });
  const { distillation } = JSON.parse(readFileSync(path.join(result.run, "run.json"), "utf8"));
  expect(distillation).toMatchObject({ size });
  expect(distillation.quantize).toBeUndefined();
});

test("a finished run ends anew under a size, and without a quantised student leaves none behind", async () => {
  const out = runFolder();
  const files = () => readdirSync(out).filter((name) => name.startsWith("quantized."));
  await distill(task, small(out)).result;
  expect(files()).toEqual(["quantized.gguf", "quantized.md"]);
  // Nothing but the folder, and what is to be otherwise.
  const ending = (change: object) => distill(task, { out, resume: true, ...change } as DistillOptions).result;
  const size = 60_000;
  const under = await ending({ size });
  expect(statSync(under.quantized!).size).toBeLessThanOrEqual(size);
  expect((await ending({ quantize: "none" })).quantized).toBeNull();
  expect(files()).toEqual([]);
});

test("a size or a type that the student cannot have is refused before the teacher is asked", async () => {
  const begun = async (change: Partial<DistillOptions>, of = task) => {
    const out = runFolder();
    const events: string[] = [];
    const run = distill(of, small(out, { quantize: undefined, ...change }));
    const listened = (async () => {
      for await (const { type } of run) events.push(type);
    })();
    const error = await run.result.catch((found) => found);
    await expect(listened).rejects.toThrow();
    expect(events).not.toContain("step");
    const left = existsSync(out) ? readdirSync(out) : [];
    expect(left.filter((name) => name.includes("quantized"))).toEqual([]);
    return { error, asked: events.includes("teach") };
  };
  const few = await begun({ size: 1000 });
  expect(few).toMatchObject({ asked: false, error: { code: "usage", options: ["size"] } });
  const named = /^no types make a file of 1000 bytes: the smallest that they make has (\d+); give at least --size \1, /;
  expect(few.error.message).toMatch(named);
  const [, smallest] = named.exec(few.error.message)!;
  const result = await distill(task, small(runFolder(), { quantize: undefined, size: Number(smallest) })).result;
  expect(statSync(result.quantized!).size).toBe(Number(smallest));
  // Without a label there is no importance matrix, and nothing to measure on.
  const { file, folder } = writeToyTask({ validation: false });
  writeFileSync(path.join(folder, "train.jsonl"), '{"text":"abc"}\n{"text":"xyz"}\n');
  const unlabelled = await readTask(file);
  const wide = { ...textToy, layers: 1, width: 256, heads: 4, headWidth: 64, feedForward: 256 };
  const answers = { answers: "teacher" as const, student: writeTextToy({}, wide) };
  const type = await begun({ ...answers, quantize: "IQ2_XXS" }, unlabelled);
  expect(type).toMatchObject({ asked: false, error: { code: "usage" } });
  expect(type.error.message).toMatch(/cannot be quantised to IQ2_XXS without an importance matrix/);
  const size = await begun({ ...answers, size: 10 ** 6 }, unlabelled);
  expect(size.error.message).toBe(
    "size measures on validation rows or labelled training rows, and halves has none: give quantize a type",
  );
});

test.each<[Partial<DistillOptions>, RegExp]>([
  [{ quantizeAware: -1 }, /expected a share below 1, or a number of steps for quantizeAware, received -1/],
  [{ quantizeAware: 1.5 }, /expected a share below 1, or a number of steps for quantizeAware, received 1\.5/],
  [{ quantizeAware: 13 }, /expected at most the 12 steps of the run for quantizeAware, received 13/],
  [{ quantizeAware: 0.5, quantize: "none" }, /give quantize a type/],
  [{ quantizeAware: 0.5, quantize: undefined, size: 10 ** 6 }, /give quantize a type/],
  [{ quantizeAware: 0.5, method: "lora" }, /it needs method full, not lora/],
  [{ quantizeAware: 0.5, patience: 3 }, /patience may end a run before the steps/],
  [{ size: 10 ** 6 }, /leave out quantize/],
  [{ quantizeAware: 0.5, targets: ["head"] }, /give targets both of head and embeddings, or neither/],
])("refuses %j", async (change, message) => {
  await expect(distill(task, small(runFolder(), change)).result).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(message),
  });
});
