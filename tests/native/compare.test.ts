// A comparison of two models, where it fails: it says why, and leaves both as they were before.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type NativeModel, native } from "../../src/support/native.js";
import { gradientGoldens, plainBatch } from "../support/golden.js";
import { writeToy } from "../support/toy.js";

const toy = gradientGoldens().find((golden) => golden.name === "llama")!;
const folder = mkdtempSync(path.join(tmpdir(), "stillroom-compare-"));
const file = path.join(folder, "toy.gguf");
const smaller = path.join(folder, "smaller.gguf");
const batch = plainBatch([{ tokens: [1, 2, 3], labels: [1, 2] }]);
beforeAll(() => {
  writeToy(file, toy);
  writeToy(smaller, { ...toy, vocabulary: toy.vocabulary - 8 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const open = (model: string) => native().openModel(model, { threads: 1, variant: null });

/** "closed", or "waiting" when the close of a model has not come to its end after two seconds. */
function closed(model: NativeModel): Promise<string> {
  const waiting = new Promise<string>((resolve) => setTimeout(resolve, 2000, "waiting"));
  return Promise.race([model.close().then(() => "closed"), waiting]);
}

describe("a comparison that fails", () => {
  it("for different vocabularies, names both, and both models work on and close", async () => {
    const [first, second] = [await open(file), await open(smaller)];
    const [more, fewer] = [toy.vocabulary, toy.vocabulary - 8];
    await expect(first.compare(batch, null, second, null)).rejects.toMatchObject({
      code: "usage",
      message: `models of different vocabularies cannot be compared: ${more} and ${fewer} tokens`,
    });
    await expect(second.compare(batch, null, first, null)).rejects.toMatchObject({ code: "usage" });
    expect(await first.score(batch, null)).toHaveLength(2);
    expect(await second.score(batch, null)).toHaveLength(2);
    expect([await closed(first), await closed(second)]).toEqual(["closed", "closed"]);
  });

  it("while both are being closed, lets them close", async () => {
    const [first, second] = [await open(file), await open(smaller)];
    const comparison = first.compare(batch, null, second, null);
    const ends = Promise.all([closed(second), closed(first)]);
    await expect(comparison).rejects.toMatchObject({ code: "usage" });
    expect(await ends).toEqual(["closed", "closed"]);
  });

  it("with a model that is closed, or with itself, leaves the first closable", async () => {
    const [first, second] = [await open(file), await open(file)];
    await second.close();
    await expect(first.compare(batch, null, second, null)).rejects.toMatchObject({ code: "usage" });
    await expect(first.compare(batch, null, first, null)).rejects.toMatchObject({
      message: expect.stringMatching(/the same one/),
    });
    expect(await closed(first)).toBe("closed");
  });

  it("does not stand in the way of one that succeeds", async () => {
    const [first, second] = [await open(file), await open(file)];
    const same = await first.compare(batch, null, second, null);
    expect(same).toMatchObject({ agreements: 2, positions: 2 });
    expect(same.klSum).toBeCloseTo(0, 6);
    expect([await closed(second), await closed(first)]).toEqual(["closed", "closed"]);
  });
});
