// tune() of the model's own weights, on a toy that takes text: what it leaves, what stays as it was, resume, and the refusals.
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, expect, test } from "vitest";
import { evaluate, exportModel, inspect, type TuneOptions, tune } from "../../src/index.js";
import { native } from "../../src/support/native.js";
import { readTask } from "../../src/task/index.js";
import { tensorsOf } from "../support/golden.js";
import { writeTextToy } from "../support/text_toy.js";
import { cutAfter, runFolder, sha, stepsOf } from "./runs.js";
import { writeToyTask } from "./toy-task.js";

let model: string;
beforeAll(() => {
  model = writeTextToy();
});

const full = (out: string, change: Partial<TuneOptions> = {}): TuneOptions => ({
  ...{ model, out, method: "full", steps: 12, batchSize: 8, learningRate: 1e-3, threads: 1 },
  ...change,
});
const losses = (out: string) => stepsOf(out).map(({ loss }) => loss);

test("a run leaves a whole model that is the best validated step's", async () => {
  const out = runFolder();
  const task = await readTask(writeToyTask().file);
  const result = await tune(task, full(out, { steps: 40, checkpointEvery: 7 })).result;
  expect(result).toMatchObject({ adapter: null, model: path.join(out, "model.gguf"), steps: 40 });
  expect(result.loss.last).toBeLessThan(result.loss.first * 0.8);
  expect(readdirSync(out).sort()).toEqual([
    ...["checkpoints", "metrics.jsonl", "model.gguf", "model.md", "run.json", "validation.jsonl"],
  ]);
  expect(await inspect(result.model!)).toMatchObject({ architecture: "llama", types: { f32: expect.any(Number) } });
  const validated = result.validation!.accuracy as { value: number };
  const { metrics } = await evaluate(task, { model: result.model!, split: "validation" });
  expect(metrics.accuracy!.value).toBe(validated.value);
  expect(result.card).toBe(path.join(out, "model.md"));
  const card = readFileSync(result.card!, "utf8");
  expect(card).toMatch(/^<!-- written by stillroom -->$/m);
  const { loss } = result.validation!;
  expect(card).toContain(`| this file | ${validated.value.toFixed(3)} [`);
  expect(card).toMatch(/accuracy on 12 validation rows of halves, by which this step was chosen, with 95 % intervals:/);
  expect(card).toContain(`The loss of their answers is ${loss.toPrecision(3)} nats a token.`);
  expect(card).toContain("| type | trained weights in f32, the others as in the base |");
  expect(card).toContain(`SHA-256 ${sha(model)}`);
  expect(card).toContain(`bytes, SHA-256 ${sha(result.model!)} |`);
  expect(card).toMatch(/\| method \| full \|(.|\n)*\| steps \| 40, best /);
  // What is made of it says how it was trained.
  const quantized = path.join(path.dirname(out), "quantized.gguf");
  const made = await exportModel({ model: result.model!, quantize: "Q8_0", out: quantized, threads: 1 });
  expect(readFileSync(made.card, "utf8")).toMatch(/\| steps \| 40, best .*\n(.|\n)*No quality was measured/);
});

test("the step whose weights are the best is written, not the last", async () => {
  const out = runFolder();
  const task = await readTask(writeToyTask().file);
  // The first steps teach, then a rate beyond all reason undoes it.
  const change = { steps: 24, evaluateEvery: 1, learningRate: 3e-2, schedule: "constant" as const };
  const result = await tune(task, full(out, change)).result;
  expect(result.best_step).toBeLessThan(24);
  const opened = await native().openModel(result.model!, { threads: 1, variant: null });
  const written = tensorsOf(await opened.createWeights({ targets: ["q", "norms"] }));
  await opened.close();
  const short = await tune(task, full(runFolder(), { ...change, steps: result.best_step })).result;
  const other = await native().openModel(short.model!, { threads: 1, variant: null });
  expect(tensorsOf(await other.createWeights({ targets: ["q", "norms"] }))).toEqual(written);
  await other.close();
});

test.each<Partial<TuneOptions>>([
  {},
  { optimizer: "adamw_8bit" },
  { layers: [1] },
  { method: "head", learningRate: 1e-2 },
])("aborted and resumed with nothing but the folder, %j: the bytes of an undisturbed run", async (change) => {
  const task = await readTask(writeToyTask().file);
  const [whole, out] = [runFolder(), runFolder()];
  const undisturbed = await tune(task, full(whole, change)).result;
  await cutAfter(5, (signal) => tune(task, full(out, { ...change, signal })));
  const resumed = await tune(task, { out, resume: true }).result;
  expect(sha(resumed.model!)).toBe(sha(undisturbed.model!));
  // And a finished run is left as it is.
  await tune(task, { out, resume: true }).result;
  expect(sha(resumed.model!)).toBe(sha(undisturbed.model!));
  await expect(tune(task, { out, resume: true, targets: ["q"], method: "full" }).result).rejects.toThrow(
    change.method === "head" ? /begun with other method/ : /begun with other .*targets/,
  );
});

test("a run with best weights and no checkpoint of a step says that it begins again, whatever they hold", async () => {
  const task = await readTask(writeToyTask().file);
  const [whole, out] = [runFolder(), runFolder()];
  const undisturbed = await tune(task, full(whole, { evaluateEvery: 2 })).result;
  await cutAfter(5, (signal) => tune(task, full(out, { evaluateEvery: 2, signal })));
  const checkpoints = path.join(out, "checkpoints");
  const names = readdirSync(checkpoints);
  expect(names.some((name) => name.startsWith("best-"))).toBe(true);
  for (const name of names) {
    if (name.startsWith("step-")) rmSync(path.join(checkpoints, name));
    else writeFileSync(path.join(checkpoints, name), "torn");
  }
  const resumed = tune(task, { out, resume: true });
  const warnings: string[] = [];
  for await (const event of resumed) if (event.type === "warning") warnings.push(event.message);
  expect(warnings).toEqual([
    `${checkpoints} holds no checkpoint of a step, and metrics.jsonl tells of steps up to 5: it stopped before its first checkpoint, or they were removed; the run begins again at step 1`,
  ]);
  expect(sha((await resumed.result).model!)).toBe(sha(undisturbed.model!));
});

test("what is not trained stays as it was, byte for byte", async () => {
  const task = await readTask(writeToyTask({ validation: false }).file);
  const open = async (file: string) => {
    const opened = await native().openModel(file, { threads: 1, variant: null });
    const tensors = tensorsOf(
      await opened.createWeights({ targets: ["q", "k", "down", "norms", "final_norm", "head", "embeddings"] }),
    );
    await opened.close();
    return new Map(tensors.map(({ name, data }) => [name, data]));
  };
  const before = await open(model);
  const changed = async (change: Partial<TuneOptions>) => {
    const after = await open((await tune(task, full(runFolder(), { steps: 2, ...change })).result).model!);
    return [...after.keys()].filter(
      (name) => !before.has(name) || after.get(name)!.some((value, i) => value !== before.get(name)![i]),
    );
  };
  const layers = (await inspect(model)).layers;
  const of = (...names: string[]) => names.map((name) => `blk.${layers - 1}.${name}.weight`);
  expect((await changed({ layers: [layers - 1] })).sort()).toEqual(
    of("attn_q", "attn_k", "ffn_down", "attn_norm", "ffn_norm").sort(),
  );
  expect((await changed({ targets: ["norms"], layers: [layers - 1] })).sort()).toEqual(
    of("attn_norm", "ffn_norm").sort(),
  );
  // The toy's head is its embeddings: trained alone, it becomes a matrix of its own.
  expect((await changed({ method: "head" })).sort()).toEqual(["output.weight", "output_norm.weight"]);
});

test("moments in 8 bits: the loss curve stays within 2 % of the one in f32", async () => {
  const task = await readTask(writeToyTask().file);
  const curves: number[][] = [];
  for (const optimizer of ["adamw", "adamw_8bit"] as const) {
    const out = runFolder();
    await tune(task, full(out, { steps: 60, optimizer })).result;
    curves.push(losses(out));
  }
  const [exact, narrow] = curves as [number[], number[]];
  const differences = exact.map((loss, step) => Math.abs(narrow[step]! / loss - 1));
  expect(Math.max(...differences)).toBeLessThan(0.02);
  expect(Math.max(...differences)).toBeGreaterThan(0);
  expect(exact.at(-1)!).toBeLessThan(exact[0]! * 0.7);
});

test("the model is exported like any other", async () => {
  const task = await readTask(writeToyTask().file);
  const { model: trained } = await tune(task, full(runFolder())).result;
  const out = path.join(path.dirname(trained!), "small.gguf");
  const exported = await exportModel({
    model: trained!,
    quantize: "Q8_0",
    check: task,
    bounds: { metricDrop: 1 },
    out,
  });
  expect(exported).toMatchObject({ adapter: null, gate: { passed: true, kl: { adapter_merged: null } } });
});

test("a run is not resumed with another method", async () => {
  const task = await readTask(writeToyTask().file);
  const out = runFolder();
  await tune(task, { model, out, steps: 1, threads: 1 }).result;
  await expect(tune(task, { out, resume: true, method: "full" }).result).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(/begun with other method \("lora" there, "full" here\)/),
  });
});

test("refusals name what is wrong", async () => {
  const task = await readTask(writeToyTask().file);
  const out = runFolder();
  await expect(tune(task, full(out, { layers: [99] })).result).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(/expected numbers from 0 to \d+ for layers, received 99/),
  });
  // Nothing was begun.
  await tune(task, full(out, { steps: 1 })).result;
  await expect(evaluate(task, { model, adapter: out, limit: 1 })).rejects.toThrow(
    /trained the model itself: give .*model\.gguf as model, and no adapter/,
  );
});
