// AdamW parity: five clipped steps with decay against torch.optim.AdamW and clip_grad_norm_ (tests/golden/gradients/gradients.py), for an
// adapter and for all weights of a model.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import { native } from "../../src/support/native.js";
import { everyWeight } from "../../src/train/index.js";
import { distances, optimizerGolden, plainBatch, tensorsOf, unpackTensors } from "../support/golden.js";
import { toyLora, writeToy } from "../support/toy.js";

const tolerance = 1e-4;
const folder = mkdtempSync(path.join(tmpdir(), "stillroom-optimizer-"));
afterAll(() => rmSync(folder, { recursive: true }));

it.each(["optimizer", "optimizer-full"] as const)(
  "%s: the weights of PyTorch's AdamW after five steps, clipped and not",
  async (name) => {
    const golden = optimizerGolden(name);
    const { learningRate, ...options } = golden.options;
    const file = path.join(folder, `${name}.gguf`);
    writeToy(file, golden.toy);
    const model = await native().openModel(file, { threads: 1, variant: null });
    try {
      const adapter = toyLora(golden.toy);
      const parameters =
        name === "optimizer" ? model.createLora(adapter.options) : await model.createWeights({ targets: everyWeight });
      if ("load" in parameters) parameters.load(adapter.tensors);
      const trainer = model.createTrainer(parameters, { ...options, recompute: false, seed: 0 });
      for (const [index, step] of golden.steps.entries()) {
        const { lossSum, count } = await trainer.accumulate(plainBatch(step.rows), index, 0);
        const { gradientNorm } = await trainer.update({ learningRate, divisor: count });
        expect(Math.abs(lossSum / count / step.loss - 1), `loss of step ${index}`).toBeLessThan(tolerance);
        expect(Math.abs(gradientNorm / step.gradientNorm - 1), `gradient norm of step ${index}`).toBeLessThan(
          tolerance,
        );
      }
      const far = [...distances(tensorsOf(parameters), unpackTensors(golden.weights))].filter(
        ([, d]) => !(d < tolerance),
      );
      expect(far).toEqual([]);
    } finally {
      await model.close();
    }
  },
);
