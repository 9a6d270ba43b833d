// Sets of labels, each label with a probability of its own: the answer that these make, and what each label is calibrated by. Knows probabilities; no model and no file.
import type { Calibration, LabelCalibration } from "../adapter/index.js";
import { labelsOfSet, setText } from "../dataset/index.js";
import type { CalibrationOptions } from "./calibrate.js";
import { onLine, type Point, risingLine, temperatureOf } from "./fits.js";
import type { Answered, RowScore } from "./scoring.js";

type SetCalibration = NonNullable<Calibration["sets"]>;

/** Where nothing was fitted, a label is in the answer from here on. */
const evens = 0.5;

/** The labels whose probability reaches their threshold; null: the label is never given. */
export function answerSet(
  probabilities: Record<string, number>,
  thresholdOf: (label: string) => number | null = () => evens,
): Answered {
  const given = Object.keys(probabilities).filter((label) => {
    const threshold = thresholdOf(label);
    return threshold !== null && probabilities[label]! >= threshold;
  });
  return { prediction: setText(given), probabilities };
}

/** An answer as the calibration makes it. */
export function applyToSet({ labels }: SetCalibration, { probabilities }: Answered): Answered {
  const changed = Object.entries(probabilities!).map(([label, p]) => [label, calibrated(labels[label]!, p)]);
  return answerSet(Object.fromEntries(changed), (label) => labels[label]!.threshold);
}

/** Fits each label by itself, on rows that were answered without a calibration. */
export function fitSets(rows: readonly RowScore[], options: CalibrationOptions): SetCalibration {
  const answers = rows.map(({ answer }) => new Set(labelsOfSet(answer)));
  const labels = Object.keys(rows[0]!.probabilities!).map((label) => {
    const points = rows.map(({ probabilities }, row) => {
      return { p: probabilities![label]!, right: Number(answers[row]!.has(label)) };
    });
    return [label, fitLabel(points, options)];
  });
  return { precision: options.precision, labels: Object.fromEntries(labels) };
}

function fitLabel(points: readonly Point[], { method, precision }: CalibrationOptions): LabelCalibration {
  // Rows that all have the label, or all lack it, say nothing of how sure one may be.
  const differ = new Set(points.map(({ right }) => right)).size > 1;
  const fitted = {
    temperature: differ && method === "temperature" ? labelTemperature(points) : null,
    isotonic: differ && method === "isotonic" ? risingLine([...points].sort((a, b) => a.p - b.p)) : null,
  };
  const made = points.map(({ p, right }) => ({ p: calibrated(fitted, p), right }));
  return { ...fitted, threshold: labelThreshold(made, precision) };
}

function labelTemperature(points: readonly Point[]): number {
  // -log sigmoid of the logit's way to the right side.
  const logits = points.map(({ p, right }) => (right ? 1 : -1) * logitOf(p));
  return temperatureOf((inverse) => logits.reduce((sum, logit) => sum + Math.log1p(Math.exp(-logit * inverse)), 0));
}

/**
 * Of the points' probabilities the one with the highest F1 or, with a precision, with the most hits among those that reach it; of equals the highest. Without a
 * point that is right 0.5 and, as where no probability reaches the precision, null.
 */
function labelThreshold(points: readonly Point[], precision: number | null): number | null {
  const sure = [...points].sort((a, b) => b.p - a.p);
  const support = points.reduce((sum, { right }) => sum + right, 0);
  let [hits, best] = [0, 0];
  let threshold = precision === null ? evens : null;
  for (const [index, { p, right }] of sure.entries()) {
    hits += right;
    const given = index + 1;
    if (sure[given]?.p === p) continue;
    const worth = precision === null ? (2 * hits) / (given + support) : hits / given >= precision ? hits : 0;
    if (worth > best) [best, threshold] = [worth, p];
  }
  return threshold;
}

function calibrated({ temperature, isotonic }: Omit<LabelCalibration, "threshold">, p: number): number {
  if (temperature !== null) return 1 / (1 + Math.exp(-logitOf(p) / temperature));
  return isotonic === null ? p : onLine(isotonic, p);
}

/** Of a probability that is 0 or 1 but for rounding, about ±36. */
function logitOf(p: number): number {
  const inside = Math.min(Math.max(p, Number.EPSILON), 1 - Number.EPSILON);
  return Math.log(inside) - Math.log1p(-inside);
}
