// Embeddings: equal to llama.cpp's own within a bound, the same bits in any batch, on our engine and through llama.cpp.
import { readFileSync } from "node:fs";
import path from "node:path";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { embedRows } from "../../src/embed/index.js";
import { embed } from "../../src/index.js";
import { Model, openModel } from "../../src/model/index.js";
import { type NativeModelInfo, native } from "../../src/support/native.js";
import { packTexts } from "../../src/tokens/index.js";
import { needs, sharedPath } from "../support/needs.js";
import { textToy, writeBrokenToy, writeTextToy } from "../support/text_toy.js";
import { toyLora } from "../support/toy.js";

const testShared = needs("shared");
/** Mean pooling written into the file, which is where llama.cpp looks for it. */
const toy = writeTextToy({ "llama.pooling_type": 1 });
const texts = ["plum", "A longer text, of more tokens than the others have.", "x", "plums and cherries are drupes"];
const cosine = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  const dot = (x: ArrayLike<number>, y: ArrayLike<number>) =>
    Array.from(x).reduce((sum, value, i) => sum + value * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};
const largest = (a: Float32Array, b: Float32Array) => Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

let model: Model;
beforeAll(async () => {
  model = await openModel(toy, { threads: 2 });
});
afterAll(() => model.close());

describe("embed", () => {
  it("gives what llama.cpp's own mean pooling gives", async () => {
    const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
    const theirs = await llama.loadModel({ modelPath: toy });
    const context = await theirs.createEmbeddingContext({ contextSize: 128 });
    const ours = await embed(model, texts);
    for (const [place, text] of texts.entries()) {
      const tokens = [...model.tokenizer.tokenize(text, false, false)];
      const { vector } = await context.getEmbeddingFor(tokens as never);
      expect(ours[place]).toHaveLength(32);
      // Keys and values of theirs are f16.
      expect(1 - cosine(ours[place]!, vector)).toBeLessThan(1e-5);
      expect(cosine(ours[place]!, ours[place]!)).toBeCloseTo(1, 6);
    }
    await llama.dispose();
  });

  it("gives the same bits alone, in any batch, in any order, and with any number of threads", async () => {
    const many = Array.from({ length: 120 }, (_, i) => `${texts[i % 4]} ${"and so on ".repeat(i % 9)}${i}`);
    const all = await embed(model, many);
    for (const place of [0, 1, 57, 119]) expect((await embed(model, [many[place]!]))[0]).toEqual(all[place]);
    const backwards = await embed(toy, [...many].reverse(), { threads: 1 });
    expect(backwards.reverse()).toEqual(all);
  });

  it("computes a beginning that all share once, to the same vectors but for rounding", async () => {
    const beginning = "Represent this sentence for searching: ";
    const rows = texts.map((text) => model.tokenizer.tokenize(beginning + text, false, false));
    const front = model.tokenizer.tokenize(beginning, false, false);
    const shared = packTexts(rows, front);
    expect(shared.tokens.length).toBe(packTexts(rows).tokens.length - 3 * front.length);
    const job = { model, lora: null, pooling: "mean" as const };
    const [apart, behind] = [await embedRows(job, rows), await embedRows({ ...job, front }, rows)];
    for (const [place, vector] of apart.entries()) expect(largest(vector, behind[place]!)).toBeLessThan(1e-6);
  });

  it("runs through llama.cpp what the engine does not take, to the same vectors", async () => {
    const other = new Model({ ...model.info, tunable: false } as NativeModelInfo, null, model.tokenizer, 1);
    for (const pooling of ["mean", "last"] as const) {
      const long = [...texts, "b".repeat(200)]; // more than llama.cpp is given at once
      const [ours, theirs] = [await embed(model, long, { pooling }), await embed(other, long, { pooling })];
      for (const [place, vector] of ours.entries()) expect(largest(vector, theirs[place]!)).toBeLessThan(1e-5);
      expect((await embed(other, [texts[1]!], { pooling }))[0]).toEqual(theirs[1]);
    }
  });

  it("is that of the tuned model with an adapter", async () => {
    const { options, tensors } = toyLora(textToy);
    const adapter = path.join(path.dirname(toy), "adapter.gguf");
    await native().writeAdapter(adapter, tensors, { architecture: "llama", alpha: options.alpha, name: "toy" });
    const other = new Model({ ...model.info, tunable: false } as NativeModelInfo, null, model.tokenizer, 1);
    const [plain, tuned] = [await embed(model, texts), await embed(model, texts, { adapter })];
    expect(largest(plain[1]!, tuned[1]!)).toBeGreaterThan(1e-3);
    expect(largest((await embed(other, texts, { adapter }))[1]!, tuned[1]!)).toBeLessThan(1e-5);
    await expect(embed(other, texts, { adapter: "/nowhere" })).rejects.toThrow("GGUF LoRA for adapter");
  });

  it("refuses what is no text, has no token or does not fit, and a model that is no decoder", async () => {
    await expect(embed(model, ["a", 3 as never])).rejects.toThrow("expected a text for texts[1], received 3");
    await expect(embed(model, ["a", ""])).rejects.toThrow("text 1 has 0 tokens");
    await expect(embed(model, ["b".repeat(300)])).rejects.toMatchObject({ code: "input" });
    await expect(embed(model, ["a"], { pooling: "cls" as never })).rejects.toThrow("expected mean or last for pooling");
    await expect(embed(model, ["a"], { poolin: "mean" } as never)).rejects.toThrow("pooling");
    const encoder = writeTextToy({ "llama.attention.causal": false });
    const runner = await native().openRunner(encoder, { threads: 1, adapter: null, contextTokens: 16, sequences: 1 });
    await expect(runner.embed(packTexts([Int32Array.of(1, 2)]), "mean")).rejects.toThrow("attention.causal is false");
    await runner.close();
  });

  it("names the text that has no finite vector", async () => {
    await expect(embed(writeBrokenToy("Z"), ["a", "Zebra", "b"], { threads: 1 })).rejects.toThrow(
      "text 1: the model gives no finite embedding",
    );
  });

  it("stops between batches when it is called off", async () => {
    const stop = new AbortController();
    const many = Array.from({ length: 40 }, () => "b".repeat(200));
    const done: number[] = [];
    const onProgress = ({ rows }: { rows: number }) => {
      done.push(rows);
      stop.abort();
    };
    await expect(embed(model, many, { signal: stop.signal, onProgress })).rejects.toMatchObject({ code: "cancelled" });
    expect(done).toEqual([10]);
  });
});

describe("on SmolLM2", () => {
  testShared("is what llama.cpp computes, within what its rounding moves", async () => {
    const file = sharedPath("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    const lines = readFileSync(sharedPath("data/sst2/dev.tsv"), "utf8").split("\n").slice(1, 7);
    const smol = await openModel(file, { threads: 2 });
    const rows = lines.map((line) => smol.tokenizer.tokenize(line, false, false).slice(0, 24));
    const ours = await embedRows({ model: smol, lora: null, pooling: "mean" }, rows);
    const runner = await native().openRunner(file, { threads: 2, adapter: null, contextTokens: 32, sequences: 1 });
    const theirs = await runner.embed(packTexts(rows), "mean");
    const distances = ours.map((vector, row) => 1 - cosine(vector, theirs.subarray(row * 576, (row + 1) * 576)));
    // llama.cpp rounds activations to 8 bits before it multiplies them with 4-bit weights.
    expect(Math.max(...distances)).toBeLessThan(2e-3);
    await runner.close();
    await smol.close();
  });
});
