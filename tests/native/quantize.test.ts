// llama.cpp's quantiser through ours: every name it is given makes a model that llama.cpp runs, and an importance matrix matters.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type NativeImportance, native } from "../../src/support/native.js";
import { plainBatch } from "../support/golden.js";
import { type Toy, writeToy } from "../support/toy.js";

// 256: the block of the K- and IQ-types, so that none falls back to another.
const toy: Toy = {
  name: "wide",
  architecture: "llama",
  layers: 1,
  width: 256,
  heads: 4,
  keyValueHeads: 2,
  headWidth: 64,
  feedForward: 512,
  vocabulary: 300,
  contextLength: 128,
  tied: false,
  epsilon: 1e-5,
  ropeBase: 10000,
  ropeScaling: null,
  ropeFactors: null,
  lora: { rank: 1, alpha: 1, rsLora: false, targets: [] },
};
const tokens = Array.from({ length: 100 }, (_, i) => (i * 37) % toy.vocabulary);
const batch = plainBatch([{ tokens, labels: [99] }]);

let folder: string;
let base: string;
let importance: NativeImportance;
const at = (name: string) => path.join(folder, name);
beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "stillroom-quantize-"));
  base = at("base.gguf");
  writeToy(base, toy);
  importance = native().createImportance();
  const model = await native().openModel(base, { threads: 1, variant: null });
  await model.collectImportance(batch, importance);
  await model.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("quantize", () => {
  it.each(native().quantizationTypes)("makes a model of %s that llama.cpp runs", async (type) => {
    expect(importance.tokens).toBe(100);
    const out = at(`${type}.gguf`);
    await native().quantize(base, out, { type, importance, threads: 1 });
    const info = await native().inspect(out);
    expect(info).toMatchObject({ architecture: "llama", reason: null, tunable: true });
    // "Q4_K_M" makes mostly q4_K; a few names stand for a mix of neighbours.
    const stem = type.toLowerCase().replace(/_(xxs|xs|s|m|l)$/, "");
    const named = Object.keys(info.types).filter((name) => name.toLowerCase().startsWith(stem.replace(/_k$/, "")));
    expect(named, JSON.stringify(info.types)).not.toEqual([]);
    const runner = await native().openRunner(out, { threads: 1, adapter: null, contextTokens: 128, sequences: 1 });
    const [score] = await runner.score(batch);
    await runner.close();
    expect(score).toBeLessThan(0);
  });

  it("gives other weights with an importance matrix than without, and the same ones every time", async () => {
    const make = async (name: string, matrix: NativeImportance | null, threads: number) => {
      await native().quantize(base, at(name), { type: "Q4_K_M", importance: matrix, threads });
      return readFileSync(at(name));
    };
    const without = await make("a.gguf", null, 1);
    const once = await make("b.gguf", importance, 1);
    expect(once.equals(without)).toBe(false);
    expect(once.equals(await make("c.gguf", importance, 2))).toBe(true);
  });
});
