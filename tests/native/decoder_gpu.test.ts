// The suite of decoders with the layers on a GPU, through llama.cpp. In a process of its own: a GPU that was started stays. A software
// device does (README.md says how to get one); where there is none, the suite is skipped by name.
import { rmSync } from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, it, test, vi } from "vitest";
import { gpuBackends } from "../../src/decode/gpu.js";
import { native } from "../../src/support/native.js";
import { decoderLimits, decoderSuite, type OpenToyDecoder } from "../support/decoder_suite.js";
import { bytes, decodeAll, requestOf, using } from "../support/decoding.js";
import { writeTextToy } from "../support/text_toy.js";

vi.setConfig({ testTimeout: 600_000 }); // a software device takes a minute to compile a shader that it meets first

const file = writeTextToy();
const tokenizer = await native().openTokenizer(file);
afterAll(async () => {
  await tokenizer.close();
  rmSync(path.dirname(file), { recursive: true, force: true });
});

const open =
  (gpuLayers: number): OpenToyDecoder =>
  async (options = {}) =>
    native().openDecoder(file, tokenizer, {
      ...{ ...decoderLimits, threads: 1, adapter: null, exact: true, gpuLayers },
      backends: gpuLayers > 0 ? gpuBackends() : [],
      ...options,
    });
const onGpu = open(99);

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
  decoderSuite("llama.cpp on a GPU", onGpu, { within: 1e-3 }); // 1.5e-4 seen on llvmpipe

  describe("a GPU", () => {
    it("computes what the CPU does, with a rounding of its own", async () => {
      const requests = [1, 2, 3, 4].map((seed) =>
        requestOf(bytes(9 + seed * 9, seed), { maxTokens: 12, logProbabilities: 2 }),
      );
      const [there, here] = [
        await using(onGpu(), (decoder) => decodeAll(decoder, requests)),
        await using(open(0)(), (decoder) => decodeAll(decoder, requests)),
      ];
      let moved = 0;
      for (const [i, one] of there.entries()) {
        expect([...one.tokens]).toEqual([...here[i]!.tokens]);
        for (const [at, value] of one.logProbabilities.values.entries())
          moved = Math.max(moved, Math.abs(value - here[i]!.logProbabilities.values[at]!));
      }
      expect(moved).toBeGreaterThan(0); // the same bits would be the CPU's
      expect(moved).toBeLessThan(1e-3);
    });

    it("that was started takes no part where no layers are asked for", async () => {
      const requests = [requestOf(bytes(60, 5), { maxTokens: 12, logProbabilities: 2 })];
      const values = async () => {
        const [answer] = await using(open(0)(), (decoder) => decodeAll(decoder, requests));
        return [...answer!.logProbabilities.values];
      };
      const before = await values();
      await (await onGpu()).close();
      expect(await values()).toEqual(before);
    });
  });
}
