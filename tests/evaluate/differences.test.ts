// Which interval the difference of two predictors on the same rows has: the bootstrap's, Tango's, or none.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Estimate, shareOf } from "../../src/evaluate/estimates.js";
import { bootstrapInterval, type Interval, meanOf, squareAndAdd, tango, wilson } from "../../src/evaluate/intervals.js";
import { pairedDifference } from "../../src/evaluate/paired.js";
import { testPair } from "../../src/evaluate/pairs.js";
import type { RowScore } from "../../src/evaluate/scoring.js";
import { taskOf } from "../prompt/rows.js";

const golden = JSON.parse(readFileSync(new URL("../golden/tango.json", import.meta.url), "utf8")) as {
  difference: number;
  rows: number;
  interval: [number, number];
}[];
const none = (value: number): Estimate => ({ value, low: null, high: null });

/** Of so many rows, those that the first alone has right, then those of the second alone, then both, or neither, by turns. */
function flagsOf(rows: number, first: number, second: number) {
  const shared = Array.from({ length: rows - first - second }, (_, row) => row % 2);
  const ones = (count: number, value: number) => new Array<number>(count).fill(value);
  return [...ones(first, 1), ...ones(second, 0), ...shared, ...ones(first, 0), ...ones(second, 1), ...shared];
}

it.each(golden)("Tango's interval of $rows rows that all differ by $difference, from its definition", (expected) => {
  const { low, high, value } = tango(expected.difference, expected.rows)!;
  expect(value).toBe(expected.difference);
  expect(low).toBeCloseTo(expected.interval[0], 10);
  expect(high).toBeCloseTo(expected.interval[1], 10);
});

/** What the bootstrap alone gives: that of the rows' differences. */
function drawnOf(flags: readonly number[], seed: number): Interval {
  const rows = flags.length / 2;
  const differences = flags.slice(0, rows).map((one, row) => one - flags[row + rows]!);
  return bootstrapInterval(rows, meanOf(differences), { seed });
}

describe("a difference of shares", () => {
  it("has Tango's interval where all rows differ alike, else the bootstrap's", () => {
    for (const rows of [1, 2, 5, 8]) {
      for (let first = 0; first <= rows; first++) {
        for (let second = 0; first + second <= rows; second++) {
          const flags = flagsOf(rows, first, second);
          const { value, low, high } = pairedDifference(rows, shareOf(flags), 3);
          const alike = [first, second, rows - first - second].includes(rows);
          const expected = alike ? tango((first - second) / rows, rows)! : drawnOf(flags, 3);
          for (const [end, name] of [value, low, high].map(
            (end, at) => [end!, (["value", "low", "high"] as const)[at]!] as const,
          ))
            expect(end, `${name} of ${first}, ${second} of ${rows}`).toBeCloseTo(expected[name], 12);
          expect(low).toBeLessThan(high!);
        }
      }
    }
  });

  // Over the shares of rows that the first and the second alone have right, each of six from 0.02 to 0.4. The bootstrap alone holds 0.722, 0.846 and 0.913 of the
  // differences in the mean, and at worst 0.225, 0.391 and 0.630.
  it.each([
    [5, 0.89, 0.773],
    [10, 0.915, 0.801],
    [20, 0.938, 0.864],
  ])("of %i rows lies within its interval more often than the bootstrap has it", (rows, inTheMean, atWorst) => {
    const ends = Array.from({ length: rows + 1 }, (_, first) =>
      Array.from({ length: rows - first + 1 }, (_, second) => {
        return pairedDifference(rows, shareOf(flagsOf(rows, first, second)), 0) as Interval;
      }),
    );
    const shares = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4];
    const held = shares.flatMap((p) => shares.map((q) => heldBy(ends, rows, p, q)));
    expect(held.reduce((sum, one) => sum + one) / held.length).toBeCloseTo(inTheMean, 3);
    expect(Math.min(...held)).toBeCloseTo(atWorst, 3);
  });

  it("of parts of rows has that of rows none of which differs, and of rows that do not count none", () => {
    const parts = [0.5, 0.25, 1];
    expect(pairedDifference(3, shareOf([...parts, ...parts]), 0)).toEqual(tango(0, 3));
    const counted = [1, null, 0];
    expect(pairedDifference(3, shareOf([...counted, ...counted]), 0)).toEqual(none(0));
  });
});

it("a difference of other numbers has none where all draws give the same, but for rounding", () => {
  const losses = [0.1, 0.7, 0.2];
  expect(pairedDifference(3, meanOf([...losses, ...losses]), 0)).toEqual(none(0));
  const { low, high, value } = pairedDifference(3, meanOf([...losses.map((loss) => loss + 0.3), ...losses]), 0);
  expect([low, high]).toEqual([null, null]);
  expect(value).toBeCloseTo(0.3, 12);
  expect(pairedDifference(3, meanOf([...losses.map((loss) => 2 * loss), ...losses]), 0).low).toBeLessThan(0.3);
});

it("a difference of two differences adds the squares of the distances to their ends", () => {
  const [first, second] = [wilson(9, 10), wilson(5, 10)];
  const { value, low, high } = squareAndAdd(first, second);
  expect(value).toBeCloseTo(0.4, 12);
  expect(low).toBeCloseTo(0.4 - Math.hypot(0.9 - first.low, second.high - 0.5), 12);
  expect(high).toBeCloseTo(0.4 + Math.hypot(first.high - 0.9, 0.5 - second.low), 12);
});

it("models that answer five rows alike differ by an interval of their right answers, and by none of their losses", () => {
  const labels = ["a", "b"].map((text) => ({ text, value: text }));
  const rows = Array.from({ length: 5 }, (_, index): RowScore => {
    return { index, answer: "a", prediction: index < 3 ? "a" : "b", probabilities: { a: 0.5, b: 0.5 } };
  });
  const differenceIn = (metric: string) => testPair(taskOf({}), rows, rows, { labels, metric, seed: 0 }).difference;
  expect(differenceIn("accuracy")).toEqual(tango(0, 5));
  expect(differenceIn("log_loss")).toEqual(none(0));
  expect(differenceIn("macro_f1")).toEqual(none(0));
});

/** The chance that p - q lies within the interval, p and q the shares of rows that the first and the second alone have right. */
function heldBy(ends: Interval[][], rows: number, p: number, q: number): number {
  let [sum, ofFirst] = [0, (1 - p - q) ** rows];
  for (let first = 0; first <= rows; first++) {
    let chance = ofFirst;
    for (let second = 0; first + second <= rows; second++) {
      const { low, high } = ends[first]![second]!;
      if (low <= p - q && p - q <= high) sum += chance;
      chance *= (((rows - first - second) / (second + 1)) * q) / (1 - p - q);
    }
    ofFirst *= (((rows - first) / (first + 1)) * p) / (1 - p - q);
  }
  return sum;
}
