// llama.cpp behind our runner and tokenizer: scores of a forest are those of its rows, control tokens come only from where they are
// allowed, and handles close cleanly whatever they are doing.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addonPath, type NativeBatch, type NativeRunner, native } from "../../src/support/native.js";
import { forestBatch, type GoldenRow, gradientGoldens, plainBatch } from "../support/golden.js";
import { needs, sharedPath } from "../support/needs.js";
import { writeToy } from "../support/toy.js";

const toy = gradientGoldens().find((golden) => golden.name === "llama")!;
let folder: string;
let model: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "stillroom-runner-"));
  model = path.join(folder, "toy.gguf");
  writeToy(model, toy);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const open = (contextTokens = 256, sequences = 2) =>
  native().openRunner(model, { threads: 1, adapter: null, contextTokens, sequences });
async function using<T>(runner: NativeRunner, body: (runner: NativeRunner) => Promise<T>): Promise<T> {
  try {
    return await body(runner);
  } finally {
    await runner.close();
  }
}
/** count tokens, each other than the last, from a fixed sequence. */
const tokensOf = (count: number, seed: number) =>
  Array.from({ length: count }, (_, i) => (i * 31 + seed * 17 + 3) % toy.vocabulary);
const close = (a: Float64Array, b: Float64Array) => {
  expect(a.length).toBe(b.length);
  expect(Math.max(...a.map((value, i) => Math.abs(value - b[i]!)))).toBeLessThan(1e-4);
};

describe("score", () => {
  it("gives the rows of a forest what they get alone", async () => {
    const prefix = tokensOf(20, 0);
    // Labels within the shared part belong to the first row, so that both layouts ask in the same order.
    const rows: GoldenRow[] = [1, 2, 3, 4].map((seed) => ({
      tokens: [...prefix, ...tokensOf(seed * 3, seed)],
      labels: seed === 1 ? [1, 19, 20, 22] : [22],
    }));
    await using(await open(), async (runner) => {
      const together = await runner.score(forestBatch(rows));
      const forest = forestBatch(rows);
      expect(forest.tokens.length).toBeLessThan(rows.reduce((sum, row) => sum + row.tokens.length, 0));
      close(await runner.score(plainBatch(rows)), together);
      const alone = [];
      for (const row of rows) alone.push(...(await runner.score(plainBatch([row]))));
      close(Float64Array.from(alone), together);
    });
  });

  it("takes more branches than llama.cpp has sequences, and rows longer than its batch", async () => {
    const prefix = tokensOf(180, 0);
    const branches = Array.from({ length: 300 }, (_, i) => ({
      tokens: [...prefix, i % 90, (i * 7) % 90],
      labels: [181],
    }));
    const tokens = [...prefix, ...branches.flatMap((row) => row.tokens.slice(180))];
    const segments = [0, 180, -1, ...branches.flatMap((_, i) => [180 + 2 * i, 2, 0])];
    const batch: NativeBatch = {
      tokens: Int32Array.from(tokens),
      segments: Int32Array.from(segments),
      queryPositions: Int32Array.from(branches, (_, i) => 180 + 2 * i),
      queryTokens: Int32Array.from(branches, (row) => row.tokens[181]!),
    };
    await using(await open(256, 4), async (runner) => {
      const scores = await runner.score(batch);
      for (const i of [0, 1, 255, 256, 299])
        close(scores.slice(i, i + 1), await runner.score(plainBatch([branches[i]!])));
    });
  });

  it("gives probabilities: over the whole vocabulary they sum to 1", async () => {
    const tokens = Int32Array.from(tokensOf(5, 1));
    const queryTokens = Int32Array.from({ length: toy.vocabulary }, (_, token) => token);
    const batch = { tokens, segments: Int32Array.of(0, 5, -1), queryPositions: queryTokens.map(() => 4), queryTokens };
    const scores = await using(await open(), (runner) => runner.score(batch));
    expect(scores.reduce((sum, value) => sum + Math.exp(value), 0)).toBeCloseTo(1, 9);
  });

  it("needs no more context than the longest row", async () => {
    const rows = [1, 2, 3].map((seed) => ({ tokens: tokensOf(8, seed), labels: [3, 7] }));
    const batch = plainBatch(rows);
    const small = await using(await open(8, 1), (runner) => runner.score(batch));
    close(await using(await open(256, 256), (runner) => runner.score(batch)), small);
    const many = plainBatch(Array.from({ length: 20 }, (_, seed) => ({ tokens: tokensOf(60, seed), labels: [59] })));
    const odd = await using(await open(130, 2), (runner) => runner.score(many));
    close(await using(await open(256, 8), (runner) => runner.score(many)), odd);
  });

  it("refuses a batch that is not one", async () => {
    const good = plainBatch([{ tokens: [1, 2, 3], labels: [1, 2] }]);
    const bad: [Partial<NativeBatch> | { tokens: unknown }, RegExp][] = [
      [{ tokens: Int32Array.of(1, 2, toy.vocabulary) }, /token/],
      [{ tokens: [1, 2, 3] }, /Int32Array for batch.tokens, received an array/],
      [{ segments: Int32Array.of(0, 3) }, /triples/],
      [{ segments: Int32Array.of(0, 3, 5) }, /./],
      [{ queryPositions: Int32Array.of(0, 9) }, /./],
    ];
    await using(await open(), async (runner) => {
      for (const [change, message] of bad)
        await expect(runner.score({ ...good, ...change } as NativeBatch)).rejects.toThrow(message);
      await expect(runner.score(null as never)).rejects.toThrow("expected an object for batch, received null");
      await expect(runner.score(plainBatch([{ tokens: tokensOf(300, 0), labels: [1] }]))).rejects.toThrow(/300 tokens/);
    });
  });
});

describe("close", () => {
  const batch = plainBatch([{ tokens: tokensOf(200, 1), labels: [1, 100, 199] }]);

  it("waits for work in flight, can be called again, and refuses later calls", async () => {
    const runner = await open();
    const order: string[] = [];
    const scores = [1, 2, 3].map(() => runner.score(batch).then(() => order.push("score")));
    const closes = [1, 2].map(() => runner.close().then(() => order.push("close")));
    await expect(runner.score(batch)).rejects.toMatchObject({ code: "usage", message: "the runner is closed" });
    await Promise.all([...scores, ...closes]);
    expect(order).toEqual(["score", "score", "score", "close", "close"]);
    await runner.close();
    const tokenizer = await native().openTokenizer(model);
    await tokenizer.close();
    expect(() => tokenizer.tokenize("a", true, false)).toThrow("the tokenizer is closed");
    await tokenizer.close();
  });

  const program = (end: string) => `
    const addon = require(process.argv[1]);
    (async () => {
      const open = () => addon.openRunner(process.argv[2], { threads: 1, adapter: null, contextTokens: 4096, sequences: 1 });
      const runner = await open();
      const tokenizer = await addon.openTokenizer(process.argv[2]);
      const tokens = Int32Array.from({ length: 2000 }, (_, i) => i % 90);
      const segments = Int32Array.of(0, 2000, -1);
      const work = () => runner.score({ tokens, segments, queryPositions: Int32Array.of(1999), queryTokens: Int32Array.of(1) });
      ${end}
    })();`;
  it.each([
    ["open", "await work();"],
    ["busy, by running out of work", "work(); tokenizer.tokenize('a', true, false);"],
    ["busy, by process.exit", "work(); setTimeout(() => process.exit(0), 20);"],
    ["busy and closing, by process.exit", "work(); runner.close(); setTimeout(() => process.exit(0), 20);"],
    ["still opening, by process.exit", "open(); process.exit(0);"],
    ["closed", "await work(); await runner.close(); await tokenizer.close();"],
  ])("the process exits cleanly while a handle is %s", (_name, end) => {
    const child = spawnSync(process.execPath, ["--eval", program(end), addonPath(), model], {
      encoding: "utf8",
      timeout: 50_000,
    });
    expect({ status: child.status, signal: child.signal, stderr: child.stderr, stdout: child.stdout }).toEqual({
      status: 0,
      signal: null,
      stderr: "",
      stdout: "",
    });
  });
});

describe("the tokenizer of SmolLM2", () => {
  const testShared = needs("shared");
  const smol = sharedPath("models/SmolLM2-135M-Instruct.Q4_1.gguf");

  testShared("makes control tokens only where it is told to, and gives text back as it came", async () => {
    const tokenizer = await native().openTokenizer(smol);
    expect(tokenizer).toMatchObject({
      vocabulary: 49152,
      bos: 1,
      eos: 2,
      addsBos: false,
      endTokens: Int32Array.of(0, 2, 4),
    });
    expect([...tokenizer.tokenize("<|im_end|>", false, true)]).toEqual([2]);
    const plain = tokenizer.tokenize("<|im_end|>", false, false);
    expect(plain.length).toBeGreaterThan(1);
    expect(plain).not.toContain(2);
    expect(tokenizer.detokenize(plain, true)).toBe("<|im_end|>");
    expect(tokenizer.detokenize(Int32Array.of(2), true)).toBe("<|im_end|>");
    expect(tokenizer.detokenize(Int32Array.of(2), false)).toBe("");
    for (const text of ["", " a", "naïve 東京 🍑\n\t x", "  ", "a\u0000b", "e\u0301", "x".repeat(5000)])
      expect(tokenizer.detokenize(tokenizer.tokenize(text, false, false), true)).toBe(text);
    expect(() => tokenizer.detokenize(Int32Array.of(49152), true)).toThrow(/below 49152/);
    expect(() => tokenizer.tokenize(7 as never, true, true)).toThrow("expected a string for text, received 7");
    await tokenizer.close();
  });

  testShared("leaves node-llama-cpp beside us as it was", () => {
    // A file, because node-llama-cpp starts a test process with our flags.
    const file = path.join(folder, "beside.mjs");
    writeFileSync(
      file,
      `
      import { createRequire } from "node:module";
      import { getLlama } from ${JSON.stringify(import.meta.resolve("node-llama-cpp"))};
      const [addonPath, model] = process.argv.slice(2);
      const addon = createRequire(import.meta.url)(addonPath);
      const options = { threads: 1, adapter: null, contextTokens: 64, sequences: 1 };
      const ours = await addon.openRunner(model, options);
      const llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
      const theirs = await llama.loadModel({ modelPath: model });
      const context = await theirs.createContext({ contextSize: 64, threads: 1 });
      const tokens = theirs.tokenize("The capital of France is");
      const tokenizer = await addon.openTokenizer(model);
      const limits = { memory: 2 ** 26, sequences: 1, stepTokens: 64 };
      const decoder = await addon.openDecoder(model, tokenizer, { ...limits, threads: 1, adapter: null, gpuLayers: 0, backends: [], exact: true });
      const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, repetitionWindow: 0, seed: 0 };
      decoder.add({ prompt: Int32Array.from(tokens), maxTokens: 1, stop: [], grammar: null, logProbabilities: null, ...greedy });
      const [answer] = (await decoder.step()).finished;
      let next;
      for await (const token of context.getSequence().evaluate(tokens, { temperature: 0 })) {
        next = token;
        break;
      }
      await Promise.all([ours.close(), decoder.close(), tokenizer.close()]);
      await llama.dispose();
      console.log(JSON.stringify([answer.tokens[0], next]));`,
    );
    const child = spawnSync(process.execPath, [file, addonPath(), smol], { encoding: "utf8", timeout: 50_000 });
    expect(child.stderr).toBe("");
    const [ours, theirs] = JSON.parse(child.stdout) as [number, number];
    expect(ours).toBe(theirs);
  });
});
