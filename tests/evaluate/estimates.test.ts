// Which interval a number has: the bootstrap's, Wilson's, or none.
import { describe, expect, it } from "vitest";
import { setText } from "../../src/dataset/index.js";
import { type Estimate, estimates, shareOf } from "../../src/evaluate/estimates.js";
import { bootstrapInterval, type Interval, meanOf, type Statistic, wilson } from "../../src/evaluate/intervals.js";
import type { RowScore } from "../../src/evaluate/scoring.js";
import { summarise } from "../../src/evaluate/summary.js";
import { metricsOf, type TaskKind } from "../../src/task/index.js";
import { taskOf } from "../prompt/rows.js";

const flags = (rows: number, ones: number) => Array.from({ length: rows }, (_, row) => Number(row < ones));
const estimate = (rows: number, statistic: Statistic, seed: number) => estimates(rows, { statistic }, seed).statistic;
const none = (value: number): Estimate => ({ value, low: null, high: null });

describe("a share", () => {
  it("of 0 and of 1 has Wilson's interval, any other the bootstrap's", () => {
    for (let rows = 1; rows <= 20; rows++) {
      for (let ones = 0; ones <= rows; ones++) {
        const found = estimate(rows, shareOf(flags(rows, ones)), 3);
        const drawn = bootstrapInterval(rows, meanOf(flags(rows, ones)), { seed: 3 });
        expect(found, `${ones} of ${rows}`).toEqual(ones % rows === 0 ? wilson(ones, rows) : drawn);
      }
    }
  });

  it("is of the rows that count", () => {
    const share = shareOf([1, null, 1, null, null]);
    expect([share(Int32Array.of(0, 1, 2)), share(Int32Array.of(1, 3))]).toEqual([1, 0]);
    expect(estimate(5, share, 0)).toEqual(wilson(2, 2));
    expect(estimate(5, shareOf([0, null, 0, null, null]), 0)).toEqual(wilson(0, 2));
  });

  // Over true shares of 0.01 to 0.99: the bootstrap alone holds 0.655, 0.789 and 0.862 of them in the mean, and at worst 0.049, 0.096 and 0.182.
  it.each([
    [5, 0.971, 0.92],
    [10, 0.957, 0.853],
    [20, 0.946, 0.865],
  ])("of %i rows lies within its interval as often as it says", (rows, inTheMean, atWorst) => {
    const ends = flags(rows + 1, 0).map((_, ones) => estimate(rows, shareOf(flags(rows, ones)), 0) as Interval);
    const held = Array.from({ length: 99 }, (_, place) => {
      const p = (place + 1) / 100;
      return binomial(rows, p).reduce((sum, chance, ones) => {
        return sum + (ends[ones]!.low <= p && p <= ends[ones]!.high ? chance : 0);
      }, 0);
    });
    expect(held.reduce((sum, one) => sum + one) / 99).toBeCloseTo(inTheMean, 3);
    expect(Math.min(...held)).toBeCloseTo(atWorst, 3);
  });
});

/** By the number of ones, C(rows, ones) p^ones (1 - p)^(rows - ones). */
function binomial(rows: number, p: number): number[] {
  let chances = [1];
  for (let row = 0; row < rows; row++)
    chances = flags(row + 2, 0).map((_, ones) => (chances[ones] ?? 0) * (1 - p) + (chances[ones - 1] ?? 0) * p);
  return chances;
}

it("a number that is no share has none where all draws give the same", () => {
  const found = estimates(3, { alike: meanOf([2, 2, 2]), whole: meanOf([1, 1, 1]), other: meanOf([1, 2, 3]) }, 0);
  expect(found).toMatchObject({ alike: none(2), whole: none(1), other: { value: 2, low: 1, high: 3 } });
  expect(estimate(1, meanOf([0.3]), 0)).toEqual(none(0.3));
});

/** A row of each kind, right or wrong. */
const rowOf: Record<TaskKind, (right: boolean, index: number) => RowScore> = {
  classify: (right, index) => {
    const prediction = right ? "a" : "b";
    const probabilities = { a: right ? 0.75 : 0.25, b: right ? 0.25 : 0.75 };
    return { index, answer: "a", prediction, probabilities, open: false };
  },
  multilabel: (right, index) => {
    const prediction = setText(right ? ["a"] : ["b"]);
    return { index, answer: setText(["a"]), prediction, probabilities: { a: Number(right), b: Number(!right) } };
  },
  regress: (right, index) => {
    const prediction = right ? 5 : 7;
    return {
      index,
      answer: "5",
      prediction: `${prediction}`,
      probabilities: null,
      interval: [prediction, prediction + 1],
    };
  },
  generate: (right, index) => {
    return { index, answer: "a word", prediction: right ? "a word" : "none", probabilities: null };
  },
};
const shares: Record<TaskKind, string[]> = {
  classify: ["accuracy", "answered", "answered_accuracy"],
  multilabel: ["subset_accuracy", "hamming_loss"],
  regress: ["coverage"],
  generate: ["exact_match", "f1", "rouge_l"],
};
const labels = ["a", "b"].map((text) => ({ text, value: text }));

describe.each(Object.keys(shares) as TaskKind[])("of a task of kind %s", (kind) => {
  const summed = (right: readonly boolean[]) => summarise({ ...taskOf({}), kind }, right.map(rowOf[kind]), labels, 0);

  it.each([true, false])(
    "rows that are all right (%s): shares have Wilson's interval, nothing has one of no width",
    (right) => {
      for (const rows of [1, 5]) {
        const { metrics, classes } = summed(new Array<boolean>(rows).fill(right));
        expect(Object.keys(metrics)).toEqual(expect.arrayContaining([...metricsOf[kind], ...shares[kind]]));
        for (const [name, found] of Object.entries(metrics)) {
          const { value } = found;
          expect(found, name).toEqual(shares[kind].includes(name) ? wilson(value * rows, rows) : none(value));
        }
        for (const { f1_interval } of classes ?? []) expect(f1_interval ?? null).toBeNull();
      }
    },
  );

  it("rows some of which are right: every number has an interval around it", () => {
    const { metrics } = summed([true, false, true, true, false, true]);
    // All answers are alike, and with them what these are of.
    const alike = ["answered", "interval_width", "pearson", "spearman", "r2", "average_precision"];
    for (const [name, { value, low, high }] of Object.entries(metrics)) {
      if (alike.includes(name)) continue;
      expect(low, name).toBeLessThan(high!);
      expect(low, name).toBeLessThanOrEqual(value);
      expect(high, name).toBeGreaterThanOrEqual(value);
    }
  });
});
