// Our greedy answers and llama.cpp's, on SmolLM2: the same tokens, or llama.cpp's own two best lie closer than what its rounding of
// activations to 8 bits moves; on an f32 copy of the model, where it rounds nothing, the same tokens. Short by default: beginnings of
// sentences, few of them in f32; STILLROOM_LONG=1 takes all, and longer answers.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect } from "vitest";
import { type NativeDecoded, type NativeDecoder, native } from "../../src/support/native.js";
import { decodeAll, requestOf } from "../support/decoding.js";
import { needs, sharedPath } from "../support/needs.js";

const testShared = needs("shared");
const smol = sharedPath("models/SmolLM2-135M-Instruct.Q4_1.gguf");
const long = process.env.STILLROOM_LONG === "1";
const [promptTokens, maxTokens] = long ? [64, 24] : [8, 6];

/** docs/numerics.md: how close llama.cpp's two best are where answers part, how far their distance may differ, and how far in f32. */
const bounds = { parting: 0.75, quantised: 1, exact: 2e-4 };

async function answersOf(opening: Promise<NativeDecoder>, prompts: readonly Int32Array[]): Promise<NativeDecoded[]> {
  const decoder = await opening;
  try {
    return await decodeAll(
      decoder,
      prompts.map((prompt) => requestOf(prompt, { maxTokens, logProbabilities: 2 })),
    );
  } finally {
    await decoder.close();
  }
}

interface Agreement {
  /** Answers that are not the same. */
  different: number;
  /** Of those, the largest distance of llama.cpp's two best where the answers part, in log-probabilities. */
  widest: number;
  /** Over all tokens until there: how far that distance differs between the two sides. */
  moved: number;
}

async function agreement(file: string, count: number, exact: boolean): Promise<Agreement> {
  const tokenizer = await native().openTokenizer(file);
  const model = await native().openModel(file, { threads: 1, variant: null });
  const lines = readFileSync(sharedPath("data/sst2/dev.tsv"), "utf8")
    .split("\n")
    .slice(1, 1 + count);
  const prompts = lines.map((line) =>
    tokenizer.tokenize(`Review: ${line.replaceAll("\t", " ")}`, false, false).slice(0, promptTokens),
  );
  const limits = { memory: 2 ** 28, sequences: 32, stepTokens: 512 };
  const llama = { ...limits, threads: 1, adapter: null, gpuLayers: 0, backends: [], exact };
  const ours = await answersOf(model.createDecoder(null, tokenizer, limits), prompts);
  const theirs = await answersOf(native().openDecoder(file, tokenizer, llama), prompts);
  await Promise.all([model.close(), tokenizer.close()]);
  const found: Agreement = { different: 0, widest: 0, moved: 0 };
  const distance = ({ logProbabilities: { values } }: NativeDecoded, at: number) =>
    values[3 * at + 1]! - values[3 * at + 2]!;
  const best = ({ logProbabilities: { tokens } }: NativeDecoded, at: number) =>
    [...tokens.subarray(3 * at + 1, 3 * at + 3)].join();
  for (const [i, one] of ours.entries()) {
    const other = theirs[i]!;
    const parts = one.tokens.findIndex((token, at) => token !== other.tokens[at]);
    const until = parts < 0 ? one.tokens.length : parts;
    for (let at = 0; at < until; at++) {
      if (best(one, at) === best(other, at))
        found.moved = Math.max(found.moved, Math.abs(distance(one, at) - distance(other, at)));
    }
    if (parts < 0 && one.tokens.length === other.tokens.length) continue;
    found.different++;
    // An end token is not among an answer's tokens: where one side has ended, the other's distance counts.
    const side = until < other.tokens.length ? other : one;
    found.widest = Math.max(found.widest, distance(side, until));
  }
  return found;
}

describe("greedy answers to 200 beginnings of SST-2 sentences", () => {
  testShared(
    "are llama.cpp's, or its two best are closer than its rounding moves them",
    async () => {
      const { different, widest, moved } = await agreement(smol, 200, false);
      expect(widest).toBeLessThan(bounds.parting);
      expect(moved).toBeLessThan(bounds.quantised);
      // Beginnings of eight tokens leave open how they go on: the two best are often close.
      expect(different).toBeLessThan(80);
    },
    long ? 1_800_000 : 300_000,
  );

  testShared(
    "are llama.cpp's on an f32 copy of the model",
    async () => {
      const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-f32-"));
      try {
        const file = path.join(folder, "f32.gguf");
        await native().quantize(smol, file, { type: "F32", importance: null, threads: 2 });
        const { different, moved } = await agreement(file, long ? 200 : 40, true);
        expect(different).toBe(0);
        expect(moved).toBeLessThan(bounds.exact);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
    1_800_000,
  );
});
