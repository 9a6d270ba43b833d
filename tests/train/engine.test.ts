// The loop on the real engine with a toy decoder: what the fake engine cannot show about bytes.
import { mkdtempSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type LoraTarget, type NativeModel, native } from "../../src/support/native.js";
import { Random } from "../../src/support/random.js";
import type { MicroBatch, TrainJob } from "../../src/train/loop.js";
import { type Toy, writeToy } from "../support/toy.js";
import { bits, drive, toyFolder, toyJob } from "./toy-job.js";

const toy: Toy = {
  name: "loop",
  architecture: "llama",
  layers: 2,
  width: 24,
  heads: 3,
  keyValueHeads: 1,
  headWidth: 8,
  feedForward: 40,
  vocabulary: 37,
  contextLength: 64,
  tied: true,
  epsilon: 1e-5,
  ropeBase: 10000,
  ropeScaling: null,
  ropeFactors: null,
  lora: { rank: 4, alpha: 8, rsLora: false, targets: ["q"] },
};

/** Rows of 4 to 12 tokens, each with 1 to 3 label tokens at its end that are a function of the first token. */
const random = new Random(11);
const rows = Array.from({ length: 40 }, () => {
  const prompt = Array.from({ length: 3 + random.below(8) }, () => random.below(37));
  return { prompt, answer: Array.from({ length: 1 + (prompt[0]! % 3) }, (_, index) => (prompt[0]! * 5 + index) % 37) };
});

function microBatch(part: typeof rows): MicroBatch {
  const tokens: number[] = [];
  const segments: number[] = [];
  const queries: [position: number, token: number][] = [];
  for (const { prompt, answer } of part) {
    const whole = [...prompt, ...answer.slice(0, -1)];
    const first = tokens.length + prompt.length - 1;
    segments.push(tokens.length, whole.length, -1);
    queries.push(...answer.map((token, index): [number, number] => [first + index, token]));
    tokens.push(...whole);
  }
  return {
    batch: {
      tokens: Int32Array.from(tokens),
      segments: Int32Array.from(segments),
      queryPositions: Int32Array.from(queries, ([position]) => position),
      queryTokens: Int32Array.from(queries, ([, token]) => token),
    },
    rows: part.length,
    tokens: tokens.length,
  };
}

let model: NativeModel;
beforeAll(async () => {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "stillroom-toy-")), "toy.gguf");
  writeToy(file, toy);
  model = await native().openModel(file, { threads: 1, variant: null });
});
afterAll(() => model.close());

interface Choice {
  microBatchRows?: number;
  dropout?: number;
  signal?: AbortSignal;
  recompute?: boolean;
  layers?: number[];
  frozenBytes?: number;
}

async function engineJob(folder: string, choice: Choice = {}): Promise<TrainJob> {
  const { microBatchRows = 3, dropout = 0, recompute = false, layers, frozenBytes = 0 } = choice;
  const targets: LoraTarget[] = ["q", "v", "down"];
  const lora = model.createLora({
    rank: 4,
    alpha: 8,
    dropout,
    rsLora: false,
    targets,
    seed: 1,
    ...(layers && { layers }),
  });
  const optimizer = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01, clipNorm: 1 };
  const trainer = model.createTrainer(lora, { ...optimizer, recompute, seed: 1, frozenBytes });
  const job = await toyJob(folder, { steps: 20, change: { ...(choice.signal && { signal: choice.signal }) } });
  return {
    ...job,
    parameters: lora,
    trainer,
    microBatches(indices) {
      const chosen = [...indices].map((index) => rows[index]!);
      const count = Math.ceil(chosen.length / microBatchRows);
      return Array.from({ length: count }, (_, part) =>
        microBatch(chosen.slice(part * microBatchRows, (part + 1) * microBatchRows)),
      );
    },
  };
}

const lossOf = async (folder: string) =>
  (await readFile(path.join(folder, "metrics.jsonl"), "utf8"))
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { loss: number }).loss);

test("the loss falls", async () => {
  const folder = await toyFolder();
  await drive(await engineJob(folder));
  const losses = await lossOf(folder);
  expect(losses.at(-1)!).toBeLessThan(losses[0]! * 0.7);
});

test("1×8 and 8×1 rows of different length agree", async () => {
  const [whole, single] = [await toyFolder(), await toyFolder()];
  await drive(await engineJob(whole, { microBatchRows: 8 }));
  await drive(await engineJob(single, { microBatchRows: 1 }));
  const [first, second] = [await lossOf(whole), await lossOf(single)];
  for (const [step, loss] of first.entries()) expect(Math.abs(second[step]! - loss) / loss).toBeLessThan(1e-3);
});

test.each([{ dropout: 0 }, { dropout: 0.2 }, { recompute: true }, { layers: [1], dropout: 0.2, frozenBytes: 1 << 20 }])(
  "stopped and resumed, with %j: the same bytes",
  async (choice) => {
    const undisturbed = await drive(await engineJob(await toyFolder(), choice));
    const folder = await toyFolder();
    for (const stop of [1, 2, 9, 19, null]) {
      const abort = new AbortController();
      const told = await drive(await engineJob(folder, { ...choice, signal: abort.signal }), (event) => {
        if (event.type === "step" && event.step === stop) abort.abort();
      });
      if (stop !== null) expect(told.error).toMatchObject({ code: "cancelled" });
      else expect(bits(told.weights)).toBe(bits(undisturbed.weights));
    }
  },
);

test("recomputation changes memory, not bytes", async () => {
  const kept = await drive(await engineJob(await toyFolder()));
  const again = await drive(await engineJob(await toyFolder(), { recompute: true }));
  expect(bits(again.weights)).toBe(bits(kept.weights));
});

test.each([{ dropout: 0 }, { dropout: 0.2 }, { recompute: true }])(
  "states of the frozen layer kept for four epochs, with %j: the same bytes and losses",
  async (choice) => {
    const [plain, kept] = [await toyFolder(), await toyFolder()];
    const computed = await drive(await engineJob(plain, { ...choice, layers: [1] }));
    const reused = await drive(await engineJob(kept, { ...choice, layers: [1], frozenBytes: 1 << 20 }));
    expect(bits(reused.weights)).toBe(bits(computed.weights));
    expect(await lossOf(kept)).toEqual(await lossOf(plain));
  },
);
