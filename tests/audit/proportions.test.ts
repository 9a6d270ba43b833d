// How often the intervals of two rates hold the truth, for every pair of groups of 1 to 20 rows: counted over all tables, not drawn.
import { expect, it } from "vitest";
import { rateGap } from "../../src/audit/proportions.js";
import type { Estimate } from "../../src/evaluate/index.js";

const truths = [0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99];

/** The probability of each number of hits among so many rows. */
function binomial(rows: number, rate: number): number[] {
  let ways = 1;
  return Array.from({ length: rows + 1 }, (_, hits) => {
    const probability = ways * rate ** hits * (1 - rate) ** (rows - hits);
    ways *= (rows - hits) / (hits + 1);
    return probability;
  });
}

/** Coverage of both intervals, that of the ratio among the tables that have one. */
function* coverages() {
  for (let n = 1; n <= 20; n++) {
    for (let m = 1; m <= n; m++) {
      const gaps = Array.from({ length: n + 1 }, (_, a) =>
        Array.from({ length: m + 1 }, (_, b) => {
          return rateGap([
            { group: "a", hits: a, rows: n },
            { group: "b", hits: b, rows: m },
          ])!;
        }),
      );
      for (const p of truths) {
        for (const q of truths) {
          const [first, second] = [binomial(n, p), binomial(m, q)];
          let [difference, ratio, any] = [0, 0, 0];
          for (const [a, row] of gaps.entries()) {
            for (const [b, gap] of row.entries()) {
              const weight = first[a]! * second[b]!;
              const [high, low] = gap.between[0] === "a" ? [p, q] : [q, p];
              const holds = ({ low: from, high: to }: Estimate, truth: number) =>
                from! - 1e-12 <= truth && truth <= to! + 1e-12;
              if (holds(gap.difference, high - low)) difference += weight;
              if (gap.ratio === null) continue;
              any += weight;
              if (holds(gap.ratio, low / high)) ratio += weight;
            }
          }
          // One hit in each group can be expected, of ten rows at least.
          const told = m >= 10 && Math.min(p, q) * m >= 1;
          yield { difference, ratio: ratio / any, any, told };
        }
      }
    }
  }
}

it("95 % intervals hold the truth about as often in small groups, near rates of 0 and 1 as well", () => {
  const all = [...coverages()];
  const least = (values: number[]) => Math.min(...values);
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const differences = all.map(({ difference }) => difference);
  expect(mean(differences)).toBeCloseTo(0.958, 3);
  expect(least(differences)).toBeCloseTo(0.81, 3);
  const ratios = all.filter(({ any }) => any > 0.01).map(({ ratio }) => ratio);
  expect(mean(ratios)).toBeCloseTo(0.956, 3);
  expect(least(ratios)).toBeCloseTo(0.762, 3);
  const told = all.filter((one) => one.told);
  expect(least(told.map(({ difference }) => difference))).toBeCloseTo(0.899, 3);
  expect(mean(told.map(({ difference }) => difference))).toBeCloseTo(0.959, 3);
  expect(least(told.map(({ ratio }) => ratio))).toBeCloseTo(0.925, 3);
  expect(mean(told.map(({ ratio }) => ratio))).toBeCloseTo(0.961, 3);
});

it("a ratio has a width where all rows are hits", () => {
  const { ratio } = rateGap([
    { group: "a", hits: 12, rows: 12 },
    { group: "b", hits: 12, rows: 12 },
  ])!;
  // With n rows of each, n / (n + z² · 2n / (2n − 1)), and one by it.
  const low = 12 / (12 + (1.959963984540054 ** 2 * 24) / 23);
  expect(ratio).toEqual({ value: 1, low: expect.closeTo(low, 12), high: expect.closeTo(1 / low, 12) });
});
