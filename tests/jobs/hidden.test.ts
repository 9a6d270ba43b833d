// distill() that matches hidden states, on toys that take text: the distance falls, a run goes on bit for bit, caches with states and without, refusals.
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { type DistillOptions, distill, teach } from "../../src/index.js";
import { native } from "../../src/support/native.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { cutAfter, runFolder, sha, stepsOf } from "./runs.js";
import { makeToyPair } from "./toy-pair.js";

const { task, teacher, adapter, student } = await makeToyPair();
/** Of other widths than the teacher. */
const narrow = writeTextToy({}, { ...textToy, layers: 1, width: textToy.width / 2, heads: 2, feedForward: 24 });

const small = (out: string, change: Partial<DistillOptions> = {}): DistillOptions => ({
  ...{ teacher, teacherAdapter: adapter, student, out, steps: 12, batchSize: 8, learningRate: 3e-3, topK: 16 },
  ...{ threads: 1, quantize: "none", checkLimit: 5, hiddenWeight: 1, ...change },
});
const distances = (run: string) => stepsOf(run).map(({ hidden_distance }) => hidden_distance);
const mean = (values: (number | undefined)[]) => values.reduce<number>((sum, value) => sum + value! / values.length, 0);

test.each([
  ["as wide as its teacher", student],
  ["narrower than its teacher", narrow],
])("a student %s comes nearer to its states", async (_, file) => {
  const options = { student: file, steps: 80, labelWeight: 0, hiddenWeight: 3 };
  const run = await distill(task, small(runFolder(), options)).result;
  const found = distances(run.run);
  expect(found).toHaveLength(80);
  // It begins as a regression: already nearer than a projection that says nothing, whose distance is 1.
  expect(found[0]).toBeLessThan(0.9);
  expect(mean(found.slice(-10))).toBeLessThan(0.6 * found[0]!);
  // The weight is what brings it there: with next to none, only the projection and the divergence do.
  const without = await distill(task, small(runFolder(), { ...options, hiddenWeight: 1e-6 })).result;
  expect(distances(without.run)[0]).toBe(found[0]);
  expect(mean(found.slice(-10))).toBeLessThan(mean(distances(without.run).slice(-10)));
});

test.each<Partial<DistillOptions>>([
  { loss: "jsd", temperature: 2 },
  { method: "lora", rank: 4, student: narrow },
  { onPolicy: 0.5, seed: 3 },
  { onPolicy: 1, optimizer: "adamw_8bit" },
])("aborted and resumed with nothing but the folder, %j: the bytes of an undisturbed run", async (change) => {
  const [whole, out] = [runFolder(), runFolder()];
  const undisturbed = await distill(task, small(whole, change)).result;
  await cutAfter(5, (signal) => distill(task, small(out, { ...change, signal })));
  const resumed = await distill(task, { out, resume: true } as DistillOptions).result;
  const bytesOf = ({ model, run }: typeof resumed) => sha(model ?? path.join(run, "adapter.gguf"));
  expect(bytesOf(resumed)).toBe(bytesOf(undisturbed));
  expect(distances(out)).toEqual(distances(whole));
  await expect(distill(task, { out, resume: true, hiddenWeight: 2 } as DistillOptions).result).rejects.toThrow(
    /begun with other hiddenWeight \(1 there, 2 here\)/,
  );
});

test("the projection is part of no model and no adapter", async () => {
  const names = async (file: string) => (await native().tensorTypes(file)).map(({ name }) => name);
  const full = await distill(task, small(runFolder(), { steps: 2 })).result;
  expect(await names(full.model!)).toEqual(await names(student));
  const lora = await distill(task, small(runFolder(), { steps: 2, method: "lora", rank: 2 })).result;
  const { tensors } = await native().readAdapter(lora.adapter!.gguf);
  expect(tensors.map(({ name }) => name).filter((name) => !/lora_[ab]$/.test(name))).toEqual([]);
  const config = readFileSync(path.join(lora.adapter!.peft, "adapter_model.safetensors"), "latin1");
  expect(config).not.toContain("projection");
});

test("a cache of teach with states serves both kinds of runs; one without is refused with the remedy", async () => {
  const [kept, plain] = [runFolder(), runFolder()];
  const asked = { teacher, teacherAdapter: adapter, topK: 16, threads: 1 };
  const made = await teach(task, { ...asked, out: kept, hidden: true }).result;
  expect(made).toMatchObject({ hidden_width: textToy.width });
  expect(made.bytes).toBe(made.positions * (17 * 4 + 2 * textToy.width) + 2 * 32);
  // Asked for without states, it goes on with those that it keeps.
  expect(await teach(task, { ...asked, out: kept }).result).toMatchObject({ computed: 0, hidden_width: textToy.width });
  const before = sha(path.join(kept, "rows.bin"));
  const models = [];
  for (const cache of [kept, undefined]) {
    for (const hiddenWeight of [0, 1]) {
      const { model, run } = await distill(task, small(runFolder(), { hiddenWeight, ...(cache && { cache }) })).result;
      models.push(sha(model!));
      expect(distances(run).every((distance) => (distance === undefined) === (hiddenWeight === 0))).toBe(true);
    }
  }
  expect(models.slice(2)).toEqual(models.slice(0, 2));
  expect(models[0]).not.toBe(models[1]);
  expect(sha(path.join(kept, "rows.bin"))).toBe(before);
  expect(await teach(task, { ...asked, out: plain }).result).toMatchObject({ hidden_width: null });
  await expect(distill(task, small(runFolder(), { cache: plain })).result).rejects.toMatchObject({
    code: "input",
    message: expect.stringMatching(
      /keeps no hidden states; make another one, in another folder, with stillroom teach --hidden/,
    ),
  });
});

test("memory counts the projection, what it is fitted by and the states of a micro-batch", async () => {
  const bytesOf = async (change: Partial<DistillOptions>) => {
    const run = distill(task, small(runFolder(), { steps: 1, ...change }));
    let found = 0;
    for await (const event of run) if (event.type === "start") found = event.memoryBytes;
    await run.result;
    return found;
  };
  const [width, wide] = [textToy.width / 2, textToy.width];
  const token = (2 * wide + 2 * width) * 4 + 6 * wide;
  const own = { student: narrow, tokenBudget: 64 };
  expect((await bytesOf(own)) - (await bytesOf({ ...own, hiddenWeight: 0 }))).toBe(
    wide * width * 16 + width * width * 12 + 64 * token,
  );
});

test("options that leave nothing to be matched are refused before any work", async () => {
  const out = runFolder();
  const wrong = (change: object) => expect(distill(task, small(out, change as Partial<DistillOptions>)).result).rejects;
  await wrong({ hiddenWeight: -1 }).toThrow(/a number of at least 0 for hiddenWeight, received -1/);
  await wrong({ hiddenWeight: Number.NaN }).toThrow(/for hiddenWeight, received NaN/);
  await wrong({ method: "head", targets: ["head"] }).toMatchObject({
    code: "usage",
    message: expect.stringMatching(/hiddenWeight moves what lies below the head, and targets is the head alone/),
  });
  await expect(teach(task, { teacher, out: runFolder(), hidden: "yes" } as never).result).rejects.toThrow(
    /true or false for hidden, received "yes"/,
  );
});
