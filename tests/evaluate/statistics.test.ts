// The statistics against scikit-learn, SciPy and SQuAD's script (tests/golden/golden_statistics.py), and at their edges by hand.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { brierScores, calibrationErrorOf, reliability } from "../../src/evaluate/calibration.js";
import { mcnemar } from "../../src/evaluate/compare.js";
import { bootstrapInterval, meanOf, wilson } from "../../src/evaluate/intervals.js";
import {
  accuracy,
  classScores,
  confusionMatrix,
  f1Of,
  logLoss,
  macroF1,
  matches,
  mean,
  weightedF1,
} from "../../src/evaluate/metrics.js";
import { holm, pairedDifference, permutationTest } from "../../src/evaluate/paired.js";
import { regressionMetrics } from "../../src/evaluate/regression.js";
import { rougeL } from "../../src/evaluate/rouge.js";
import { exactMatch, normaliseAnswer, tokenF1 } from "../../src/evaluate/text.js";

interface Classification {
  name: string;
  labels: string[];
  answers: string[];
  predictions: string[];
  probabilities: number[][];
  accuracy: number;
  macroF1: number;
  classes: { precision: number[]; recall: number[]; f1: number[]; support: number[] };
  confusion: number[][];
  logLoss: number;
  weightedF1: number;
  brier: number;
  ece: number;
  bins: { accuracy: number[]; confidence: number[] };
  bootstrap: { seed: number; resamples: number; accuracy: number[] | null; macroF1: number[] };
}
interface Regression {
  name: string;
  targets: number[];
  predictions: number[];
  metrics: Record<"mae" | "rmse" | "pearson" | "spearman" | "r2", number>;
  intervals: Record<"mae" | "rmse" | "pearson" | "spearman" | "r2", [number, number]> | null;
}
interface Text {
  answer: string;
  prediction: string;
  normalised: [string, string];
  exactMatch: number;
  tokenF1: number;
  rougeL: number;
}
const golden = JSON.parse(readFileSync(new URL("../golden/statistics.json", import.meta.url), "utf8")) as {
  classification: Classification[];
  regression: Regression[];
  text: Text[];
  mcnemar: { onlyFirst: number; onlySecond: number; exact: number; statistic: number; pValue: number }[];
  permutation: { name: string; first: number[]; second: number[]; mean: number; root: number }[];
  holm: { given: number[]; corrected: number[] }[];
  wilson: { successes: number; rows: number; low: number; high: number }[];
};

/** Equal within 1e-12 relative. */
function close(actual: number, expected: number): void {
  expect(Math.abs(actual - expected), `${actual} against ${expected}`).toBeLessThanOrEqual(1e-12 * Math.abs(expected));
}

describe("classification, as scikit-learn", () => {
  it.each(golden.classification)("$name", (expected) => {
    const { answers, predictions, labels, bootstrap } = expected;
    close(accuracy(answers, predictions), expected.accuracy);
    close(macroF1(answers, predictions, labels), expected.macroF1);
    expect(confusionMatrix(answers, predictions, labels)).toEqual(expected.confusion);
    close(logLoss(answers, expected.probabilities, labels), expected.logLoss);
    close(weightedF1(answers, predictions, labels), expected.weightedF1);
    close(mean(brierScores(answers, expected.probabilities, labels)), expected.brier);
    const all = Int32Array.from(answers.keys());
    expect(calibrationErrorOf(answers, expected.probabilities, labels)(all)).toBeCloseTo(expected.ece, 13);
    const bins = reliability(answers, expected.probabilities, labels);
    expect(bins.map((bin) => bin.accuracy)).toEqual(expected.bins.accuracy);
    for (const [bin, { confidence }] of bins.entries()) close(confidence, expected.bins.confidence[bin]!);
    const scores = classScores(answers, predictions, labels);
    for (const measure of ["precision", "recall", "f1", "support"] as const) {
      scores.forEach((score, label) => {
        close(score[measure], expected.classes[measure][label]!);
      });
    }
    const right = matches(answers, predictions);
    const draws = { seed: bootstrap.seed, resamples: bootstrap.resamples };
    const f1 = bootstrapInterval(answers.length, f1Of("macro", answers, predictions, labels), draws);
    close(f1.value, expected.macroF1);
    close(f1.low, bootstrap.macroF1[0]!);
    close(f1.high, bootstrap.macroF1[1]!);
    if (bootstrap.accuracy) {
      const share = bootstrapInterval(right.length, meanOf(right), draws);
      close(share.low, bootstrap.accuracy[0]!);
      close(share.high, bootstrap.accuracy[1]!);
    }
  });

  it("clips a probability of 0 to 2^-52", () => {
    close(logLoss(["a"], [[0, 1]], ["a", "b"]), 52 * Math.LN2);
  });

  it("averages F1 over the classes that occur", () => {
    close(macroF1(["a", "a", "b"], ["a", "b", "b"], ["a", "b", "c"]), 2 / 3);
  });

  it.each<[string, () => unknown, RegExp]>([
    ["no rows", () => accuracy([], []), /at least one row/],
    ["no values", () => mean([]), /at least one row/],
    ["fewer predictions than answers", () => accuracy(["a", "b"], ["a"]), /for predictions, received 1/],
    ["a prediction that is no label", () => macroF1(["a"], ["c"], ["a", "b"]), /a prediction \(row 0\), received "c"/],
    ["a label twice", () => macroF1(["a"], ["a"], ["a", "a"]), /distinct labels/],
    ["a single label for log-loss", () => logLoss(["a"], [[1]], ["a"]), /at least two labels/],
    ["a probability above 1", () => logLoss(["a"], [[1.5, -0.5]], ["a", "b"]), /probabilities that sum to 1 for row 0/],
    ["a NaN probability", () => logLoss(["a"], [[Number.NaN, 1]], ["a", "b"]), /row 0/],
    ["probabilities that sum to 0.9", () => logLoss(["a"], [[0.5, 0.4]], ["a", "b"]), /row 0/],
  ])("refuses %s", (_name, act, message) => {
    expect(act).toThrow(message);
  });
});

describe("regression, as scikit-learn and SciPy", () => {
  it.each(golden.regression)("$name", ({ targets, predictions, metrics, intervals }) => {
    const found = regressionMetrics(targets, predictions, { seed: 7 });
    for (const name of ["mae", "rmse", "pearson", "spearman", "r2"] as const) {
      expect(found[name].value, name).toBeCloseTo(metrics[name], 12);
      if (intervals === null) continue;
      expect(found[name].low, `${name} low`).toBeCloseTo(intervals[name][0], 12);
      expect(found[name].high, `${name} high`).toBeCloseTo(intervals[name][1], 12);
    }
  });

  it("gives 0 for the correlation with predictions that are all equal, also in a resample", () => {
    const found = regressionMetrics([1, 2, 4], [0.1, 0.1, 0.1]);
    expect([found.pearson, found.spearman]).toEqual([
      { value: 0, low: null, high: null },
      { value: 0, low: null, high: null },
    ]);
    expect(regressionMetrics([1, 2], [2, 1]).spearman.high).toBe(0);
  });

  it.each<[string, number[], number[], RegExp]>([
    ["no rows", [], [], /at least one row/],
    ["fewer predictions", [1, 2], [1], /for predictions, received 1/],
    ["a prediction that is no number", [1], [Number.NaN], /a finite number for row 0 of predictions, received NaN/],
  ])("refuses %s", (_name, targets, predictions, message) => {
    expect(() => regressionMetrics(targets, predictions)).toThrow(message);
  });
});

describe("answers in words, as SQuAD's script", () => {
  it.each(golden.text)("$answer | $prediction", (expected) => {
    expect([normaliseAnswer(expected.answer), normaliseAnswer(expected.prediction)]).toEqual(expected.normalised);
    expect(exactMatch(expected.answer, expected.prediction)).toBe(expected.exactMatch);
    expect(tokenF1(expected.answer, expected.prediction)).toBeCloseTo(expected.tokenF1, 14);
    expect(rougeL(expected.answer, expected.prediction)).toBeCloseTo(expected.rougeL, 14);
  });
});

describe("intervals, as SciPy", () => {
  it.each(golden.wilson)("wilson: $successes of $rows", (expected) => {
    const interval = wilson(expected.successes, expected.rows);
    close(interval.low, expected.low);
    close(interval.high, expected.high);
    expect(interval.value).toBe(expected.successes / expected.rows);
  });

  it("reaches to 0 and to 1 exactly where none or all succeed", () => {
    for (let rows = 1; rows <= 200; rows++) {
      expect([wilson(0, rows).low, wilson(rows, rows).high], `of ${rows}`).toEqual([0, 1]);
    }
  });

  it("gives the same interval for the same seed, and another for another", () => {
    const values = Float64Array.from({ length: 50 }, (_, row) => (row * 7) % 11);
    const draw = (seed: number) => bootstrapInterval(50, meanOf(values), { seed });
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
  });

  it("holds a constant statistic at a point", () => {
    expect(bootstrapInterval(3, meanOf([2, 2, 2]), { seed: 0 })).toEqual({ value: 2, low: 2, high: 2 });
  });

  it("refuses no rows, impossible counts and a statistic that is not finite", () => {
    expect(() => bootstrapInterval(0, () => 1, { seed: 0 })).toThrow(/at least 1, for rows, received 0/);
    expect(() => bootstrapInterval(1, () => Number.NaN, { seed: 0 })).toThrow(/statistic is NaN/);
    expect(() => wilson(2, 1)).toThrow(/from 0 to 1 for successes/);
    expect(() => wilson(0, 0)).toThrow(/for rows/);
  });
});

describe("McNemar, as SciPy", () => {
  it.each(golden.mcnemar)("$onlyFirst against $onlySecond", (expected) => {
    const { onlyFirst, onlySecond } = expected;
    const rows = onlyFirst + onlySecond + 2; // and one that both, one that neither has right
    const first = Array.from({ length: rows }, (_, row) => (row < onlyFirst || row === rows - 1 ? 1 : 0));
    const second = Array.from({ length: rows }, (_, row) => (row >= onlyFirst && row !== rows - 2 ? 1 : 0));
    const test = mcnemar(first, second);
    expect([test.onlyFirst, test.onlySecond]).toEqual([onlyFirst, onlySecond]);
    expect(Math.abs(test.exact / expected.exact - 1)).toBeLessThan(1e-11);
    close(test.chiSquare.statistic, expected.statistic);
    expect(Math.abs(test.chiSquare.pValue / expected.pValue - 1)).toBeLessThan(1e-11);
  });

  it("refuses no rows, different rows and values that are not 0 or 1", () => {
    expect(() => mcnemar([], [])).toThrow(/at least one row/);
    expect(() => mcnemar([1, 0], [1])).toThrow(/for second, received 1/);
    expect(() => mcnemar([0.5], [1])).toThrow(/0 or 1 for row 0 of first/);
  });
});

describe("two of many, as SciPy and statsmodels", () => {
  it.each(golden.permutation)("permutation test: $name", ({ first, second, mean: ofMeans, root }) => {
    const both = [...first, ...second];
    const square = meanOf(both.map((value) => value * value));
    close(permutationTest(first.length, meanOf(both), 0), ofMeans);
    close(
      permutationTest(first.length, (rows) => Math.sqrt(square(rows)), 0),
      root,
    );
  });

  it("draws the deals by seed where they are too many, and never gives 0", () => {
    const both = [...Array(40).fill(1), ...Array(40).fill(0)];
    const drawn = [1, 1, 2].map((seed) => permutationTest(40, meanOf(both.map((x, row) => x + (row % 7) / 5)), seed));
    expect(drawn).toEqual([1 / 5000, 1 / 5000, 1 / 5000]);
    const near = both.map((_, row) => ((row * 37) % 23) / 23);
    const [one, again, other] = [1, 1, 2].map((seed) => permutationTest(40, meanOf(near), seed)) as [
      number,
      number,
      number,
    ];
    expect(one).toBe(again);
    expect(one).not.toBe(other);
    expect(Math.abs(one - other)).toBeLessThan(0.05);
  });

  it("takes the same rows of both for the interval of a difference", () => {
    const first = [0.2, 0.4, 0.9, 0.1];
    const differences = [0.125, 0.25, -0.125, 0.5];
    const both = [...first, ...first.map((value, row) => value - differences[row]!)];
    const { value, low, high } = pairedDifference(4, meanOf(both), 3);
    const expected = bootstrapInterval(4, meanOf(differences), { seed: 3 });
    for (const [found, end] of [
      [value, "value"],
      [low, "low"],
      [high, "high"],
    ] as const)
      expect(found).toBeCloseTo(expected[end], 12);
  });

  it.each(golden.holm)("Holm: $given", ({ given, corrected }) => {
    for (const [test, value] of holm(given).entries()) close(value, corrected[test]!);
  });
});
