// Gradient parity: loss and every LoRA gradient of the toys against PyTorch + PEFT (tests/golden/gradients/gradients.py).
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type NativeBatch, type NativeTensor, native } from "../../src/support/native.js";
import {
  distances,
  forestBatch,
  type GradientGolden,
  gradientGoldens,
  plainBatch,
  unpackTensors,
} from "../support/golden.js";
import { toyLora, writeToy } from "../support/toy.js";

/** ‖g - g'‖ / ‖g'‖ per tensor, and the relative difference of the loss. */
const tolerance = 1e-4;

const folder = mkdtempSync(path.join(tmpdir(), "stillroom-gradients-"));
afterAll(() => rmSync(folder, { recursive: true }));

const layouts = { plain: plainBatch, forest: forestBatch };
const trainerOptions = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 0, seed: 0 };

async function gradientsOf(golden: GradientGolden, batches: NativeBatch[], variant: string, recompute: boolean) {
  const file = path.join(folder, `${golden.name}.gguf`);
  writeToy(file, golden);
  const model = await native().openModel(file, { threads: 2, variant });
  try {
    const { options, tensors } = toyLora(golden);
    const lora = model.createLora(options);
    lora.load(tensors);
    const trainer = model.createTrainer(lora, { ...trainerOptions, recompute });
    let [lossSum, count] = [0, 0];
    for (const [index, batch] of batches.entries()) {
      const done = await trainer.accumulate(batch, 0, index);
      expect(done.finite).toBe(true);
      lossSum += done.lossSum;
      count += done.count;
    }
    return { lossSum, count, gradients: trainer.gradients() };
  } finally {
    await model.close();
  }
}

/** Names of the tensors that are not within the tolerance. */
function farFrom(got: NativeTensor[], want: NativeTensor[]): string[] {
  return [...distances(got, want)].filter(([, distance]) => !(distance < tolerance)).map(([name]) => name);
}

function check(golden: GradientGolden, ours: Awaited<ReturnType<typeof gradientsOf>>): void {
  expect(ours.count).toBe(golden.labelCount);
  expect(Math.abs(ours.lossSum / golden.lossSum - 1)).toBeLessThan(tolerance);
  const wanted = unpackTensors(golden.gradients);
  expect(ours.gradients.map((tensor) => tensor.name).sort()).toEqual(wanted.map((tensor) => tensor.name).sort());
  expect(farFrom(ours.gradients, wanted)).toEqual([]);
}

for (const golden of gradientGoldens()) {
  describe(`gradients of ${golden.name}`, () => {
    for (const variant of native().variants) {
      for (const recompute of [false, true]) {
        for (const [layout, pack] of Object.entries(layouts)) {
          it(`${variant}, ${recompute ? "recomputed" : "kept"} activations, ${layout} rows`, async () => {
            check(golden, await gradientsOf(golden, [pack(golden.rows)], variant, recompute));
          });
        }
      }
    }
    it("are the same when each row is a micro-batch of its own", async () => {
      const batches = golden.rows.map((row) => plainBatch([row]));
      check(golden, await gradientsOf(golden, batches, native().variants[0]!, false));
    });
  });
}

it("a gradient that is wrong in one element is found out", async () => {
  const golden = gradientGoldens().find((toy) => toy.name === "qwen3")!;
  const { gradients } = await gradientsOf(golden, [plainBatch(golden.rows)], native().variants[0]!, false);
  const planted = gradients.find((tensor) => tensor.name === "blk.1.attn_k.lora_a")!;
  const largest = planted.data.reduce(
    (best, value, i) => (Math.abs(value) > Math.abs(planted.data[best]!) ? i : best),
    0,
  );
  planted.data[largest]! *= 1.002;
  expect(farFrom(gradients, unpackTensors(golden.gradients))).toEqual(["blk.1.attn_k.lora_a"]);
});
