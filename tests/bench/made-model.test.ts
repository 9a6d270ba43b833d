// Models with random weights: our engine and llama.cpp open them, and see the same.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { writeMadeModel } from "../../bench/made-model.js";
import { native } from "../../src/support/native.js";
import { packChoices } from "../../src/tokens/index.js";

test("a model of a size, with numbers that neither vanish nor overflow", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "stillroom-made-"));
  try {
    const file = path.join(folder, "made.gguf");
    writeMadeModel(file, { width: 192, feedForward: 512, layers: 3, vocabulary: 1000 });
    const model = await native().openModel(file, { threads: 1, variant: null });
    expect(model.info).toMatchObject({
      width: 192,
      layers: 3,
      feedForward: 512,
      heads: 3,
      keyValueHeads: 1,
      headWidth: 64,
    });
    expect(model.info).toMatchObject({ vocabulary: 1000, tiedEmbeddings: true, tunable: true });
    expect(model.info.parameters).toBe(192_000 + 3 * (192 * 192 * 2 + 192 * 64 * 2 + 3 * 192 * 512) + 7 * 192);
    const prompt = Int32Array.from({ length: 40 }, (_, at) => (at * 37) % 1000);
    const { batch } = packChoices([prompt], [[Int32Array.of(11), Int32Array.of(12), Int32Array.of(999)]]);
    const ours = [...(await model.score(batch, null))];
    const runner = await native().openRunner(file, { threads: 1, adapter: null, contextTokens: 64, sequences: 1 });
    const theirs = [...(await runner.score(batch))];
    for (const [index, value] of ours.entries()) expect(Math.abs(value - theirs[index]!)).toBeLessThan(0.1);
    expect(Math.max(...ours) - Math.min(...ours)).toBeGreaterThan(0.1);
    expect(Math.min(...ours)).toBeGreaterThan(-30);
    await runner.close();
    await model.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
