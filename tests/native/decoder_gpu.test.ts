// The suite of decoders with the layers on a GPU, through llama.cpp. In a process of its own: a GPU that was started stays. A software
// device does (README.md says how to get one); where there is none, the suite is skipped by name.
import { rmSync } from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, it, test, vi } from "vitest";
import { gpuBackends } from "../../src/decode/gpu.js";
import { native } from "../../src/support/native.js";
import { decoderLimits, decoderSuite, type OpenToyDecoder } from "../support/decoder_suite.js";
import { bytes, decodeAll, expectSame, requestOf, using } from "../support/decoding.js";
import { writeTextToy } from "../support/text_toy.js";

vi.setConfig({ testTimeout: 600_000 }); // a software device takes a minute to compile a shader that it meets first

const file = writeTextToy();
const tokenizer = await native().openTokenizer(file);
afterAll(async () => {
  await tokenizer.close();
  rmSync(path.dirname(file), { recursive: true, force: true });
});

const openOf =
  (model: string, gpuLayers: number, exact = true): OpenToyDecoder =>
  async (options = {}) =>
    native().openDecoder(model, tokenizer, {
      ...{ ...decoderLimits, threads: 1, adapter: null, exact, gpuLayers },
      backends: gpuLayers > 0 ? gpuBackends() : [],
      ...options,
    });
const onGpu = openOf(file, 99);
const onCpu = openOf(file, 0);

const requests = [1, 2, 3, 4].map((seed) =>
  requestOf(bytes(9 + seed * 9, seed), { maxTokens: 12, logProbabilities: 2 }),
);

/**
 * How far a log-probability may move on a GPU, whose products take their operands as f16 (docs/numerics.md): four times what the CPU's do
 * that take them so: weights, activations, and the cache.
 */
async function gpuBound(): Promise<number> {
  const halves = path.join(path.dirname(file), "halves.gguf");
  await native().quantize(file, halves, { type: "F16", importance: null, threads: 1 });
  const all = (open: OpenToyDecoder) => using(open(), (decoder) => decodeAll(decoder, requests));
  const [rounded, exact] = [await all(openOf(halves, 0, false)), await all(onCpu)];
  const moved = exact.map(({ tokens, logProbabilities: { values } }, row) => {
    expect([...rounded[row]!.tokens]).toEqual([...tokens]);
    return values.map((value, at) => Math.abs(rounded[row]!.logProbabilities.values[at]! - value));
  });
  return 4 * Math.max(...moved.flatMap((one) => [...one]));
}

/** Why there is none to test; null where there is one. */
async function absent(): Promise<string | null> {
  try {
    await (await onGpu()).close();
    return null;
  } catch (error) {
    if ((error as { code?: string }).code === "missing") return (error as Error).message;
    throw error;
  }
}

const reason = await absent();
if (reason !== null) test("llama.cpp on a GPU", ({ skip }) => skip(`needs a GPU: ${reason}`));
else {
  const within = await gpuBound();
  // Eight of the twelve answers are drawn, 80 tokens: a draw falls on another token at most within / 2 of the time, so that 4 are seldom reached.
  decoderSuite("llama.cpp on a GPU", onGpu, { within, leaving: 4 });

  describe("a GPU", () => {
    it("computes what the CPU does, with a rounding of its own", async () => {
      const [there, here] = [
        await using(onGpu(), (decoder) => decodeAll(decoder, requests)),
        await using(onCpu(), (decoder) => decodeAll(decoder, requests)),
      ];
      let moved = 0;
      for (const [row, one] of there.entries()) {
        expectSame(one, here[row]!, within, 0);
        for (const [at, value] of one.logProbabilities.values.entries())
          moved = Math.max(moved, Math.abs(value - here[row]!.logProbabilities.values[at]!));
      }
      expect(moved).toBeGreaterThan(0); // the same bits would be the CPU's
    });

    it("that was started takes no part where no layers are asked for", async () => {
      const asked = [requestOf(bytes(60, 5), { maxTokens: 12, logProbabilities: 2 })];
      const values = async () => {
        const [answer] = await using(onCpu(), (decoder) => decodeAll(decoder, asked));
        return [...answer!.logProbabilities.values];
      };
      const before = await values();
      await (await onGpu()).close();
      expect(await values()).toEqual(before);
    });
  });
}
