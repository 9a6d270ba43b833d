// Scores do not depend on what else is in the batch, and are llama.cpp's: the bounds of docs/numerics.md, on SmolLM2 and real rows.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect } from "vitest";
import { readRows } from "../../src/dataset/index.js";
import { type Choices, scoreChoices } from "../../src/evaluate/choices.js";
import { openModel } from "../../src/model/index.js";
import { chooseExamples, compilePrompt } from "../../src/prompt/index.js";
import { native } from "../../src/support/native.js";
import { Random } from "../../src/support/random.js";
import { readTask } from "../../src/task/index.js";
import { encodeAnswer, encodePrompt, packChoices, sharedPrefix } from "../../src/tokens/index.js";
import { needs, sharedPath } from "../support/needs.js";

/** Nats of log p of a label, as docs/numerics.md publishes them. */
const bounds = { batch: 1e-4, exactWeights: 5e-4, quantisedWeights: 0.5 };
const testShared = needs("shared");
const smollm2 = sharedPath("models", "SmolLM2-135M-Instruct.Q4_1.gguf");

type Model = Awaited<ReturnType<typeof openModel>>;

/** SST-2 rows behind four examples, with the labels to choose from. */
async function fewShot(model: Model, limit: number): Promise<Choices[]> {
  const task = await readTask("examples/sst2/task.yaml", { data: sharedPath("data/sst2") });
  const train = (await readRows(task, "train", { limit: 200 })).rows;
  const labels = [
    { value: "0", text: "negative" },
    { value: "1", text: "positive" },
  ];
  const examples = chooseExamples(train, { shots: 4, seed: 0, labels });
  const prompt = compilePrompt(task, model.template);
  const continuations = [...labels.map(({ text }) => text), "neither good nor bad"].map((text) =>
    encodeAnswer(model.tokenizer, prompt.renderAnswer(text)),
  );
  const { rows } = await readRows(task, "test", { limit });
  return rows.map((row) => ({
    prompt: encodePrompt(model.tokenizer, prompt.render(row, examples)),
    continuations,
  }));
}

const inBatches = (model: Model, rows: Choices[], tokenBudget: number) =>
  scoreChoices({ model, lora: null, tokenBudget }, rows, () => undefined);

function apart(a: readonly Float64Array[], b: readonly Float64Array[]): number {
  expect(a.length).toBe(b.length);
  return Math.max(...a.flatMap((sums, row) => [...sums].map((sum, label) => Math.abs(sum - b[row]![label]!))));
}

/** llama.cpp's sums, every row in a batch of its own. */
async function byLlama(file: string, rows: Choices[]): Promise<Float64Array[]> {
  const runner = await native().openRunner(file, { threads: 2, adapter: null, contextTokens: 1024, sequences: 4 });
  const sums: Float64Array[] = [];
  for (const { prompt, continuations } of rows) {
    const { batch, ranges } = packChoices([prompt], [continuations]);
    const scores = await runner.score(batch);
    sums.push(
      Float64Array.from(continuations, (_, at) =>
        scores.subarray(ranges[2 * at], ranges[2 * at + 1]).reduce((sum, one) => sum + one, 0),
      ),
    );
  }
  await runner.close();
  return sums;
}

testShared(
  "a row's scores alone, in small and large batches, and in another order",
  async () => {
    const model = await openModel(smollm2, { threads: 2 });
    const rows = await fewShot(model, 8);
    const alone = await inBatches(model, rows, 1);
    for (const budget of [300, 4096])
      expect(apart(await inBatches(model, rows, budget), alone)).toBeLessThan(bounds.batch);
    const order = [...rows.keys()];
    new Random(7).shuffle(order);
    const shuffled = await inBatches(
      model,
      order.slice(0, 5).map((place) => rows[place]!),
      4096,
    );
    expect(
      apart(
        shuffled,
        order.slice(0, 5).map((place) => alone[place]!),
      ),
    ).toBeLessThan(bounds.batch);
    expect(apart(alone.slice(0, 4), await byLlama(smollm2, rows.slice(0, 4)))).toBeLessThan(bounds.quantisedWeights);
    await model.close();
  },
  120_000,
);

testShared(
  "with f32 weights, llama.cpp's scores row by row",
  async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "stillroom-f32-"));
    try {
      const file = path.join(folder, "f32.gguf");
      await native().quantize(smollm2, file, { type: "F32", importance: null, threads: 2 });
      const model = await openModel(file, { threads: 2 });
      const rows = await fewShot(model, 4);
      expect(apart(await inBatches(model, rows, 4096), await byLlama(file, rows))).toBeLessThan(bounds.exactWeights);
      await model.close();
    } finally {
      await rm(folder, { recursive: true });
    }
  },
  120_000,
);

testShared(
  "with one beginning that is shared and no other, a row's scores are the same bits alone, in any batch and in any order",
  async () => {
    const model = await openModel(smollm2, { threads: 2 });
    const rows = await fewShot(model, 12);
    const prompts = rows.map(({ prompt }) => prompt);
    const length = prompts.slice(1).reduce((least, prompt) => Math.min(least, sharedPrefix(prompts[0]!, prompt)), 1e9);
    const front = prompts[0]!.slice(0, length);
    expect(length).toBeGreaterThan(50);
    const score = (some: Choices[], tokenBudget?: number) =>
      scoreChoices({ model, lora: null, tokenBudget, front }, some, () => undefined);
    const alone = await score(rows, 1);
    expect(await score(rows)).toEqual(alone);
    expect(await score(rows, 400)).toEqual(alone);
    const order = [7, 2, 11, 0, 5];
    expect(
      await score(
        order.map((row) => rows[row]!),
        1000,
      ),
    ).toEqual(order.map((row) => alone[row]!));
    expect(apart(alone, await inBatches(model, rows, 4096))).toBeLessThan(bounds.batch);
    await model.close();
  },
  120_000,
);
