// Whole weights: the gradients of every weight of the toys against PyTorch (tests/golden/gradients/gradients.py), what the engine computes
// with once they are under training, and the GGUF that they are written as.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  type NativeBatch,
  type NativeModel,
  type NativeWeights,
  native,
  type WeightTarget,
} from "../../src/support/native.js";
import { everyWeight } from "../../src/train/index.js";
import {
  distances,
  forestBatch,
  type GradientGolden,
  gradientGoldens,
  plainBatch,
  tensorsOf,
  unpackTensors,
} from "../support/golden.js";
import { writeToy } from "../support/toy.js";

/** ‖g - g'‖ / ‖g'‖ per tensor, and the relative difference of the loss. */
const tolerance = 1e-4;
const folder = mkdtempSync(path.join(tmpdir(), "stillroom-weights-"));
afterAll(() => rmSync(folder, { recursive: true }));
const goldens = gradientGoldens("gradients/full");
const named = (name: string) => goldens.find((golden) => golden.name === name)!;
const layouts = { plain: plainBatch, forest: forestBatch };
const optimizer = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 0, seed: 0 };

async function withToy<T>(
  golden: GradientGolden,
  body: (model: NativeModel) => Promise<T>,
  variant: string | null = null,
) {
  const file = path.join(folder, `${golden.name}.gguf`);
  writeToy(file, golden);
  const model = await native().openModel(file, { threads: 2, variant });
  try {
    return await body(model);
  } finally {
    await model.close();
  }
}

function gradientsOf(golden: GradientGolden, batches: NativeBatch[], variant: string | null, recompute: boolean) {
  return withToy(
    golden,
    async (model) => {
      const trainer = model.createTrainer(await model.createWeights({ targets: everyWeight }), {
        ...optimizer,
        recompute,
      });
      let lossSum = 0;
      for (const [index, batch] of batches.entries()) lossSum += (await trainer.accumulate(batch, 0, index)).lossSum;
      return { lossSum, gradients: trainer.gradients() };
    },
    variant,
  );
}

/** Names of the tensors that are not within the tolerance. */
function farFrom({ gradients }: Awaited<ReturnType<typeof gradientsOf>>, golden: GradientGolden): string[] {
  const wanted = unpackTensors(golden.gradients);
  expect(gradients.map(({ name }) => name).sort()).toEqual(wanted.map(({ name }) => name).sort());
  return [...distances(gradients, wanted)].filter(([, distance]) => !(distance < tolerance)).map(([name]) => name);
}

for (const golden of goldens) {
  describe(`gradients of all weights of ${golden.name}`, () => {
    for (const variant of native().variants) {
      for (const recompute of [false, true]) {
        for (const [layout, pack] of Object.entries(layouts)) {
          it(`${variant}, ${recompute ? "recomputed" : "kept"} activations, ${layout} rows`, async () => {
            const ours = await gradientsOf(golden, [pack(golden.rows)], variant, recompute);
            expect(Math.abs(ours.lossSum / golden.lossSum - 1)).toBeLessThan(tolerance);
            expect(farFrom(ours, golden)).toEqual([]);
          });
        }
      }
    }
    it("are the same when each row is a micro-batch of its own", async () => {
      const batches = golden.rows.map((row) => plainBatch([row]));
      expect(farFrom(await gradientsOf(golden, batches, null, false), golden)).toEqual([]);
    });
  });
}

it("a gradient that is wrong in one element is found out", async () => {
  const golden = named("qwen2-tied");
  const ours = await gradientsOf(golden, [plainBatch(golden.rows)], null, false);
  for (const name of ["blk.1.attn_q.bias", "token_embd.weight"]) {
    const { data } = ours.gradients.find((tensor) => tensor.name === name)!;
    const largest = data.reduce((best, value, i) => (Math.abs(value) > Math.abs(data[best]!) ? i : best), 0);
    data[largest]! *= 1.002;
  }
  expect(farFrom(ours, golden).sort()).toEqual(["blk.1.attn_q.bias", "token_embd.weight"]);
});

/** Log-probabilities after one large step on these weights, and those of the file that it writes. */
async function stepAndSave(golden: GradientGolden, targets: WeightTarget[], layers?: number[]) {
  const batch = plainBatch(golden.rows);
  const file = path.join(folder, `${golden.name}-trained.gguf`);
  const trained = await withToy(golden, async (model) => {
    const before = await model.score(batch, null);
    const weights = await model.createWeights({ targets, ...(layers && { layers }) });
    expect(await model.score(batch, null)).toEqual(before);
    const trainer = model.createTrainer(weights, { ...optimizer, recompute: false });
    const { count } = await trainer.accumulate(batch, 1, 0);
    await trainer.update({ learningRate: 0.05, divisor: count });
    await weights.save(file);
    const after = await model.score(batch, null);
    expect(after).not.toEqual(before);
    return { after, weights: tensorsOf(weights) };
  });
  const saved = await native().openModel(file, { threads: 1, variant: null });
  const scores = await saved.score(batch, null);
  await saved.close();
  return { ...trained, file, saved: scores };
}

it.each<[string, WeightTarget[], number[]?]>([
  ["qwen2", everyWeight],
  ["llama-tied", everyWeight],
  ["llama-tied", ["head", "final_norm"]],
  ["qwen2-tied", ["embeddings"]],
  ["qwen3", ["norms", "down"], [1]],
])("%s with %j is written as a GGUF that computes the same", async (name, targets, layers) => {
  const { after, saved, file, weights } = await stepAndSave(named(name), targets, layers);
  expect(saved).toEqual(after);
  const info = await native().inspect(file);
  expect(info.tiedEmbeddings).toBe(name.endsWith("tied") && targets === everyWeight);
  if (layers)
    expect(weights.map((tensor) => tensor.name).sort()).toEqual(
      ["attn_k_norm", "attn_norm", "attn_q_norm", "ffn_down", "ffn_norm"].map((w) => `blk.1.${w}.weight`),
    );
});

it("parameters are read and written in stretches", () =>
  withToy(named("llama"), async (model) => {
    const lora = model.createLora({
      rank: 2,
      alpha: 2,
      dropout: 0,
      rsLora: false,
      targets: ["q"],
      layers: [1],
      seed: 0,
    });
    expect(lora.shapes.map(({ name }) => name)).toEqual(["blk.1.attn_q.lora_a", "blk.1.attn_q.lora_b"]);
    for (const parameters of [lora, await model.createWeights({ targets: ["q"] })]) {
      const index = 1;
      const [rows, columns] = parameters.shapes[index]!.shape;
      const values = Float32Array.from({ length: rows * columns }, (_, i) => i + 0.5);
      parameters.write(index, values.subarray(0, 7));
      parameters.write(index, values.subarray(7), 7);
      const part = new Float32Array(5);
      parameters.read(index, part, 4);
      expect(part).toEqual(values.subarray(4, 9));
      expect(tensorsOf(parameters)[index]!.data).toEqual(values);
      expect(() => parameters.read(index, values, 1)).toThrow(/for into, received/);
    }
  }));

it("refuses what cannot be", () =>
  withToy(named("llama"), async (model) => {
    const of = (options: Parameters<NativeModel["createWeights"]>[0]) => model.createWeights(options);
    await expect(of({ targets: [] })).rejects.toThrow("for targets, received none");
    await expect(of({ targets: ["biases"] })).rejects.toThrow(
      "expected names that the model has for targets, received biases, of which it has none; it has q, k, v, o, gate, up, down, norms, head, final_norm, embeddings",
    );
    await expect(of({ targets: ["q"], layers: [2] })).rejects.toThrow(
      "expected numbers from 0 to 1 for layers, received 2",
    );
    const lora = model.createLora({ rank: 2, alpha: 2, dropout: 0, rsLora: false, targets: ["q"], seed: 0 });
    const weights: NativeWeights = await of({ targets: ["q"] });
    await expect(of({ targets: ["k"] })).rejects.toThrow("under training already");
    // An adapter of the model as it was: its place is taken by the one with the weights.
    expect(() => model.createTrainer(lora, { ...optimizer, recompute: false })).toThrow("was made for another model");
    await expect(weights.save(model.info.path)).rejects.toThrow("must not replace its base");
  }));
