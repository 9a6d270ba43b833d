// Adapters through the real engine: written as a PEFT folder and as a GGUF, loaded again, and the same in all they compute.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadAdapter, writeAdapterFolder } from "../../src/adapter/index.js";
import { type NativeModel, native } from "../../src/support/native.js";
import { type Toy, toyLora, writeToy } from "../support/toy.js";

const toy: Toy = {
  name: "adapter toy",
  architecture: "llama",
  layers: 2,
  width: 32,
  heads: 4,
  keyValueHeads: 2,
  headWidth: 8,
  feedForward: 48,
  vocabulary: 40,
  contextLength: 64,
  tied: true,
  epsilon: 1e-5,
  ropeBase: 10000,
  ropeScaling: null,
  ropeFactors: null,
  lora: {
    rank: 3,
    alpha: 6,
    rsLora: false,
    targets: ["q", "k", "v", "o", "gate", "up", "down", "head", "embeddings"],
  },
};
const batch = {
  tokens: Int32Array.of(3, 7, 1, 39, 12),
  segments: Int32Array.of(0, 5, -1),
  queryPositions: Int32Array.of(1, 2, 4),
  queryTokens: Int32Array.of(1, 39, 5),
};

let folder: string;
let model: NativeModel;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "stillroom-engine-"));
  writeToy(path.join(folder, "toy.gguf"), toy);
  model = await native().openModel(path.join(folder, "toy.gguf"), { threads: 1, variant: null });
});
afterAll(async () => {
  await model?.close();
  await rm(folder, { recursive: true });
});

function trained() {
  const { options, tensors } = toyLora(toy);
  const lora = model.createLora(options);
  lora.load(tensors);
  return lora;
}

describe("an adapter that was stored", () => {
  it("scores from its PEFT folder exactly as in memory", async () => {
    const lora = trained();
    const run = path.join(folder, "run");
    const adapter = { tensors: lora.tensors(), options: lora.options, info: model.info, baseModel: "toy" };
    await writeAdapterFolder({ folder: path.join(run, "adapter"), ...adapter });
    const loaded = await loadAdapter(model, run);
    expect(loaded.tensors()).toEqual(lora.tensors());
    const scores = await model.score(batch, loaded);
    expect(scores).toEqual(await model.score(batch, lora));
    expect(scores).not.toEqual(await model.score(batch, null));
  });

  it("scores from its GGUF exactly as in memory", async () => {
    const lora = trained();
    const file = path.join(folder, "adapter.gguf");
    await native().writeAdapter(file, lora.tensors(), { architecture: "llama", alpha: 6, name: "toy" });
    const loaded = await loadAdapter(model, file);
    expect([...loaded.options.targets].sort()).toEqual([...lora.options.targets].sort());
    expect(await model.score(batch, loaded)).toEqual(await model.score(batch, lora));
  });

  it("of some layers is stored and loaded as such", async () => {
    const { options } = toyLora(toy);
    const lora = model.createLora({ ...options, targets: ["q", "down"], layers: [1] });
    for (const [index, { shape }] of lora.shapes.entries()) {
      lora.write(
        index,
        Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => Math.sin(i + index)),
      );
    }
    const place = path.join(folder, "upper");
    const adapter = { tensors: lora.tensors(), options: lora.options, info: model.info, baseModel: "toy" };
    await writeAdapterFolder({ folder: place, ...adapter });
    const config = JSON.parse(await readFile(path.join(place, "adapter_config.json"), "utf8"));
    expect(config.layers_to_transform).toEqual([1]);
    const loaded = await loadAdapter(model, place);
    expect(loaded.options.layers).toEqual([1]);
    expect(loaded.shapes.map(({ name }) => name)).toEqual(
      ["blk.1.attn_q", "blk.1.ffn_down"].flatMap((name) => [`${name}.lora_a`, `${name}.lora_b`]),
    );
    expect(await model.score(batch, loaded)).toEqual(await model.score(batch, lora));
  });

  it("is refused for another model", async () => {
    const other = path.join(folder, "other.gguf");
    writeToy(other, { ...toy, feedForward: 64 });
    const larger = await native().openModel(other, { threads: 1, variant: null });
    try {
      await expect(loadAdapter(larger, path.join(folder, "adapter.gguf"))).rejects.toMatchObject({ code: "input" });
      await expect(loadAdapter(larger, path.join(folder, "run"))).rejects.toMatchObject({ code: "input" });
    } finally {
      await larger.close();
    }
  });
});
