// Adapter folders against PEFT's own (tests/golden/adapter.py): names, row order, settings; and what is refused by name.

import { readFileSync } from "node:fs";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readAdapterFolder, readSafetensors, writeAdapterFolder, writeSafetensors } from "../../src/adapter/index.js";
import type { NativeModelInfo, NativeTensor } from "../../src/support/native.js";
import { Random } from "../../src/support/random.js";
import { info } from "./tiny.js";

const peft = fileURLToPath(new URL("../golden/peft", import.meta.url));
const expected = JSON.parse(readFileSync(path.join(peft, "expected.json"), "utf8")).tensors as Record<
  string,
  { shape: [number, number]; data: number[] }
>;

let folder: string;
let configFile: string;
let tensorsFile: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "stillroom-adapter-"));
  configFile = path.join(folder, "adapter_config.json");
  tensorsFile = path.join(folder, "adapter_model.safetensors");
  await cp(peft, folder, { recursive: true });
});
afterEach(() => rm(folder, { recursive: true }));

const byName = (tensors: readonly NativeTensor[]) => Object.fromEntries(tensors.map((tensor) => [tensor.name, tensor]));

async function changeConfig(change: Record<string, unknown>): Promise<void> {
  const config = JSON.parse(await readFile(configFile, "utf8")) as object;
  await writeFile(configFile, JSON.stringify({ ...config, ...change }));
}

/** A copy of PEFT's adapter that we wrote. */
async function writeOurs(): Promise<{ tensors: NativeTensor[] }> {
  const adapter = await readAdapterFolder(peft, info);
  await writeAdapterFolder({ folder, ...adapter, info, baseModel: "tiny-llama" });
  return adapter;
}

describe("a folder that PEFT wrote", () => {
  it("is read in GGUF's names and row order, with every target", async () => {
    const { options, tensors } = await readAdapterFolder(peft, info);
    expect(options).toEqual({
      rank: 3,
      alpha: 6,
      dropout: 0.1,
      rsLora: true,
      targets: ["q", "k", "v", "o", "gate", "up", "down", "head", "embeddings"],
      seed: 0,
    });
    expect(Object.keys(byName(tensors)).sort()).toEqual(Object.keys(expected).sort());
    for (const { name, shape, data } of tensors) {
      expect({ name, shape, data: [...data] }).toEqual({ name, ...expected[name] });
    }
  });

  it("keeps its rows where the architecture has one order", async () => {
    const { tensors } = await readAdapterFolder(peft, { ...info, architecture: "qwen2" });
    const stored = (await readSafetensors(path.join(peft, "adapter_model.safetensors"))).tensors;
    const name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    const query = byName(tensors)["blk.0.attn_q.lora_b"]!;
    expect(query.data).toEqual(stored.find((tensor) => tensor.name === name)!.data);
    expect([...query.data]).not.toEqual(expected["blk.0.attn_q.lora_b"]!.data);
  });
});

describe("a folder that we write", () => {
  it("holds PEFT's names, shapes and values, and PEFT's settings", async () => {
    await writeOurs();
    const theirs = (await readSafetensors(path.join(peft, "adapter_model.safetensors"))).tensors;
    const adapter = theirs.filter(({ name }) => !name.includes("base_layer"));
    const { metadata, tensors } = await readSafetensors(tensorsFile);
    expect(tensors).toEqual(adapter.sort((a, b) => (a.name < b.name ? -1 : 1)));
    expect(metadata.get("format")).toBe("pt");
    const config = JSON.parse(await readFile(configFile, "utf8")) as Record<string, unknown>;
    const theirConfig = JSON.parse(await readFile(path.join(peft, "adapter_config.json"), "utf8"));
    for (const [field, value] of Object.entries(config)) {
      const sorted = field === "target_modules" ? [...theirConfig[field]].sort() : theirConfig[field];
      expect(value, field).toEqual(sorted);
    }
  });

  it("is read back as it was", async () => {
    const { tensors } = await writeOurs();
    expect((await readAdapterFolder(folder, info)).tensors).toEqual(tensors);
  });

  it("needs every tensor of its targets, in the model's shape", async () => {
    const { options, tensors } = await readAdapterFolder(peft, info);
    const write = (list: NativeTensor[]) =>
      writeAdapterFolder({ folder, tensors: list, options, info, baseModel: "x" });
    await expect(write(tensors.slice(1))).rejects.toThrow(/expected 32 tensors .* received 31/);
    const turned = tensors.map((tensor, index) =>
      index === 0 ? { ...tensor, shape: [16, 3] as [number, number] } : tensor,
    );
    await expect(write(turned)).rejects.toThrow(/expected the shape 3 x 16 for blk.0.attn_q.lora_a/);
  });

  it("is refused when its description belongs to another adapter", async () => {
    await writeOurs();
    await changeConfig({ lora_alpha: 12 });
    await expect(readAdapterFolder(folder, info)).rejects.toThrow(/adapter_config.json has other settings/);
  });

  it("gives the same adapter or an error for every flipped bit and cut of 200 places of its description", async () => {
    const { tensors } = await writeOurs();
    const whole = await readFile(configFile);
    const random = new Random(8);
    for (let trial = 0; trial < 200; trial++) {
      const damaged = Buffer.from(whole);
      const at = random.below(whole.length);
      if (trial % 2) damaged[at]! ^= 1 << random.below(8);
      await writeFile(configFile, trial % 2 ? damaged : damaged.subarray(0, at));
      const outcome = await readAdapterFolder(folder, info).catch((error: { code: string }) => error.code);
      if (typeof outcome === "string") expect(outcome, `at ${at}`).toBe("input");
      else expect(outcome, `at ${at}`).toMatchObject({ options: { rank: 3, alpha: 6, rsLora: true }, tensors });
    }
  });
});

describe("what is refused by name", () => {
  it.each<[string, Record<string, unknown>, RegExp]>([
    ["DoRA", { use_dora: true }, /expected nothing .* for use_dora, received true/],
    ["biases", { bias: "all" }, /expected "none" .* for bias, received "all"/],
    ["LoRA biases", { lora_bias: true }, /lora_bias/],
    ["whole modules", { modules_to_save: ["lm_head"] }, /modules_to_save, received a list of 1/],
    ["ranks that differ", { rank_pattern: { q_proj: 4 } }, /expected the rank 3 everywhere for rank_pattern/],
    ["alphas that differ", { alpha_pattern: { q_proj: 1 } }, /expected the alpha 6 everywhere for alpha_pattern/],
    ["layers in words", { layers_to_transform: "last" }, /a list of layers for layers_to_transform, received "last"/],
    ["other layers than the tensors have", { layers_to_transform: [0] }, /layers\.1\.\S+ fits no weight/],
    ["PiSSA", { init_lora_weights: "pissa" }, /init_lora_weights, received "pissa"/],
    ["Conv1D weights", { fan_in_fan_out: true }, /fan_in_fan_out/],
    ["tokens", { trainable_token_indices: [1] }, /trainable_token_indices/],
    ["a feature of the future", { use_tomorrow: { k: 1 } }, /use_tomorrow, received an object of k/],
    ["another method", { peft_type: "IA3" }, /expected "LORA" for peft_type, received "IA3"/],
    ["another task", { task_type: "SEQ_CLS" }, /task_type/],
    ["a rank of 0", { r: 0 }, /a whole number from 1 to 4096 for r, received 0/],
    ["an alpha in words", { lora_alpha: "16" }, /lora_alpha, received "16"/],
    ["an alpha of 0", { lora_alpha: 0 }, /lora_alpha, received 0/],
    ["a dropout of 1", { lora_dropout: 1 }, /lora_dropout/],
    ["rsLoRA in words", { use_rslora: "yes" }, /true or false for use_rslora/],
    ["a list as a name", { base_model_name_or_path: [] }, /a name for base_model_name_or_path/],
    ["another rank than the tensors have", { r: 4 }, /expected the shape 4 x 16 for .*received \[3,16\]/],
  ])("%s", async (_name, change, message) => {
    await changeConfig(change);
    const error = await readAdapterFolder(folder, info).catch((refusal: unknown) => refusal);
    expect(error).toMatchObject({ code: "input" });
    expect((error as Error).message).toMatch(message);
  });

  it("but patterns that repeat the common rank and alpha are read", async () => {
    await changeConfig({ rank_pattern: { q_proj: 3 }, alpha_pattern: { q_proj: 6 } });
    expect((await readAdapterFolder(folder, info)).options.rank).toBe(3);
  });

  it.each<[string, string, RegExp]>([
    ["a key twice", '{"r":1,"r":2}', /not there before/],
    ["no object", "[]", /expected an object, received a list of 0/],
    ["no JSON", "r: 8", /expected a value at character 0/],
    ["1 MB and more", " ".repeat(1_000_001), /at most 1 MB/],
  ])("a description with %s", async (_name, text, message) => {
    await writeFile(configFile, text);
    await expect(readAdapterFolder(folder, info)).rejects.toThrow(message);
  });

  it.each<[string, Partial<NativeModelInfo>, RegExp]>([
    ["more layers", { layers: 3 }, /layers\.2\..* is missing/],
    ["fewer layers", { layers: 1 }, /layers\.1\..* fits no weight of tiny.gguf/],
    ["another inner width", { feedForward: 8 }, /expected the shape/],
    ["another vocabulary", { vocabulary: 21 }, /fits no weight/],
  ])("a model of %s", async (_name, change, message) => {
    await expect(readAdapterFolder(folder, { ...info, ...change })).rejects.toThrow(message);
  });

  it("a value that is not finite, an adapter without tensors, and one that is missing", async () => {
    const { tensors } = await readSafetensors(tensorsFile);
    const stored = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    const name = "base_model.model.lm_head.lora_A.weight";
    const broken = { ...stored.get(name)!, data: stored.get(name)!.data.map((value, i) => (i ? value : Number.NaN)) };
    await writeSafetensors(tensorsFile, [...stored.set(name, broken).values()], {});
    await expect(readAdapterFolder(folder, info)).rejects.toThrow(
      /lm_head.lora_A.weight holds a value that is not finite/,
    );
    stored.delete(name);
    await writeSafetensors(tensorsFile, [...stored.values()], {});
    await expect(readAdapterFolder(folder, info)).rejects.toThrow(/lm_head.lora_A.weight is missing/);
    await writeSafetensors(tensorsFile, [], {});
    await expect(readAdapterFolder(folder, info)).rejects.toThrow(/holds no adapter/);
  });

  it("a pickle, with the way to a file that can be read", async () => {
    await rm(tensorsFile);
    await writeFile(path.join(folder, "adapter_model.bin"), "");
    await expect(readAdapterFolder(folder, info)).rejects.toThrow(/safe_serialization=True/);
  });
});
