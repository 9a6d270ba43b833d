// Sets of labels: metrics and thresholds against scikit-learn (tests/golden/golden_sets.py), temperatures and the calibration's file by hand.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, it, test } from "vitest";
import { calibrationFile, loadCalibration, writeCalibration } from "../../src/adapter/index.js";
import { setText } from "../../src/dataset/index.js";
import { applyCalibration, type CalibrationOptions, fitCalibration } from "../../src/evaluate/calibrate.js";
import type { RowScore } from "../../src/evaluate/scoring.js";
import { labelScores, setTable } from "../../src/evaluate/set-metrics.js";
import { answerSet, thresholdOf } from "../../src/evaluate/sets.js";
import { statisticsOf, summarise } from "../../src/evaluate/summary.js";
import type { Task } from "../../src/task/index.js";
import { taskOf } from "../prompt/rows.js";

type Metrics = Record<string, number>;
interface Case {
  name: string;
  truth: number[][];
  probabilities: number[][];
  metrics: Metrics;
  resamples: { rows: number[]; metrics: Metrics }[];
  labels: Record<"precision" | "recall" | "f1" | "support", number[]>;
  average_precision: (number | null)[];
  thresholds: Record<"f1" | "precision", (number | null)[]> & { all: Record<"f1" | "precision", number | null> };
}
const { cases } = JSON.parse(readFileSync(new URL("../golden/sets.json", import.meta.url), "utf8")) as {
  cases: Case[];
};
const task: Task = { ...taskOf({}), kind: "multilabel" };
const options: CalibrationOptions = { method: "none", precision: null, coverage: 0.9, sets: true };

/** Labels are named by their place. */
function rowsOf({ truth, probabilities }: Pick<Case, "truth" | "probabilities">): RowScore[] {
  return truth.map((own, index) => {
    const names = own.map((_, label) => `label ${label}`);
    const given = Object.fromEntries(names.map((name, label) => [name, probabilities[index]![label]!]));
    return { index, answer: setText(names.filter((_, label) => own[label] === 1)), ...answerSet(given) } as RowScore;
  });
}

const labelsOf = ({ truth }: Case) =>
  truth[0]!.map((_, label) => ({ value: `label ${label}`, text: `label ${label}` }));

describe("metrics, as scikit-learn", () => {
  it.each(cases)("$name", (expected) => {
    const [rows, labels] = [rowsOf(expected), labelsOf(expected)];
    const statistics = statisticsOf(task, rows, labels);
    expect(Object.keys(statistics).sort()).toEqual(Object.keys(expected.metrics).sort());
    const all = { rows: [...rows.keys()], metrics: expected.metrics };
    for (const { rows: chosen, metrics } of [all, ...expected.resamples])
      for (const [name, value] of Object.entries(metrics))
        expect(statistics[name]!(Int32Array.from(chosen)), name).toBeCloseTo(value, 12);
    const { classes, confusion, reliability, metrics } = summarise(task, rows, labels, 1);
    expect(confusion).toBeNull();
    expect(reliability!.reduce((sum, bin) => sum + bin.rows, 0)).toBe(rows.length * labels.length);
    for (const [label, score] of classes!.entries()) {
      for (const measure of ["precision", "recall", "f1", "support"] as const)
        expect(score[measure], measure).toBeCloseTo(expected.labels[measure][label]!, 12);
      // A label that no draw finds has none.
      const [low, high] = score.f1_interval ?? [0, 0];
      expect(low).toBeLessThanOrEqual(score.f1);
      expect(high).toBeGreaterThanOrEqual(score.f1);
      const precision = expected.average_precision[label]!;
      if (precision === null) expect(score.average_precision).toBeNull();
      else expect(score.average_precision).toBeCloseTo(precision, 12);
    }
    expect(metrics.micro_f1!.low).toBeLessThanOrEqual(metrics.micro_f1!.value);
    expect(summarise(task, rows, labels, 1)).toEqual({ classes, confusion, reliability, metrics });
  });

  test("where nothing is to be found and nothing is given, F1 is 0 and every set is right", () => {
    const rows = rowsOf({ truth: [[0, 0]], probabilities: [[0.1, 0.2]] });
    const all = Int32Array.of(0);
    const found = statisticsOf(
      task,
      rows,
      [0, 1].map((label) => ({ value: `label ${label}`, text: `label ${label}` })),
    );
    expect(["micro_f1", "macro_f1", "average_precision", "subset_accuracy"].map((name) => found[name]!(all))).toEqual([
      ...[0, 0, 0, 1],
    ]);
  });

  test("a prediction that is no set is an error that shows it", () => {
    const [row] = rowsOf({ truth: [[1]], probabilities: [[0.9]] });
    expect(() => setTable([{ ...row!, prediction: "label 0" }], ["label 0"])).toThrow(/expected a JSON list of labels/);
    expect(labelScores(setTable([row!], ["label 0"]), 0)).toMatchObject([{ label: "label 0", f1: 1, support: 1 }]);
  });
});

describe("thresholds, as scikit-learn's curve of precision and recall", () => {
  it.each(cases)("$name", (expected) => {
    const { thresholds, labels, truth, probabilities } = expected;
    for (const [by, precision] of [
      ["f1", null],
      ["precision", 0.75],
    ] as const) {
      for (const [label, threshold] of thresholds[by].entries()) {
        const points = truth.map((own, row) => ({ p: probabilities[row]![label]!, right: own[label]! }));
        expect(thresholdOf(points, precision)).toBe(threshold);
      }
      // A label that fewer than ten rows have gets that of all labels together.
      const { sets } = fitCalibration(rowsOf(expected), "validation", { ...options, precision });
      expect(Object.values(sets!.labels).map(({ threshold }) => threshold)).toEqual(
        thresholds[by].map((own, label) => (labels.support[label]! >= 10 ? own : thresholds.all[by])),
      );
    }
  });
});

test("of equally good places, the threshold nearest to 0.5", () => {
  const points = (...given: [number, number][]) => given.map(([p, right]) => ({ p, right }));
  // F1 is 2/3 from 0.8 on, where one of two is found, and from 0.3 on, where both are among four.
  const best = points([0.9, 1], [0.7, 0], [0.5, 0], [0.4, 1], [0.2, 0]);
  expect(thresholdOf(best, null)).toBeCloseTo(0.3, 12);
});

test("one temperature for all labels, whose probabilities do not sum to 1", () => {
  // Of twenty decisions that are all 90 % sure, sixteen are right: 9^(1/T) = 16/4.
  const truth = Array.from({ length: 10 }, (_, row) => [Number(row < 6), 1]);
  const rows = rowsOf({ truth, probabilities: truth.map(() => [0.9, 0.9]) });
  const fitted = fitCalibration(rows, "validation", { ...options, method: "temperature" });
  expect(fitted.sets!.temperature).toBeCloseTo(Math.log(9) / Math.log(4), 4);
  const { probabilities, prediction } = applyCalibration(fitted, rows[0]!);
  expect(probabilities!["label 0"]).toBeCloseTo(0.8, 6);
  expect(probabilities!["label 1"]).toBeCloseTo(0.8, 6);
  expect(prediction).toBe('["label 0","label 1"]');
  const below = { ...rows[0]!, probabilities: { "label 0": 0.4, "label 1": 0.6 } };
  expect(applyCalibration(fitted, below).prediction).toBe('["label 1"]');
});

test("decisions that are certain have a temperature too", () => {
  const truth = Array.from({ length: 10 }, (_, row) => [Number(row < 9)]);
  const rows = rowsOf({ truth, probabilities: truth.map(() => [1]) });
  const fitted = fitCalibration(rows, "validation", { ...options, method: "temperature" });
  expect(applyCalibration(fitted, rows[0]!).probabilities!["label 0"]).toBeCloseTo(0.9, 6);
});

test("isotonic heights stand by themselves, and a label in few rows has no line", () => {
  const places = [0.1, 0.2, 0.3, 0.4, 0.6];
  const four = <T>(list: T[]) => Array.from({ length: 4 }, () => list).flat();
  const truth = [0, 1, 0, 1, 1].map((right, row) => [right, Number(row === 0)]);
  const rows = rowsOf({ truth: four(truth), probabilities: four(places.map((p) => [p, p])) });
  const fitted = fitCalibration(rows, "validation", { ...options, method: "isotonic", precision: 0.9 });
  const made = rows.slice(0, 5).map((row) => applyCalibration(fitted, row));
  expect(made.map(({ probabilities }) => probabilities!["label 0"])).toEqual([0, 0.5, 0.5, 1, 1]);
  expect(made.map(({ probabilities }) => probabilities!["label 1"])).toEqual(places);
  // Of all decisions together, nine of ten are right only of those that are certain: above 0.6.
  expect(Object.values(fitted.sets!.labels).map(({ threshold }) => threshold)).toEqual([0.75, 0.8]);
  expect(made.map(({ prediction }) => prediction)).toEqual(["[]", "[]", "[]", '["label 0"]', '["label 0"]']);
});

test("a label that reaches the precision nowhere is never given", () => {
  const rows = rowsOf({ truth: [[0], [0]], probabilities: [[0.9], [1]] });
  const fitted = fitCalibration(rows, "validation", { ...options, precision: 0.5 });
  expect(fitted.sets!.labels["label 0"]!.threshold).toBeNull();
  expect(rows.map((row) => applyCalibration(fitted, row).prediction)).toEqual(["[]", "[]"]);
});

test("what was written is read, and what is no calibration of sets is refused", async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-sets-"));
  const rows = rowsOf(cases[0]!);
  const fitted = fitCalibration(rows, "validation", { ...options, method: "isotonic", precision: 0.99 });
  await writeCalibration(folder, fitted);
  expect(await loadCalibration(folder)).toEqual(fitted);
  const text = readFileSync(calibrationFile(folder), "utf8");
  for (const [from, to] of [
    ['\n    "temperature": null', '\n    "temperature": 0'],
    [/"from": \[/, '"from": ["x",'],
    [/"threshold": [^\n]*/, '"threshold": "high"'],
  ] as const) {
    const broken = text.replace(from, to);
    expect(broken).not.toBe(text);
    writeFileSync(calibrationFile(folder), broken);
    await expect(loadCalibration(folder)).rejects.toMatchObject({ code: "input" });
  }
});
