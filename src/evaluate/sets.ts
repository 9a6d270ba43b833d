// Sets of labels, each label with a probability of its own: the answer that these make, and what they are calibrated by. Knows probabilities; no model and no file.
import type { Calibration, LabelCalibration, Line } from "../adapter/index.js";
import { labelsOfSet, setText } from "../dataset/index.js";
import type { CalibrationOptions } from "./calibrate.js";
import { onLine, type Point, risingLine, temperatureOf } from "./fits.js";
import type { Answered, RowScore } from "./scoring.js";

type SetCalibration = NonNullable<Calibration["sets"]>;

/** Where nothing was fitted, a label is in the answer from here on. */
const evens = 0.5;
/** A label that fewer rows have says too little by itself: it gets the threshold of all labels together, and no line. */
const enough = 10;

/** The labels whose probability reaches their threshold; null: the label is never given. */
export function answerSet(
  probabilities: Record<string, number>,
  thresholdFor: (label: string) => number | null = () => evens,
): Answered {
  const given = Object.keys(probabilities).filter((label) => {
    const threshold = thresholdFor(label);
    return threshold !== null && probabilities[label]! >= threshold;
  });
  return { prediction: setText(given), probabilities };
}

/** From where on each of the labels is given; null: never. */
export function thresholdsOf(
  labels: readonly string[],
  calibration: Calibration | null,
): Record<string, number | null> {
  const sets = calibration?.sets;
  return Object.fromEntries(labels.map((label) => [label, sets ? sets.labels[label]!.threshold : evens]));
}

/** An answer as the calibration makes it. */
export function applyToSet({ temperature, labels }: SetCalibration, { probabilities }: Answered): Answered {
  const changed = Object.entries(probabilities!).map(([label, p]) => {
    return [label, calibrated(p, temperature, labels[label]!.isotonic)];
  });
  return answerSet(Object.fromEntries(changed), (label) => labels[label]!.threshold);
}

/** Fits one temperature for all labels or a line for each, then a threshold for each, on rows that were answered without a calibration. */
export function fitSets(rows: readonly RowScore[], { method, precision }: CalibrationOptions): SetCalibration {
  const answers = rows.map(({ answer }) => new Set(labelsOfSet(answer)));
  const labels = Object.keys(rows[0]!.probabilities!).map((label) => {
    const points = rows.map(({ probabilities }, row) => {
      return { p: probabilities![label]!, right: Number(answers[row]!.has(label)) };
    });
    const says = points.reduce((sum, { right }) => sum + right, 0) >= enough;
    const isotonic = says && method === "isotonic" ? risingLine([...points].sort((a, b) => a.p - b.p)) : null;
    return { label, points, says, isotonic };
  });
  const temperature = method === "temperature" ? decisionTemperature(labels.flatMap(({ points }) => points)) : null;
  const made = labels.map(({ label, points, says, isotonic }) => {
    const own = points.map(({ p, right }) => ({ p: calibrated(p, temperature, isotonic), right }));
    return { label, points: own, says, isotonic };
  });
  const ofAll = thresholdOf(
    made.flatMap(({ points }) => points),
    precision,
  );
  const fitted = made.map(({ label, points, says, isotonic }): [string, LabelCalibration] => {
    return [label, { isotonic, threshold: says ? thresholdOf(points, precision) : ofAll }];
  });
  return { temperature, precision, labels: Object.fromEntries(fitted) };
}

function decisionTemperature(points: readonly Point[]): number {
  // -log sigmoid of the logit's way to the right side.
  const logits = points.map(({ p, right }) => (right ? 1 : -1) * logitOf(p));
  return temperatureOf((inverse) => logits.reduce((sum, logit) => sum + Math.log1p(Math.exp(-logit * inverse)), 0));
}

/**
 * Where the F1 of the points given is highest or, with a precision, where most of those that are right are given and it is reached. Between two neighbouring
 * probabilities every threshold gives the same: 0.5 if it lies there, else their middle; of equally good places the one nearest to 0.5. Without a point that is
 * right 0.5 and, as where no threshold reaches the precision, null.
 */
export function thresholdOf(points: readonly Point[], precision: number | null): number | null {
  const sure = [...points].sort((a, b) => b.p - a.p);
  const support = points.reduce((sum, { right }) => sum + right, 0);
  let [hits, best] = [0, 0];
  let threshold = precision === null ? evens : null;
  for (const [index, { p, right }] of sure.entries()) {
    hits += right;
    const given = index + 1;
    if (sure[given]?.p === p) continue;
    const next = sure[given]?.p ?? 0;
    const worth = precision === null ? (2 * hits) / (given + support) : hits / given >= precision ? hits : 0;
    const place = next < evens && evens <= p ? evens : (next + p) / 2;
    const nearer = Math.abs(place - evens) < Math.abs((threshold ?? 0) - evens);
    if (worth > best || (worth === best && best > 0 && nearer)) [best, threshold] = [worth, place];
  }
  return threshold;
}

function calibrated(p: number, temperature: number | null, isotonic: Line | null): number {
  if (temperature !== null) return 1 / (1 + Math.exp(-logitOf(p) / temperature));
  return onLine(isotonic, p);
}

/** Of a probability that is 0 or 1 but for rounding, about ±36. */
function logitOf(p: number): number {
  const inside = Math.min(Math.max(p, Number.EPSILON), 1 - Number.EPSILON);
  return Math.log(inside) - Math.log1p(-inside);
}
