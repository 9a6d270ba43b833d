// Continuous batching through the addon: the suite of decoders on our engine and on llama.cpp, what both say, and what a process does that
// ends with them.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  addonPath,
  type NativeDecoder,
  type NativeDecoderOptions,
  type NativeModel,
  type NativePrecision,
  type NativeTokenizer,
  native,
} from "../../src/support/native.js";
import { decoderLimits, decoderSuite } from "../support/decoder_suite.js";
import { bytes, decodeAll, essence, requestOf, using } from "../support/decoding.js";
import { gradientGoldens } from "../support/golden.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { toyLora, writeToy } from "../support/toy.js";

let file = "";
let folder = "";
let tokenizer: NativeTokenizer;
const models: NativeModel[] = [];
beforeAll(async () => {
  file = writeTextToy();
  folder = path.dirname(file);
  tokenizer = await native().openTokenizer(file);
});
afterAll(async () => {
  await Promise.all(models.map((model) => model.close()));
  await tokenizer.close();
  rmSync(folder, { recursive: true, force: true });
});

type Open = (
  options?: Partial<NativeDecoderOptions>,
  of?: { path: string; tokenizer: NativeTokenizer; adapter?: string },
) => Promise<NativeDecoder>;
const limits = decoderLimits;
const llamaOptions = { threads: 1, adapter: null, gpuLayers: 0, backends: [], exact: true };

const ours: Open = async (options = {}, of = { path: file, tokenizer }) => {
  const model = await native().openModel(of.path, { threads: 1, variant: null });
  models.push(model);
  let lora = null;
  if (of.adapter !== undefined) {
    const { alpha, tensors } = await native().readAdapter(of.adapter);
    const { options } = toyLora(toyOf(of.path));
    lora = model.createLora({ ...options, alpha });
    lora.load(tensors);
  }
  return model.createDecoder(lora, of.tokenizer, { ...limits, ...options });
};
const llama: Open = (options = {}, of = { path: file, tokenizer }) =>
  native().openDecoder(of.path, of.tokenizer, { ...limits, ...llamaOptions, adapter: of.adapter ?? null, ...options });

const toyOf = (model: string) =>
  gradientGoldens().find(({ name }) => name === path.basename(model, ".gguf")) ?? textToy;

decoderSuite("our engine", ours, { within: 0, leaving: 0 });
decoderSuite("llama.cpp on the CPU", llama, { within: 1e-4, leaving: 0 });

describe("both", () => {
  it.each(["llama", "llama-factors", "qwen2", "qwen3-tied"])(
    "say the same: %s, with and without an adapter",
    async (name) => {
      const toy = gradientGoldens().find((golden) => golden.name === name)!;
      const model = path.join(folder, `${name}.gguf`);
      writeToy(model, toy);
      const adapter = path.join(folder, `${name}-adapter.gguf`);
      const { options, tensors } = toyLora(toy);
      // llama.cpp runs no LoRA on embeddings that are tied.
      const linear = tensors.filter((tensor) => tensor.name.startsWith("blk."));
      const alpha = options.rsLora ? options.alpha * Math.sqrt(options.rank) : options.alpha;
      await native().writeAdapter(adapter, linear, { architecture: toy.architecture, alpha, name });
      const own = await native().openTokenizer(model);
      const prompts = [1, 2, 3, 4, 5].map((seed) =>
        requestOf(
          bytes(3 + 6 * seed, seed).map((byte) => byte % toy.vocabulary),
          { maxTokens: 12, logProbabilities: 2 },
        ),
      );
      const answers = [];
      for (const of of [
        { path: model, tokenizer: own },
        ...(linear.length > 0 ? [{ path: model, tokenizer: own, adapter }] : []),
      ]) {
        const [a, b] = [
          await using(ours({}, of), (d) => decodeAll(d, prompts)),
          await using(llama({}, of), (d) => decodeAll(d, prompts)),
        ];
        for (const [i, one] of a.entries()) {
          expect([...one.tokens]).toEqual([...b[i]!.tokens]);
          for (const [at, value] of one.logProbabilities.values.entries())
            expect(Math.abs(value - b[i]!.logProbabilities.values[at]!)).toBeLessThan(1e-4);
        }
        answers.push(a.map(({ tokens }) => [...tokens]));
      }
      expect(answers[0]).not.toEqual(answers[1]);
      await own.close();
    },
  );

  it("refuse a GPU that is not there, and a tokenizer that is none", async () => {
    const wanted = native().openDecoder(file, tokenizer, {
      ...limits,
      ...llamaOptions,
      gpuLayers: 1,
      backends: ["/nowhere/libggml-cuda.so"],
    });
    await expect(wanted).rejects.toMatchObject({
      code: "missing",
      message: expect.stringMatching(
        /^llama\.cpp finds no GPU: failed to load \/nowhere\/libggml-cuda\.so: .*cannot open shared object file/,
      ),
    });
    await expect(native().openDecoder(file, {} as never, { ...limits, ...llamaOptions })).rejects.toThrow(
      "expected a tokenizer (openTokenizer) for tokenizer",
    );
    await expect(llama({ memory: 100 })).rejects.toThrow("expected at least 8192 for memory, received 100");
  });

  it.skipIf(native().variants.length === 1)("ours has products of its own precision", async () => {
    const requests = [7, 8, 9].map((seed) => requestOf(bytes(5, seed), { maxTokens: 8, logProbabilities: 2 }));
    const answersOf = async (opened: NativePrecision, precision: NativePrecision | null) => {
      const model = await native().openModel(file, { threads: 1, variant: null, precision: opened });
      models.push(model);
      const decoder = model.createDecoder(null, tokenizer, { ...limits, precision });
      return (await using(decoder, (open) => decodeAll(open, requests))).map(essence);
    };
    const [exact, rounded] = [await answersOf("f32", null), await answersOf("int8", null)];
    expect(rounded).not.toEqual(exact);
    expect(await answersOf("f32", "int8")).toEqual(rounded);
    expect(await answersOf("int8", "f32")).toEqual(exact);
  });

  it("our decoder ends with its model", async () => {
    const model = await native().openModel(file, { threads: 1, variant: null });
    const decoder = await model.createDecoder(null, tokenizer, limits);
    decoder.add(requestOf([1]));
    await model.close();
    await expect(decoder.step()).rejects.toMatchObject({ code: "usage", message: "the model is closed" });
    await decoder.close();
  });

  const program = (end: string) => `
    const addon = require(process.argv[1]);
    (async () => {
      const tokenizer = await addon.openTokenizer(process.argv[2]);
      const limits = ${JSON.stringify(limits)};
      const model = await addon.openModel(process.argv[2], { threads: 2, variant: null });
      const decoders = [await model.createDecoder(null, tokenizer, limits), await addon.openDecoder(process.argv[2], tokenizer, { ...limits, ...${JSON.stringify(llamaOptions)} })];
      for (const decoder of decoders) decoder.add({ ...${JSON.stringify({ ...requestOf([]), maxTokens: 200 })}, prompt: Int32Array.of(1, 2, 3) });
      const work = () => decoders.map((decoder) => decoder.step());
      ${end}
    })();`;
  it.each([
    ["open", "await Promise.all(work());"],
    ["busy, by running out of work", "work();"],
    ["busy, by process.exit", "work(); process.exit(0);"],
    [
      "closed in any order",
      "await Promise.all([model.close(), tokenizer.close()]); await Promise.all(decoders.map((decoder) => decoder.close()));",
    ],
  ])("the process exits cleanly while they are %s", (_name, end) => {
    const child = spawnSync(process.execPath, ["--eval", program(end), addonPath(), file], {
      encoding: "utf8",
      timeout: 50_000,
    });
    expect({ status: child.status, signal: child.signal, stderr: child.stderr }).toEqual({
      status: 0,
      signal: null,
      stderr: "",
    });
  });
});
