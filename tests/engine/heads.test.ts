// A task's own head in the engine: losses and their gradients to the outputs against PyTorch (tests/golden/heads.py).
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type HeadLoss, type NativeModel, native } from "../../src/support/native.js";
import { writeTextToy } from "../support/text_toy.js";

interface Case {
  name: string;
  loss: HeadLoss;
  outputs: number[];
  targets: number[];
  parameters: number[];
  value: number;
  gradient: number[];
}

const { cases } = JSON.parse(readFileSync(new URL("../golden/heads.json", import.meta.url), "utf8")) as {
  cases: Case[];
};
const adapter = { rank: 1, alpha: 1, dropout: 0, rsLora: false, targets: [], seed: 0 };
const moments = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 0, seed: 0, recompute: false };
/** One text of three tokens that asks at its end. */
const batch = {
  tokens: Int32Array.of(1, 2, 3),
  segments: Int32Array.of(0, 3, -1),
  queryPositions: Int32Array.of(2),
  queryTokens: Int32Array.of(0),
};
let model: NativeModel;

beforeAll(async () => {
  model = await native().openModel(writeTextToy(), { threads: 1, variant: null });
});
afterAll(() => model.close());

it.each(cases)("$name, as PyTorch", async ({ loss, outputs, targets, parameters, value, gradient }) => {
  const head = { outputs: outputs.length, loss, parameters: Float32Array.from(parameters) };
  const lora = model.createLora({ ...adapter, head });
  // Without weights, the outputs are the biases.
  lora.load([{ name: "score.bias", shape: [1, outputs.length], data: Float32Array.from(outputs) }]);
  expect([...(await model.answer(batch, lora))]).toEqual(outputs);
  const asked = { ...batch, targets: Float32Array.from(targets) };
  expect(await model.answerLoss(asked, lora)).toBeCloseTo(value, 9);
  const trainer = model.createTrainer(lora, moments);
  expect(await trainer.accumulate(asked, 0, 0)).toEqual({
    lossSum: await model.answerLoss(asked, lora),
    hiddenSum: 0,
    count: 1,
    finite: true,
  });
  const bias = trainer.gradients().find(({ name }) => name === "score.bias")!;
  for (const [output, slope] of gradient.entries()) expect(bias.data[output]).toBeCloseTo(slope, 6);
});

it("knows its shapes, its options and a head that is none", async () => {
  const head = { outputs: 3, loss: "softmax" as const, parameters: Float32Array.of() };
  const lora = model.createLora({ ...adapter, head });
  expect(lora.options.head).toEqual(head);
  expect(lora.shapes).toEqual([
    { name: "score.weight", shape: [3, 32] },
    { name: "score.bias", shape: [1, 3] },
  ]);
  expect(() => model.createLora(adapter)).toThrow(/expected at least one of q, k/);
  expect(() => model.createLora({ ...adapter, head: { ...head, loss: "hinge" as never } })).toThrow(
    /for loss, received "hinge"/,
  );
  const plain = model.createLora({ ...adapter, targets: ["q"] });
  await expect(model.answer(batch, plain)).rejects.toThrow(/expected an adapter with a head for lora/);
  await expect(model.answerLoss(batch, lora)).rejects.toMatchObject({ message: "expected 1 targets, received 0" });
});
