// What a set of predictions is worth: pure functions of answers and predictions, equal to scikit-learn's and SQuAD's numbers.
// Knows no model and no task; intervals of them are intervals.ts's, calibration is calibration.ts's.
import { StillroomError, unexpected } from "../support/errors.js";
import type { Statistic } from "./intervals.js";

/** Scores of one class. precision, recall and f1 are 0 where their denominator is 0, as scikit-learn's zero_division=0. */
export interface ClassScore {
  label: string;
  precision: number;
  recall: number;
  f1: number;
  /** Rows whose answer is this label, or has it. */
  support: number;
  /** Of sets of labels: the 95 % interval of f1; null where the rows give none. */
  f1_interval?: [number, number] | null;
  /** Of sets of labels: the mean precision over the recalls that thresholds reach; null for a label that no answer has. */
  average_precision?: number | null;
}

/**
 * The arithmetic mean; refuses an empty set.
 *
 * @example
 * ```ts
 * mean(answers.map((answer, row) => tokenF1(answer, predictions[row])));
 * ```
 */
export function mean(values: ArrayLike<number>): number {
  if (values.length === 0) throw emptySet();
  let sum = 0;
  for (let row = 0; row < values.length; row++) sum += values[row]!;
  return sum / values.length;
}

/**
 * (rows) 1 where the prediction is the answer, else 0.
 *
 * @example
 * ```ts
 * matches(["drupe", "pome"], ["drupe", "berry"]); // 1, 0
 * ```
 */
export function matches(answers: readonly string[], predictions: readonly string[]): Float64Array {
  requireSameRows(answers, predictions);
  return Float64Array.from(answers, (answer, row) => (answer === predictions[row] ? 1 : 0));
}

/**
 * Share of rows whose prediction is the answer.
 *
 * @example
 * ```ts
 * accuracy(["drupe", "pome"], ["drupe", "berry"]); // 0.5
 * ```
 */
export function accuracy(answers: readonly string[], predictions: readonly string[]): number {
  return mean(matches(answers, predictions));
}

/**
 * Counts (labels, labels): row = the answer, column = the prediction, both in the order of labels.
 *
 * @example
 * ```ts
 * confusionMatrix(["a", "a", "b"], ["a", "b", "b"], ["a", "b"]); // [[1, 1], [0, 1]]
 * ```
 */
export function confusionMatrix(
  answers: readonly string[],
  predictions: readonly string[],
  labels: readonly string[],
): number[][] {
  const [rows, columns] = [encode(answers, labels, "an answer"), encode(predictions, labels, "a prediction")];
  requireSameRows(answers, predictions);
  const counts = labels.map(() => new Array<number>(labels.length).fill(0));
  for (let row = 0; row < rows.length; row++) counts[rows[row]!]![columns[row]!]!++;
  return counts;
}

/**
 * Precision, recall and F1 of every label, in the order of labels.
 *
 * @example
 * ```ts
 * classScores(["a", "a", "b"], ["a", "b", "b"], ["a", "b"])[0]; // precision 1, recall 0.5, f1 0.667, support 2
 * ```
 */
export function classScores(
  answers: readonly string[],
  predictions: readonly string[],
  labels: readonly string[],
): ClassScore[] {
  const counts = confusionMatrix(answers, predictions, labels);
  return labels.map((label, index) => {
    const hits = counts[index]![index]!;
    const support = counts[index]!.reduce((sum, count) => sum + count, 0);
    const predicted = counts.reduce((sum, row) => sum + row[index]!, 0);
    return {
      label,
      precision: ratio(hits, predicted),
      recall: ratio(hits, support),
      f1: ratio(2 * hits, predicted + support),
      support,
    };
  });
}

/**
 * Mean F1 over the classes that occur among the answers or the predictions (scikit-learn's average="macro").
 *
 * @example
 * ```ts
 * macroF1(["a", "a", "b"], ["a", "b", "b"], ["a", "b", "c"]); // 0.667: c does not occur
 * ```
 */
export function macroF1(answers: readonly string[], predictions: readonly string[], labels: readonly string[]): number {
  return f1Of("macro", answers, predictions, labels)(Int32Array.from(answers.keys()));
}

/**
 * Mean F1 over the classes, each weighted by its answers (scikit-learn's average="weighted").
 *
 * @example
 * ```ts
 * weightedF1(["a", "a", "b"], ["a", "b", "b"], ["a", "b"]); // 0.667
 * ```
 */
export function weightedF1(
  answers: readonly string[],
  predictions: readonly string[],
  labels: readonly string[],
): number {
  return f1Of("weighted", answers, predictions, labels)(Int32Array.from(answers.keys()));
}

/**
 * {@link macroF1} or {@link weightedF1} as a function of the rows that are looked at, each as often as it is named: what
 * bootstrapInterval resamples.
 *
 * @example
 * ```ts
 * bootstrapInterval(answers.length, f1Of("macro", answers, predictions, labels), { seed: 1 });
 * ```
 */
export function f1Of(
  average: "macro" | "weighted",
  answers: readonly string[],
  predictions: readonly string[],
  labels: readonly string[],
): Statistic {
  requireSameRows(answers, predictions);
  const [truth, predicted] = [encode(answers, labels, "an answer"), encode(predictions, labels, "a prediction")];
  return (rows) => {
    const hits = new Int32Array(labels.length);
    const support = new Int32Array(labels.length);
    const seen = new Int32Array(labels.length); // as answer and as prediction together
    for (const row of rows) {
      const [answer, prediction] = [truth[row]!, predicted[row]!];
      support[answer]!++;
      seen[answer]!++;
      seen[prediction]!++;
      if (answer === prediction) hits[answer]!++;
    }
    let [sum, weights] = [0, 0];
    for (let label = 0; label < labels.length; label++) {
      if (seen[label] === 0) continue;
      const weight = average === "macro" ? 1 : support[label]!;
      sum += (weight * 2 * hits[label]!) / seen[label]!;
      weights += weight;
    }
    if (weights === 0) throw emptySet();
    return sum / weights;
  };
}

/**
 * (rows) -ln of the probability given to the answer. As in scikit-learn, probabilities are clipped to [eps, 1 - eps] with
 * eps = 2^-52, so that a 0 costs 36.04 instead of infinity; a row's probabilities must lie in [0, 1] and sum to 1.
 *
 * @param probabilities - (rows, labels), in the order of labels
 *
 * @example
 * ```ts
 * logLosses(["a", "b"], [[0.9, 0.1], [0.5, 0.5]], ["a", "b"]); // 0.105, 0.693
 * ```
 */
export function logLosses(
  answers: readonly string[],
  probabilities: readonly ArrayLike<number>[],
  labels: readonly string[],
): Float64Array {
  const truth = requireDistributions(answers, probabilities, labels);
  return Float64Array.from(truth, (label, row) => {
    return surprise(probabilities[row]![label]!);
  });
}

/**
 * Mean of {@link logLosses}, in nats.
 *
 * @example
 * ```ts
 * logLoss(["a", "b"], [[0.9, 0.1], [0.5, 0.5]], ["a", "b"]); // 0.399
 * ```
 */
export function logLoss(
  answers: readonly string[],
  probabilities: readonly ArrayLike<number>[],
  labels: readonly string[],
): number {
  return mean(logLosses(answers, probabilities, labels));
}

/** (rows) the index of each answer in labels. Throws "usage" where a row has no probabilities of these labels. */
export function requireDistributions(
  answers: readonly string[],
  probabilities: readonly ArrayLike<number>[],
  labels: readonly string[],
): Int32Array {
  requireSameRows(answers, probabilities);
  if (labels.length < 2) throw unexpected("at least two labels", "labels", labels);
  for (const [row, values] of probabilities.entries()) {
    const given = Array.from(values);
    const sum = given.reduce((total, probability) => total + probability, 0);
    const valid = given.length === labels.length && given.every((p) => p >= 0 && p <= 1);
    if (!valid || Math.abs(sum - 1) > 1e-6) {
      throw unexpected(`${labels.length} probabilities that sum to 1`, `row ${row}`, given);
    }
  }
  return encode(answers, labels, "an answer");
}

/** -ln of a probability, clipped as in {@link logLosses}. */
export function surprise(probability: number): number {
  return -Math.log(Math.min(Math.max(probability, Number.EPSILON), 1 - Number.EPSILON));
}

/** 0 of nothing. */
export function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

/** (rows) the index of each value in labels. */
function encode(values: readonly string[], labels: readonly string[], what: string): Int32Array {
  const index = new Map(labels.map((label, place) => [label, place]));
  if (index.size !== labels.length) throw unexpected("distinct labels", "labels", labels);
  return Int32Array.from(values, (value, row) => {
    const place = index.get(value);
    if (place === undefined) throw unexpected(`one of ${labels.length} labels`, `${what} (row ${row})`, value);
    return place;
  });
}

/** Throws "usage" for no rows, and for another number of predictions than answers. */
export function requireSameRows(answers: ArrayLike<unknown>, predictions: ArrayLike<unknown>): void {
  if (answers.length === 0) throw emptySet();
  if (answers.length !== predictions.length) {
    throw unexpected(`${answers.length} rows, as many as there are answers,`, "predictions", predictions.length);
  }
}

function emptySet(): StillroomError {
  return new StillroomError("usage", "a metric needs at least one row, received none");
}
