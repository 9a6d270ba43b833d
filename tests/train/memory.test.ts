// The plan's bytes of activations against what a step takes on the real engine.
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { beforeAll, expect, test } from "vitest";
import { native } from "../../src/support/native.js";
import { activationBytes } from "../../src/train/memory.js";
import { type TuneOptions, tuneSettings } from "../../src/train/options.js";
import { writeToy } from "../support/toy.js";

/** Wide enough that activations are what counts. */
const toy = {
  name: "memory",
  architecture: "llama" as const,
  layers: 6,
  width: 256,
  heads: 4,
  keyValueHeads: 2,
  headWidth: 64,
  feedForward: 512,
  vocabulary: 64,
  contextLength: 2048,
  tied: true,
  epsilon: 1e-5,
  ropeBase: 10000,
  ropeScaling: null,
  ropeFactors: null,
  lora: { rank: 4, alpha: 8, rsLora: false, targets: ["q"] as ["q"] },
};
const tokens = 1500;

let file: string;
beforeAll(() => {
  file = path.join(mkdtempSync(path.join(tmpdir(), "stillroom-toy-")), "toy.gguf");
  writeToy(file, toy);
});

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Private memory of this process, without what JavaScript no longer needs. */
async function held(): Promise<number> {
  collect();
  await new Promise(setImmediate); // native objects are freed after the collection that found them
  return 1024 * Number(/RssAnon:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))![1]);
}

test
  .runIf(process.platform === "linux")
  .each([{}, { recompute: true }, { layers: [4] }, { method: "full" as const, layers: [3] }])(
  "a step with %j takes what the plan says",
  async (options: Partial<TuneOptions>) => {
    const model = await native().openModel(file, { threads: 1, variant: null });
    try {
      const { recompute, ...settings } = tuneSettings({ model: file, out: "run", ...options });
      const { targets, layers } = settings;
      const chosen = layers && { layers };
      const lora = { rank: settings.rank!, alpha: 32, dropout: 0, rsLora: false, targets: targets as ["q"], seed: 1 };
      const parameters = settings.rank
        ? model.createLora({ ...lora, ...chosen })
        : await model.createWeights({ targets, ...chosen });
      const optimizer = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 1 };
      const trainer = model.createTrainer(parameters, { ...optimizer, recompute: recompute ?? false, seed: 1 });
      const row = Int32Array.from({ length: tokens }, (_, index) => (index * 7) % 64);
      const batch = {
        tokens: row,
        segments: Int32Array.of(0, tokens, -1),
        queryPositions: Int32Array.from(row.keys()),
        queryTokens: row,
      };
      const before = await held();
      await trainer.accumulate(batch, 1, 0);
      const taken = ((await held()) - before) / (tokens * activationBytes(model.info, recompute ?? false, settings));
      expect(taken).toBeLessThan(1.05);
      expect(taken).toBeGreaterThan(0.7);
    } finally {
      await model.close();
    }
  },
);

test.runIf(process.platform === "linux")("a trainer that is closed gives gradients and moments back", async () => {
  const model = await native().openModel(file, { threads: 1, variant: null });
  try {
    const weights = await model.createWeights({ targets: ["q", "k", "v", "o", "gate", "up", "down"] });
    const optimizer = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 1 };
    // What the tests before this one freed would be taken again unseen.
    native().trimMemory();
    const before = await held();
    const trainer = model.createTrainer(weights, { ...optimizer, recompute: false, seed: 1 });
    const batch = { tokens: Int32Array.of(1, 2), segments: Int32Array.of(0, 2, -1) };
    await trainer.accumulate({ ...batch, queryPositions: Int32Array.of(1), queryTokens: Int32Array.of(3) }, 1, 0);
    await trainer.update({ learningRate: 1e-5, divisor: 1 });
    const taken = (await held()) - before;
    expect(taken).toBeGreaterThan(20 * 2 ** 20);
    await trainer.close();
    await trainer.close();
    expect((await held()) - before).toBeLessThan(taken / 3);
    expect(() => trainer.gradients()).toThrow("the trainer is closed");
    await expect(trainer.update({ learningRate: 1e-5, divisor: 1 })).rejects.toThrow("the trainer is closed");
    expect(() => trainer.state.read(0, new Uint8Array(1))).toThrow("the trainer is closed");
  } finally {
    await model.close();
  }
});
