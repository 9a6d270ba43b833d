// A LoRA as a GGUF file: what was written comes back, llama.cpp runs it as PyTorch computes it, and the merged model is the same
// model. On toys against golden numbers, and on SmolLM2 with quantised weights.
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type NativeBatch, type NativeTensor, native } from "../../src/support/native.js";
import { Random } from "../../src/support/random.js";
import { type GradientGolden, gradientGoldens, plainBatch } from "../support/golden.js";
import { needs, sharedPath } from "../support/needs.js";
import { toyLora, writeToy } from "../support/toy.js";

let folder: string;
const at = (name: string) => path.join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "stillroom-adapter-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function score(model: string, adapter: string | null, batch: NativeBatch): Promise<Float64Array> {
  const runner = await native().openRunner(model, { threads: 1, adapter, contextTokens: 512, sequences: 1 });
  try {
    return await runner.score(batch);
  } finally {
    await runner.close();
  }
}

const largest = (a: Float64Array, b: Float64Array) => Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));
const sum = (values: Float64Array) => values.reduce((total, value) => total + value, 0);

describe.each(gradientGoldens())("the toy $name", (toy: GradientGolden) => {
  const lora = toyLora(toy);
  const scale = lora.options.alpha / (lora.options.rsLora ? Math.sqrt(lora.options.rank) : lora.options.rank);
  const base = () => at(`${toy.name}.gguf`);
  const adapter = () => at(`${toy.name}-lora.gguf`);
  const batch = plainBatch(toy.rows);
  beforeAll(async () => {
    writeToy(base(), toy);
    // llama.cpp divides by the rank, so that rsLoRA's scale goes into alpha.
    const metadata = { architecture: toy.architecture, alpha: scale * lora.options.rank, name: toy.name };
    await native().writeAdapter(adapter(), lora.tensors, metadata);
  });

  it("comes back from its adapter file as it went", async () => {
    const back = await native().readAdapter(adapter());
    expect(back.architecture).toBe(toy.architecture);
    expect(back.alpha).toBeCloseTo(scale * lora.options.rank, 5);
    expect(back.tensors).toEqual(lora.tensors);
  });

  it("has PyTorch's loss when llama.cpp runs it, with the adapter beside the model and merged into it", async () => {
    const merged = at(`${toy.name}-merged.gguf`);
    await native().merge(base(), lora.tensors, scale, merged);
    const scores = await score(merged, null, batch);
    expect(Math.abs(-sum(scores) / toy.lossSum - 1)).toBeLessThan(1e-6);
    const onShared = toy.tied && toy.lora.targets.some((target) => target === "head" || target === "embeddings");
    if (onShared) await expect(score(base(), adapter(), batch)).rejects.toThrow(/tied embeddings/);
    else expect(largest(await score(base(), adapter(), batch), scores)).toBeLessThan(1e-4);
  });
});

describe("an adapter that does not fit", () => {
  const goldens = gradientGoldens();
  const toy = goldens.find((golden) => golden.name === "llama")!;
  const other = goldens.find((golden) => golden.name === "qwen2")!;
  beforeAll(() => writeToy(at("base.gguf"), toy));
  const write = async (tensors: NativeTensor[], architecture: string = toy.architecture) => {
    await native().writeAdapter(at("odd.gguf"), tensors, { architecture, alpha: 1, name: "odd" });
    return at("odd.gguf");
  };
  const factor = (name: string, rows: number, columns: number): NativeTensor => ({
    name,
    shape: [rows, columns],
    data: new Float32Array(rows * columns),
  });

  it.each([
    ["of another architecture", () => write(toyLora(other).tensors, "qwen2"), /architecture "qwen2"/],
    [
      "of other widths",
      () => write([factor("blk.0.attn_q.lora_a", 2, 7), factor("blk.0.attn_q.lora_b", 48, 2)]),
      /do not fit/,
    ],
    [
      "for a layer that is not there",
      () => write([factor("blk.9.attn_q.lora_a", 2, 48), factor("blk.9.attn_q.lora_b", 48, 2)]),
      /has not/,
    ],
    ["that is a model", async () => at("base.gguf"), /not a LoRA/],
  ])("%s is refused before llama.cpp sees it", async (_name, make, message) => {
    await expect(score(at("base.gguf"), await make(), plainBatch(toy.rows))).rejects.toThrow(message);
  });

  it("is not written, nor merged, when it is not whole", async () => {
    const half = [factor("blk.0.attn_q.lora_a", 2, 48)];
    await expect(write(half)).rejects.toMatchObject({ code: "usage" });
    const before = readdirSync(folder);
    await expect(native().merge(at("base.gguf"), half, 1, at("half.gguf"))).rejects.toMatchObject({ code: "usage" });
    expect(readdirSync(folder)).toEqual(before);
  });
});

describe("SmolLM2-135M", () => {
  const testShared = needs("shared");
  const model = sharedPath("models/SmolLM2-135M-Instruct.Q4_1.gguf");
  const text = "The peach is a drupe, and the apple is a pome. The orange is a hesperidium, the melon a pepo.";
  const projections = [
    ["attn_q", 576, 576],
    ["attn_k", 192, 576],
    ["attn_v", 192, 576],
    ["attn_output", 576, 576],
    ["ffn_gate", 1536, 576],
    ["ffn_up", 1536, 576],
    ["ffn_down", 576, 1536],
  ] as const; // prettier-ignore
  const rank = 4;

  /** A LoRA on all linear layers that moves the model's answers about as far as tuning does. */
  function randomLora(): NativeTensor[] {
    const random = new Random(7);
    const tensors: NativeTensor[] = [];
    for (let layer = 0; layer < 30; layer++) {
      for (const [name, out, inputs] of projections) {
        const draw = (count: number, amplitude: number) =>
          Float32Array.from({ length: count }, () => (random.float() - 0.5) * amplitude);
        tensors.push({
          name: `blk.${layer}.${name}.lora_a`,
          shape: [rank, inputs],
          data: draw(rank * inputs, 2 / Math.sqrt(inputs)),
        });
        tensors.push({ name: `blk.${layer}.${name}.lora_b`, shape: [out, rank], data: draw(out * rank, 0.3) });
      }
    }
    return tensors;
  }

  async function batchOf(file: string): Promise<NativeBatch> {
    const tokenizer = await native().openTokenizer(file);
    const tokens = tokenizer.tokenize(text, true, false);
    await tokenizer.close();
    const queries = tokens.length - 1;
    const queryPositions = Int32Array.from({ length: queries }, (_, i) => i);
    return { tokens, segments: Int32Array.of(0, tokens.length, -1), queryPositions, queryTokens: tokens.slice(1) };
  }

  testShared(
    "merged is the same model as with the adapter beside it, and quantises to one that llama.cpp runs",
    async () => {
      const [lora, batch] = [randomLora(), await batchOf(model)];
      await native().writeAdapter(at("lora.gguf"), lora, { architecture: "llama", alpha: 2 * rank, name: "random" });
      // In f32 nothing is rounded. Half a gigabyte each: one lies there at a time.
      const exactly = async (file: string, adapter: string | null) => {
        await native().quantize(file, at("f32.gguf"), { type: "F32", importance: null, threads: 2 });
        const scores = await score(at("f32.gguf"), adapter, batch);
        rmSync(at("f32.gguf"));
        return scores;
      };
      const beside = await exactly(model, at("lora.gguf"));
      await native().merge(model, lora, 2, at("merged.gguf"));
      expect(largest(beside, await exactly(at("merged.gguf"), null))).toBeLessThan(1e-4);
      const plain = await score(model, null, batch);
      const merged = await score(at("merged.gguf"), null, batch);
      const mean = (a: Float64Array, b: Float64Array) => sum(a.map((value, i) => Math.abs(value - b[i]!))) / a.length;
      expect(mean(plain, merged)).toBeGreaterThan(0.5); // the adapter does something
      // llama.cpp rounds activations to 8 bits in front of q4_1 weights (0.1 nats a token here, with or without a LoRA), and
      // not in front of the merged f32 ones.
      expect(mean(await score(model, at("lora.gguf"), batch), merged)).toBeLessThan(0.25);

      for (const [type, bound] of [
        ["Q8_0", 0.2],
        ["Q4_K_M", 0.8],
      ] as const) {
        await native().quantize(at("merged.gguf"), at("small.gguf"), { type, importance: null, threads: 2 });
        const lost = mean(await score(at("small.gguf"), null, batch), merged);
        expect(lost).toBeLessThan(bound);
        const [before, after] = [await native().inspect(model), await native().inspect(at("small.gguf"))];
        expect({ ...after, path: "", fileBytes: 0, types: {} }).toEqual({
          ...before,
          path: "",
          fileBytes: 0,
          types: {},
        });
      }
    },
    300_000,
  );

  testShared("a type that needs an importance matrix says so, and leaves no file", async () => {
    const options = { type: "IQ2_XXS", importance: null, threads: 2 };
    await expect(native().quantize(model, at("tiny.gguf"), options)).rejects.toThrow("without an importance matrix");
    expect(readdirSync(folder).filter((name) => name.startsWith("tiny"))).toEqual([]);
  });

  testShared("an unknown type, an empty importance matrix and its own input are refused", async () => {
    const quantize = (
      out: string,
      type: string,
      importance = null as ReturnType<ReturnType<typeof native>["createImportance"]> | null,
    ) => native().quantize(model, out, { type, importance, threads: 1 });
    await expect(quantize(at("x.gguf"), "Q9_9")).rejects.toMatchObject({ code: "usage" });
    await expect(quantize(at("x.gguf"), "Q8_0", native().createImportance())).rejects.toThrow(/has seen tokens/);
    await expect(quantize(at("x.gguf"), "Q8_0", {} as never)).rejects.toThrow(/importance matrix/);
    await expect(quantize(model, "Q8_0")).rejects.toThrow(/must not replace/);
    expect(existsSync(at("x.gguf"))).toBe(false);
  });
});
