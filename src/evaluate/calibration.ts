// Whether probabilities mean what they say: Brier score, calibration error and the bins of a reliability diagram. Knows answers and
// probabilities; no model and no task.
import type { Statistic } from "./intervals.js";
import { requireDistributions } from "./metrics.js";

/** Bins of equal width, as in Guo et al. 2017. */
const bins = 15;

/** The rows whose most likely label has a probability in (low, high]; the first bin holds 0 too. Of sets, in place of rows: the labels of rows with such a probability. */
export interface ReliabilityBin {
  low: number;
  high: number;
  rows: number;
  /** Mean probability of the most likely label; of sets of the labels. */
  confidence: number;
  /** Share of rows whose most likely label is the answer; of sets the share that is in the answer. */
  accuracy: number;
}

/**
 * (rows) the Brier score of each row: squared distance of the probabilities from the answer, halved for two labels. Its mean is
 * scikit-learn's brier_score_loss: from 0 to 1 with two labels, to 2 with more.
 *
 * @param probabilities - (rows, labels), in the order of labels; each row sums to 1
 *
 * @example
 * ```ts
 * brierScores(["a", "b"], [[0.9, 0.1], [0.5, 0.5]], ["a", "b"]); // 0.01, 0.25
 * ```
 */
export function brierScores(
  answers: readonly string[],
  probabilities: readonly ArrayLike<number>[],
  labels: readonly string[],
): Float64Array {
  const truth = requireDistributions(answers, probabilities, labels);
  const scale = labels.length === 2 ? 0.5 : 1;
  return Float64Array.from(truth, (answer, row) => {
    const given = probabilities[row]!;
    return scale * labels.reduce((sum, _, label) => sum + (given[label]! - (label === answer ? 1 : 0)) ** 2, 0);
  });
}

/**
 * Expected calibration error (Guo et al. 2017) as a function of the rows that are looked at: over 15 bins of equal width of the most
 * likely label's probability, the mean distance between confidence and accuracy, weighted by rows. The bins are those of
 * scikit-learn's calibration_curve.
 *
 * @example
 * ```ts
 * bootstrapInterval(answers.length, calibrationErrorOf(answers, probabilities, labels), { seed: 1 });
 * ```
 */
export function calibrationErrorOf(
  answers: readonly string[],
  probabilities: readonly ArrayLike<number>[],
  labels: readonly string[],
): Statistic {
  return errorOf(mostLikely(answers, probabilities, labels));
}

/**
 * The bins of a reliability diagram that hold rows: those of {@link calibrationErrorOf}.
 *
 * @example
 * ```ts
 * reliability(["a", "b"], [[0.9, 0.1], [0.8, 0.2]], ["a", "b"]).map(({ confidence, accuracy }) => confidence - accuracy);
 * ```
 */
export function reliability(
  answers: readonly string[],
  probabilities: readonly ArrayLike<number>[],
  labels: readonly string[],
): ReliabilityBin[] {
  return binsOf(mostLikely(answers, probabilities, labels));
}

/** The same of sets of labels, where each probability of a label is a claim of its own: (rows, labels), 1 in truth where the answer has the label. */
export function setCalibration(
  truth: readonly Uint8Array[],
  probabilities: readonly Float64Array[],
): { error: Statistic; bins: ReliabilityBin[] } {
  const confidence = Float64Array.from(probabilities.flatMap((row) => [...row]));
  const right = Uint8Array.from(truth.flatMap((row) => [...row]));
  const claims = { confidence, bin: Uint8Array.from(confidence, binOf), right, each: truth[0]!.length };
  return { error: errorOf(claims), bins: binsOf(claims) };
}

/** Probabilities that were given, `each` of a row, one row behind the other: the bin of each, and 1 where it came true. */
interface Claims {
  confidence: Float64Array;
  bin: Uint8Array;
  right: Uint8Array;
  each: number;
}

function errorOf({ confidence, bin, right, each }: Claims): Statistic {
  return (rows) => {
    const gaps = new Float64Array(bins);
    for (const row of rows)
      for (let claim = row * each; claim < (row + 1) * each; claim++)
        gaps[bin[claim]!]! += confidence[claim]! - right[claim]!;
    return gaps.reduce((sum, gap) => sum + Math.abs(gap), 0) / (rows.length * each);
  };
}

function binsOf({ confidence, bin, right }: Claims): ReliabilityBin[] {
  const sums = Array.from({ length: bins }, () => ({ rows: 0, confidence: 0, right: 0 }));
  for (const [claim, place] of bin.entries()) {
    const sum = sums[place]!;
    sum.rows += 1;
    sum.confidence += confidence[claim]!;
    sum.right += right[claim]!;
  }
  return sums.flatMap((sum, place) => {
    const { rows } = sum;
    if (rows === 0) return [];
    const means = { confidence: sum.confidence / rows, accuracy: sum.right / rows };
    return { low: place / bins, high: (place + 1) / bins, rows, ...means };
  });
}

function binOf(probability: number): number {
  let bin = 0;
  while (bin < bins - 1 && (bin + 1) / bins < probability) bin++;
  return bin;
}

/** Of each row the most likely label (the first of equals): its probability, the bin of that, and 1 where it is the answer. */
function mostLikely(
  answers: readonly string[],
  probabilities: readonly ArrayLike<number>[],
  labels: readonly string[],
): Claims {
  const truth = requireDistributions(answers, probabilities, labels);
  const highest = probabilities.map((given) => Math.max(...Array.from(given)));
  return {
    confidence: Float64Array.from(highest),
    bin: Uint8Array.from(highest, binOf),
    right: Uint8Array.from(truth, (answer, row) => {
      return Array.from(probabilities[row]!).indexOf(highest[row]!) === answer ? 1 : 0;
    }),
    each: 1,
  };
}
