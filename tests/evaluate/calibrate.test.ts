// Calibration against scikit-learn (tests/golden/calibration.py) and against numbers that can be worked out by hand.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, it, test } from "vitest";
import { type Calibration, calibrationFile, loadCalibration, writeCalibration } from "../../src/adapter/index.js";
import {
  applyCalibration,
  type CalibrationOptions,
  conformalRadius,
  fitCalibration,
} from "../../src/evaluate/calibrate.js";
import type { RowScore } from "../../src/evaluate/scoring.js";
import { summarise } from "../../src/evaluate/summary.js";
import { Random } from "../../src/support/random.js";
import { taskOf } from "../prompt/rows.js";

const golden = JSON.parse(readFileSync(new URL("../golden/calibration.json", import.meta.url), "utf8")) as {
  isotonic: { name: string; places: number[]; right: number[]; asked: number[]; heights: number[] }[];
  conformal: { errors: number[]; coverage: number; radius: number }[];
};
const options: CalibrationOptions = { method: "none", precision: null, coverage: 0.9 };

/** A row whose model gives the answer "a" the probability p. */
const row = (p: number, answer: string, index = 0): RowScore => ({
  ...{ index, answer, prediction: p >= 0.5 ? "a" : "b" },
  probabilities: { a: p, b: 1 - p },
});
const number = (answer: number, prediction: number): RowScore => ({
  ...{ index: 0, answer: `${answer}`, prediction: `${prediction}`, probabilities: null },
});

describe("isotonic, as scikit-learn", () => {
  it.each(golden.isotonic)("$name", ({ places, right, asked, heights }) => {
    const rows = places.map((p, at) => row(p, right[at] ? "a" : "b"));
    const { isotonic } = fitCalibration(rows, "validation", { ...options, method: "isotonic" });
    // Beside a label that is always given 1, the height of a's line is the ratio of the two.
    const lines = { a: isotonic!.a!, b: { from: [0], to: [1] } };
    const beside: Calibration = {
      split: "",
      rows: 1,
      temperature: null,
      isotonic: lines,
      abstain: null,
      conformal: null,
    };
    for (const [at, p] of asked.entries()) {
      const found = applyCalibration(beside, row(p, "a")).probabilities!.a!;
      expect(found / (1 - found)).toBeCloseTo(heights[at]!, 9);
    }
  });
});

test("temperature: the one that makes the mean confidence that of the answers", () => {
  // Of ten rows that are all 90 % sure, six are right: 9^(1/T) = 6/4.
  const rows = Array.from({ length: 10 }, (_, index) => row(0.9, index < 6 ? "a" : "b"));
  const fitted = fitCalibration(rows, "validation", { ...options, method: "temperature" });
  expect(fitted.temperature).toBeCloseTo(Math.log(9) / Math.log(1.5), 4);
  const { probabilities, prediction } = applyCalibration(fitted, rows[0]!);
  expect(probabilities!.a).toBeCloseTo(0.6, 6);
  expect(prediction).toBe("a");
  // All are right: as sure as is allowed.
  const right = fitCalibration([row(0.9, "a")], "validation", { ...options, method: "temperature" });
  expect(right.temperature).toBeLessThan(0.07);
});

test("a threshold leaves the unsure open, and eval says how many are given and right", () => {
  const rows = [row(0.95, "a"), row(0.9, "a"), row(0.8, "b"), row(0.7, "a"), row(0.3, "a")].map((one, index) => ({
    ...one,
    index,
  }));
  const fitted = fitCalibration(rows, "validation", { ...options, precision: 0.75 });
  expect(fitted.abstain).toEqual({ precision: 0.75, threshold: 0.9 });
  // At 0.7 three of five are right, the last of them tied with a wrong one at 0.7 (b); at 0.8 two of three.
  const answered = rows.map((one) => ({ ...one, ...applyCalibration(fitted, one) }));
  expect(answered.map(({ open }) => open)).toEqual([false, false, true, true, true]);
  const labels = ["a", "b"].map((text) => ({ value: text, text }));
  const { metrics } = summarise(taskOf({}), answered, labels, 0);
  expect([metrics.answered!.value, metrics.answered_accuracy!.value, metrics.accuracy!.value]).toEqual([0.4, 1, 0.6]);
  // Of no answers none is right or wrong.
  const open = summarise(taskOf({}), answered.slice(2), labels, 0).metrics;
  expect([open.answered!.value, open.answered_accuracy]).toEqual([0, undefined]);
  expect(() => fitCalibration([row(0.9, "b")], "validation", { ...options, precision: 0.5 })).toThrow(
    /no threshold makes 0\.5/,
  );
});

test("a threshold behind isotonic lines keeps its precision on rows that fitted neither", () => {
  const labels = [..."abcdef"];
  const shares = Array.from({ length: 10 }, (_, seed) => {
    const random = new Random(seed + 1);
    // Right six times in ten, and the surer the more often.
    const drawn = (index: number): RowScore => {
      const answer = labels[random.below(6)]!;
      const weights = labels.map((label) => random.float() + (label === answer ? 0.45 : 0));
      const sum = weights.reduce((total, weight) => total + weight, 0);
      const probabilities = Object.fromEntries(labels.map((label, place) => [label, weights[place]! / sum]));
      return { index, answer, prediction: labels[weights.indexOf(Math.max(...weights))]!, probabilities };
    };
    const rows = Array.from({ length: 120 }, (_, index) => drawn(index));
    const fitted = fitCalibration(rows, "validation", { ...options, method: "isotonic", precision: 0.8 });
    const fresh = Array.from({ length: 2000 }, (_, index) => drawn(index));
    const given = fresh.map((one) => ({ ...one, ...applyCalibration(fitted, one) })).filter(({ open }) => !open);
    return given.filter(({ answer, prediction }) => answer === prediction).length / given.length;
  });
  // 0.81 in the mean; a threshold of the lines' own rows leaves 0.68.
  expect(shares.reduce((sum, share) => sum + share, 0) / 10).toBeGreaterThan(0.78);
  // A single row has no others.
  expect(
    fitCalibration([row(0.9, "a")], "validation", { ...options, method: "isotonic", precision: 1 }).abstain,
  ).not.toBeNull();
});

describe("conformal", () => {
  it.each(golden.conformal)("the radius of $errors.length errors at $coverage", ({ errors, coverage, radius }) => {
    expect(conformalRadius(errors, coverage)).toBeCloseTo(radius, 12);
  });

  it("is put around a number, and around an interval", () => {
    const fitted = fitCalibration([number(3, 2), number(2, 2), number(1, 3)], "validation", {
      ...options,
      coverage: 0.5,
    });
    expect(fitted.conformal).toEqual({ coverage: 0.5, radius: 1 });
    expect(applyCalibration(fitted, number(0, 4)).interval).toEqual([3, 5]);
    // Romano et al. 2019: intervals that are too wide by 1 at either end lose it.
    const wide = Array.from({ length: 9 }, () => ({ ...number(5, 4), interval: [2, 6] as [number, number] }));
    const quantiles = fitCalibration(wide, "validation", options);
    expect(quantiles.conformal!.radius).toBe(-1);
    expect(applyCalibration(quantiles, wide[0]!).interval).toEqual([3, 5]);
  });
});

test("what was written is read, and what is no calibration is refused", async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-calibration-"));
  expect(await loadCalibration(folder)).toBeNull();
  expect(await loadCalibration(undefined)).toBeNull();
  const rows = [row(0.9, "a"), row(0.8, "a"), row(0.6, "b"), row(0.5, "b")];
  const fitted = fitCalibration(rows, "validation", { ...options, method: "isotonic", precision: 0.5 });
  await writeCalibration(folder, fitted);
  expect(await loadCalibration(folder)).toEqual(fitted);
  const text = readFileSync(calibrationFile(folder), "utf8");
  for (const broken of [
    text.slice(0, 40),
    text.replace('"version": 1', '"version": 2'),
    text.replace('"temperature": null', '"temperature": 0'),
  ]) {
    writeFileSync(calibrationFile(folder), broken);
    await expect(loadCalibration(folder)).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(/is no calibration/),
    });
  }
});
