// Calibration of answers: fitted on held-out rows, applied to every answer after it. Knows probabilities and numbers; no model and no file.
import type { Calibration } from "../adapter/index.js";
import { StillroomError } from "../support/errors.js";
import { onLine, risingLine, temperatureOf } from "./fits.js";
import type { Answered, RowScore } from "./scoring.js";
import { applyToSet, fitSets } from "./sets.js";

/** What is fitted. */
export interface CalibrationOptions {
  /** Of labels (default "temperature"). */
  method: "temperature" | "isotonic" | "none";
  /** Of labels: the share of right ones among the answers that are given; null: all are given. Of sets the share among the labels given; null: the highest F1. */
  precision: number | null;
  /** Of numbers: the share of rows whose answer lies within the interval. */
  coverage: number;
  /** Whether answers are sets of labels (default false). */
  sets?: boolean;
}

/**
 * Fits a calibration on rows that were answered without one. Throws "input" where no threshold reaches the precision.
 *
 * @param rows - at least one; their probabilities of labels sum to 1, but of sets of labels
 */
export function fitCalibration(rows: readonly RowScore[], split: string, options: CalibrationOptions): Calibration {
  const none: Calibration = {
    split,
    rows: rows.length,
    temperature: null,
    isotonic: null,
    abstain: null,
    conformal: null,
  };
  if (options.sets) return { ...none, sets: fitSets(rows, options) };
  if (rows[0]!.probabilities === null) {
    const errors = rows.map(({ answer, prediction, interval }) => missOf(Number(answer), Number(prediction), interval));
    return { ...none, conformal: { coverage: options.coverage, radius: conformalRadius(errors, options.coverage) } };
  }
  const temperature = options.method === "temperature" ? fitTemperature(rows) : null;
  const isotonic = options.method === "isotonic" ? fitIsotonic(rows) : null;
  const fitted = { ...none, temperature, isotonic };
  if (options.precision === null) return fitted;
  const judged = isotonic ? apartFrom(rows, fitted) : rows.map((row) => ({ ...row, ...applyCalibration(fitted, row) }));
  const threshold = thresholdFor(judged, options.precision);
  return { ...fitted, abstain: { precision: options.precision, threshold } };
}

/** An answer as the calibration makes it. */
export function applyCalibration(calibration: Calibration | null | undefined, answered: Answered): Answered {
  if (!calibration) return answered;
  if (calibration.sets) return applyToSet(calibration.sets, answered);
  const { temperature, isotonic, abstain, conformal } = calibration;
  const { probabilities, prediction, interval } = answered;
  if (probabilities === null) {
    const value = Number(prediction);
    if (conformal === null) return answered;
    const [low, high] = interval ?? [value, value];
    return { ...answered, interval: [low - conformal.radius, high + conformal.radius] };
  }
  let changed = probabilities;
  if (temperature !== null) changed = shares(probabilities, (p) => p ** (1 / temperature));
  else if (isotonic) changed = shares(probabilities, (p, label) => onLine(isotonic[label], p));
  const labels = Object.keys(changed);
  const best = labels.reduce((a, b) => (changed[b]! > changed[a]! ? b : a));
  const open = abstain && { open: changed[best]! < abstain.threshold };
  return { ...answered, probabilities: changed, prediction: best, ...open };
}

/** Values by label, divided by their sum; the probabilities as they were where all are 0. */
function shares(
  probabilities: Record<string, number>,
  make: (p: number, label: string) => number,
): Record<string, number> {
  const made = Object.entries(probabilities).map(([label, p]) => [label, make(p, label)] as const);
  const total = made.reduce((sum, [, value]) => sum + value, 0);
  return total > 0 ? Object.fromEntries(made.map(([label, value]) => [label, value / total])) : probabilities;
}

/** How far an answer lies outside its interval, negative inside (Romano et al. 2019); without one how far from the prediction. */
function missOf(answer: number, prediction: number, interval: readonly [number, number] | undefined): number {
  return interval ? Math.max(interval[0] - answer, answer - interval[1]) : Math.abs(answer - prediction);
}

/** The ⌈(n + 1) coverage⌉-th smallest error; the largest where there are too few rows for it. */
export function conformalRadius(errors: readonly number[], coverage: number): number {
  const ordered = [...errors].sort((a, b) => a - b);
  return ordered[Math.min(ordered.length, Math.ceil((ordered.length + 1) * coverage)) - 1]!;
}

/** The temperature (Guo et al. 2017) with the least log loss. */
function fitTemperature(rows: readonly RowScore[]): number {
  const logs = rows.map(({ probabilities, answer }) => {
    const values = Object.values(probabilities!).map((p) => Math.log(Math.max(p, Number.MIN_VALUE)));
    return { values, right: Math.log(Math.max(probabilities![answer] ?? 0, Number.MIN_VALUE)) };
  });
  return temperatureOf((inverse) =>
    logs.reduce((sum, { values, right }) => {
      const high = Math.max(...values) * inverse;
      return (
        sum +
        high +
        Math.log(values.reduce((total, value) => total + Math.exp(value * inverse - high), 0)) -
        right * inverse
      );
    }, 0),
  );
}

/** For each label by itself, the rising line with the least squared error to whether it was the answer (pool adjacent violators). */
function fitIsotonic(rows: readonly RowScore[]): NonNullable<Calibration["isotonic"]> {
  const labels = Object.keys(rows[0]!.probabilities!);
  return Object.fromEntries(
    labels.map((label) => {
      const points = rows.map(({ probabilities, answer }) => ({
        p: probabilities![label]!,
        right: Number(answer === label),
      }));
      return [label, risingLine(points.sort((a, b) => a.p - b.p))];
    }),
  );
}

/** Most parts of the rows, each answered by lines that were fitted on the others. */
const mostFolds = 5;

/** Rows as lines make them that were not fitted on them: on its own few rows a line is as good as right. */
function apartFrom(rows: readonly RowScore[], fitted: Calibration): RowScore[] {
  const folds = Math.min(mostFolds, rows.length);
  const lines = Array.from({ length: folds }, (_, fold) => {
    const others = rows.filter((_, place) => place % folds !== fold);
    return fitIsotonic(others.length > 0 ? others : rows);
  });
  return rows.map((row, place) => ({
    ...row,
    ...applyCalibration({ ...fitted, isotonic: lines[place % folds]! }, row),
  }));
}

/** The least probability such that of the answers at least as sure, so many are right. */
function thresholdFor(rows: readonly RowScore[], precision: number): number {
  const sure = rows
    .map(({ answer, prediction, probabilities }) => ({ p: probabilities![prediction]!, right: answer === prediction }))
    .sort((a, b) => b.p - a.p);
  let [right, threshold] = [0, Number.NaN];
  for (const [index, row] of sure.entries()) {
    right += Number(row.right);
    const whole = sure[index + 1]?.p !== row.p;
    if (whole && right / (index + 1) >= precision) threshold = row.p;
  }
  if (Number.isFinite(threshold)) return threshold;
  throw new StillroomError(
    "input",
    `no threshold makes ${precision} of the answers right on these ${rows.length} validation rows; ask for less`,
    { options: ["targetPrecision"] },
  );
}
