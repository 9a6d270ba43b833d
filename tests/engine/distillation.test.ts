// Losses of distillation and their gradients against PyTorch and TRL (tests/golden/distillation.py); what a model and llama.cpp say as teachers.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fromFloat16 } from "../../src/adapter/half_floats.js";
import { type NativeDistillation, type NativeTail, type NativeTaught, native } from "../../src/support/native.js";
import {
  distances,
  forestBatch,
  type GoldenRow,
  type PackedTensors,
  plainBatch,
  unpackTensors,
} from "../support/golden.js";
import { draw, noise, type Toy, toyLora, writeToy } from "../support/toy.js";

interface Trial extends NativeDistillation {
  topK: number;
  tail: NativeTail;
  entries: string;
  tails: string;
  /** Of trials with a hiddenWeight. */
  hiddenWidth?: number;
  states?: string;
  hiddenSum?: number;
  lossSum: number;
  gradients: PackedTensors;
}
const golden = JSON.parse(
  readFileSync(fileURLToPath(new URL("../golden/distillation.json", import.meta.url)), "utf8"),
) as { toy: Toy; rows: GoldenRow[]; trials: Trial[] };

const folder = mkdtempSync(path.join(tmpdir(), "stillroom-distillation-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = path.join(folder, "toy.gguf");
beforeAll(() => writeToy(file, golden.toy));

const words = (packed: string) => Uint8Array.from(Buffer.from(packed, "base64")).buffer;
const taughtOf = ({ topK, tail, entries, tails, hiddenWidth: width, states }: Trial): NativeTaught => ({
  ...{ topK, tail },
  entries: new Uint32Array(words(entries)),
  tails: new Float32Array(words(tails)),
  ...(width && states && { hidden: { width, states: new Uint16Array(words(states)) } }),
});
/** The golden positions stand row by row; a forest asks in another order. */
function arrange(taught: NativeTaught, batch: ReturnType<typeof plainBatch>, plain: ReturnType<typeof plainBatch>) {
  const pathOf = (of: typeof batch, position: number) => {
    const tokens: number[] = [];
    let segment = Array.from({ length: of.segments.length / 3 }, (_, s) => s).findLast(
      (s) => of.segments[s * 3]! <= position,
    )!;
    for (let end = position + 1; segment >= 0; segment = of.segments[segment * 3 + 2]!) {
      const [start, length] = [of.segments[segment * 3]!, of.segments[segment * 3 + 1]!];
      tokens.unshift(...of.tokens.subarray(start, Math.min(end, start + length)));
      end = Number.POSITIVE_INFINITY;
    }
    return tokens.join();
  };
  const places = [...plain.queryPositions].map((position) => pathOf(plain, position));
  const order = [...batch.queryPositions].map((position) => places.indexOf(pathOf(batch, position)));
  const { topK, tail, entries, tails, hidden } = taught;
  const ordered = (values: Uint32Array | Uint16Array, each: number) =>
    order.flatMap((query) => [...values.subarray(query * each, (query + 1) * each)]);
  return {
    ...{ topK, tail },
    entries: Uint32Array.from(ordered(entries, topK)),
    tails: Float32Array.from(order, (query) => tails[query]!),
    ...(hidden && { hidden: { ...hidden, states: Uint16Array.from(ordered(hidden.states, hidden.width)) } }),
  };
}

describe.each(native().variants)("%s", (variant) => {
  it.each(golden.trials)(
    "$loss, beta $beta, temperature $temperature, labels $labelWeight, $tail of $topK, hidden $hiddenWeight",
    async (trial) => {
      const model = await native().openModel(file, { threads: 2, variant });
      const { options, tensors } = toyLora(golden.toy);
      const plain = plainBatch(golden.rows);
      for (const layout of [plain, forestBatch(golden.rows)]) {
        const { loss, beta, temperature, labelWeight, hiddenWeight = 0, hiddenWidth } = trial;
        const lora = model.createLora({ ...options, ...(hiddenWidth && { hiddenWidth }) });
        lora.load(tensors);
        if (hiddenWidth) {
          const drawn = noise("projection.weight", hiddenWidth * golden.toy.width);
          lora.write(lora.shapes.length - 1, Float32Array.from(drawn));
        }
        const trainer = model.createTrainer(lora, {
          ...{ beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 0, seed: 0, recompute: false },
          distillation: { loss, beta, temperature, labelWeight, hiddenWeight },
        });
        const taught = arrange(taughtOf(trial), layout, plain);
        const done = await trainer.accumulate({ ...layout, taught }, 0, 0);
        expect(done).toMatchObject({ finite: true, count: plain.queryTokens.length });
        expect(Math.abs(done.lossSum / trial.lossSum - 1)).toBeLessThan(1e-5);
        expect(done.hiddenSum).toBeCloseTo(trial.hiddenSum ?? 0, 2);
        const far = distances(trainer.gradients(), unpackTensors(trial.gradients));
        expect([...far].filter(([, distance]) => !(distance < 1e-4))).toEqual([]);
      }
      await model.close();
    },
  );
});

it("our engine and llama.cpp have the same hidden states as teachers, those that the head reads", async () => {
  const model = await native().openModel(file, { threads: 2, variant: null });
  const runner = await native().openRunner(file, { threads: 1, adapter: null, contextTokens: 256, sequences: 4 });
  const { width, vocabulary } = golden.toy;
  const head = draw("output.weight", vocabulary, width);
  for (const batch of [plainBatch(golden.rows), forestBatch(golden.rows)]) {
    const asked = { topK: 5, temperature: 1.5, tail: "bucket" as const };
    const [ours, theirs] = [
      await model.teach(batch, null, { ...asked, hidden: true }),
      await runner.teach(batch, { ...asked, hidden: true }),
    ];
    // What they say is what they say without.
    const { hidden: _, ...said } = ours;
    expect(await model.teach(batch, null, asked)).toEqual(said);
    const plain = await runner.teach(batch, asked);
    expect(plain.hidden).toBeUndefined();
    expect(theirs.entries.filter((entry, at) => Math.abs(entry - plain.entries[at]!) > 1)).toHaveLength(0);
    expect([ours, theirs].map(({ hidden }) => [hidden!.width, hidden!.states.length])).toEqual(
      Array.from({ length: 2 }, () => [width, width * batch.queryTokens.length]),
    );
    const logits = await model.logits(batch, null);
    for (let query = 0; query < batch.queryTokens.length; query++) {
      const state = (of: NativeTaught) => fromFloat16(of.hidden!.states.subarray(query * width, (query + 1) * width));
      const [mine, other] = [state(ours), state(theirs)];
      for (const [at, value] of mine.entries()) expect(Math.abs(value - other[at]!)).toBeLessThan(4e-3);
      for (const token of [0, 50, vocabulary - 1]) {
        const sum = mine.reduce((all, value, at) => all + value * head[token * width + at]!, 0);
        expect(sum).toBeCloseTo(logits[query * vocabulary + token]!, 1);
      }
    }
  }
  await runner.close();
  await model.close();
});

it("our engine and llama.cpp say the same as teachers", async () => {
  const batch = forestBatch(golden.rows);
  const model = await native().openModel(file, { threads: 2, variant: null });
  const runner = await native().openRunner(file, { threads: 1, adapter: null, contextTokens: 256, sequences: 4 });
  for (const options of [
    { topK: 5, temperature: 1, tail: "bucket" as const },
    { topK: 200, temperature: 2.5, tail: "bucket" as const },
  ]) {
    const [ours, theirs] = [await model.teach(batch, null, options), await runner.teach(batch, options)];
    expect(ours.topK).toBe(options.topK);
    const count = Math.min(options.topK, golden.toy.vocabulary);
    const logits = await model.logits(batch, null);
    for (let query = 0; query < batch.queryTokens.length; query++) {
      const row = [...logits.subarray(query * golden.toy.vocabulary, (query + 1) * golden.toy.vocabulary)];
      const heated = row.map((value) => Math.exp(value / options.temperature));
      const sum = heated.reduce((a, b) => a + b, 0);
      const order = row.map((_, token) => token).sort((a, b) => row[b]! - row[a]! || a - b);
      let head = 0;
      for (let at = 0; at < options.topK; at++) {
        const [mine, other] = [ours, theirs].map(({ entries }) => entries[query * options.topK + at]!);
        if (at >= count) {
          expect([mine, other]).toEqual([2 ** 32 - 1, 2 ** 32 - 1]);
          continue;
        }
        expect(mine! >>> 14).toBe(order[at]);
        expect(Math.abs((mine! & 0x3fff) - (other! & 0x3fff))).toBeLessThanOrEqual(1);
        expect(-(mine! & 0x3fff) / 512).toBeCloseTo(Math.log(heated[order[at]!]! / sum), 2);
        head += heated[order[at]!]! / sum;
      }
      expect(ours.tails[query]).toBeCloseTo(1 - head, 5);
      expect(theirs.tails[query]).toBeCloseTo(1 - head, 4);
    }
  }
  await runner.close();
  await model.close();
});

it("what is drawn of a teacher's tail depends on the tokens alone: in any batch, by our engine and by llama.cpp", async () => {
  const [plain, forest] = [plainBatch(golden.rows), forestBatch(golden.rows)];
  const model = await native().openModel(file, { threads: 2, variant: null });
  const runner = await native().openRunner(file, { threads: 1, adapter: null, contextTokens: 256, sequences: 4 });
  const asked = { topK: 12, temperature: 1, tail: "sample" as const };
  const said = await model.teach(plain, null, asked);
  const tokensOf = ({ entries }: NativeTaught) => [...entries].map((entry) => entry >>> 14);
  const others = [await model.teach(forest, null, asked), await runner.teach(forest, asked)];
  for (const other of others) {
    const here = arrange(said, forest, plain);
    expect(tokensOf(other)).toEqual(tokensOf(here));
    for (const [query, tail] of other.tails.entries()) expect(tail).toBeCloseTo(here.tails[query]!, 4);
  }
  // Positions differ in what is drawn, not only in what is likely.
  const alone = await model.teach(forest, null, { ...asked, topK: 1 });
  const drawn = tokensOf(alone).filter((token, query) => token !== tokensOf(others[0]!)[query * 12]);
  expect(drawn.length).toBeGreaterThan(0);
  await runner.close();
  await model.close();
});

it("what a teacher cannot have said is refused", async () => {
  const model = await native().openModel(file, { threads: 1, variant: null });
  const batch = plainBatch(golden.rows.slice(4, 6));
  const taught = await model.teach(batch, null, { topK: 4, temperature: 1, tail: "bucket" });
  const lora = model.createLora(toyLora(golden.toy).options);
  const options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 0, seed: 0, recompute: false };
  const distillation: NativeDistillation = { loss: "jsd", beta: 0.5, temperature: 1, labelWeight: 0 };
  const trainer = model.createTrainer(lora, { ...options, distillation });
  const wrong = (change: Partial<NativeTaught>) =>
    expect(trainer.accumulate({ ...batch, taught: { ...taught, ...change } }, 0, 0)).rejects;
  await wrong({ topK: 3 }).toMatchObject({ code: "usage", message: expect.stringMatching(/2 positions of 3 entries/) });
  await wrong({ tail: "sample" }).toThrow(/one bucket for this loss, received a sample/);
  await wrong({ tail: "head" as NativeTail }).toThrow(
    /expected bucket or sample for batch\.taught\.tail, received "head"/,
  );
  await wrong({ tails: Float32Array.of(0.5) }).toThrow(/expected 2 positions/);
  await wrong({ tails: Float32Array.of(0.5, Number.NaN) }).toThrow(/tail from 0 to 1/);
  await wrong({ entries: taught.entries.map((entry, at) => (at === 3 ? 97 << 14 : entry)) }).toThrow(
    /token 97 is outside/,
  );
  await expect(trainer.accumulate(batch, 0, 0)).rejects.toThrow(/expected what a teacher said/);
  const matched = (hiddenWidth?: number) =>
    model.createTrainer(model.createLora({ ...toyLora(golden.toy).options, ...(hiddenWidth && { hiddenWidth }) }), {
      ...options,
      distillation: { ...distillation, hiddenWeight: 1 },
    });
  expect(() => matched()).toThrow(/parameters with a projection \(hiddenWidth\) for hiddenWeight/);
  const states = new Uint16Array(2 * 3).fill(0x3c00);
  const off = (hidden: object | undefined) =>
    expect(matched(3).accumulate({ ...batch, taught: { ...taught, hidden } as NativeTaught }, 0, 0)).rejects;
  await off(undefined).toThrow(/a teacher's states of 3 values, received none/);
  await off({ width: 2, states: states.subarray(2) }).toThrow(/a teacher's states of 3 values, received 2/);
  await off({ width: 3, states: states.subarray(1) }).toThrow(
    /expected 2 states of 3 values from a teacher, received 5/,
  );
  await off({ width: 3, states: states.with(4, 0x7c00) }).toThrow(/a teacher's state is not finite, or all 0/);
  await off({ width: 3, states: states.with(3, 0).with(4, 0x8000).with(5, 0) }).toThrow(/not finite, or all 0/);
  await off({ width: 3, states: [1] }).toThrow(/Uint16Array for batch\.taught\.hidden\.states, received an array/);
  expect(
    await matched(3).accumulate({ ...batch, taught: { ...taught, hidden: { width: 3, states } } }, 0, 0),
  ).toMatchObject({
    finite: true,
  });
  for (const change of [{ beta: 0 }, { temperature: 0 }, { labelWeight: 1.5 }, { loss: "kl" }, { hiddenWeight: -1 }]) {
    const [name] = Object.keys(change);
    const made = () =>
      model.createTrainer(lora, { ...options, distillation: { ...distillation, ...change } as NativeDistillation });
    expect(made).toThrow(new RegExp(`for ${name}`));
  }
  const asked = { topK: 4, temperature: 1, tail: "bucket" as const };
  await expect(model.teach(batch, null, { ...asked, topK: 0 })).rejects.toThrow(/topK/);
  await expect(model.teach(batch, null, { ...asked, temperature: 0 })).rejects.toThrow(/temperature/);
  await model.close();
});
