// How a predictor gives labels to groups of rows: the group metrics of Hardt et al. 2016 and Fairlearn. Of sets each label is a decision of its own. Knows rows
// and their answers.
import { mean } from "../evaluate/index.js";
import { type Judged, leastRows } from "./membership.js";
import { type Expectation, expectedRatio, expectedToObserved, type Gap, meanGap, rateGap } from "./proportions.js";

/** Of one label in one group. Rates are null without rows that they are shares of: those of predictions where no model answered. */
export interface LabelRow {
  label: string;
  /** Share of rows with this label in their answer. */
  base_rate: number;
  /** Share of rows with this label in the prediction. */
  selection_rate: number | null;
  true_positive_rate: number | null;
  false_positive_rate: number | null;
  /** Mean probability of the label minus its share of the answers: above 0, it is expected too often. */
  calibration: number | null;
  /** Mean probability of the label by its share of the answers: 1 is calibrated. null where no row's answer is it, and without probabilities. */
  expected_to_observed: number | null;
}

export type LabelMetric =
  | "base_rate"
  | "demographic_parity"
  | "equal_opportunity"
  | "equalized_odds"
  | "calibration"
  | "accuracy";

type LabelGap = Gap & { metric: LabelMetric; label: string | null; rate: "tpr" | "fpr" | null };

export const isRight = ({ score }: Judged): boolean => score.answer === score.prediction;

/** The rows that a rate is a share of, and those of them that it counts. */
export interface RateOf {
  among: (judged: Judged) => boolean;
  hit: (judged: Judged) => boolean;
}

const right: RateOf = { among: () => true, hit: isRight };

/** The rates of a favourable label that group metrics compare. */
export function ratesOf(label: string): Record<"base_rate" | "selection" | "tpr" | "fpr", RateOf> {
  const answer = ({ labels }: Judged) => labels.answer.includes(label);
  const hit = ({ labels }: Judged) => labels.prediction.includes(label);
  return {
    base_rate: { among: () => true, hit: answer },
    selection: { among: () => true, hit },
    tpr: { among: answer, hit },
    fpr: { among: (judged) => !answer(judged), hit },
  };
}

/** p(label) - 1 where it is the answer, p(label) elsewhere; null without probabilities. */
export function excess(judged: Judged, label: string): number | null {
  const [row] = expectations([judged], label);
  return row ? row.expected - row.observed : null;
}

/** p(label), and whether it is the answer, of rows with probabilities. */
function expectations(part: readonly Judged[], label: string): Expectation[] {
  return part.flatMap(({ score, labels }) => {
    const expected = score.probabilities?.[label];
    return expected === undefined ? [] : [{ expected, observed: Number(labels.answer.includes(label)) }];
  });
}

const excesses = (rows: readonly Expectation[]) => rows.map(({ expected, observed }) => expected - observed);

/** Share of the rows that a rate is of; null without any. */
function shareOf(part: readonly Judged[], { among, hit }: RateOf): number | null {
  const counted = part.filter(among);
  return counted.length === 0 ? null : counted.filter(hit).length / counted.length;
}

export function shareOfRight(part: readonly Judged[]): number | null {
  return shareOf(part, right);
}

/** How the rows of one group are labelled, and how those of them that were answered were. */
export function labelRow(label: string, part: readonly Judged[], answered: readonly Judged[]): LabelRow {
  const rates = ratesOf(label);
  const expected = expectations(answered, label);
  return {
    label,
    base_rate: shareOf(part, rates.base_rate)!,
    selection_rate: shareOf(answered, rates.selection),
    true_positive_rate: shareOf(answered, rates.tpr),
    false_positive_rate: shareOf(answered, rates.fpr),
    calibration: expected.length === 0 ? null : mean(excesses(expected)),
    expected_to_observed: expectedToObserved(expected),
  };
}

/** Every metric of groups of enough rows, of those with enough that a rate is a share of; the seed draws the resamples of calibration's ratio. */
export function rateGaps(parts: readonly [string, Judged[]][], positives: readonly string[], seed: number): LabelGap[] {
  const gap = ({ among, hit }: RateOf, looks = 1) => {
    const rates = parts.map(([group, part]) => {
      const counted = part.filter(among);
      return { group, rows: counted.length, hits: counted.filter(hit).length };
    });
    return rateGap(
      rates.filter(({ rows }) => rows >= leastRows),
      looks,
    );
  };
  const named = (metric: LabelMetric, label: string | null, found: Gap | null, rate: LabelGap["rate"] = null) =>
    found === null ? [] : [{ metric, label, rate, ...found }];
  const accuracy = named("accuracy", null, gap(right));
  const byLabel = positives.flatMap((label) => {
    const rates = ratesOf(label);
    const expected = parts
      .map(([group, part]) => ({ group, rows: expectations(part, label) }))
      .filter(({ rows }) => rows.length >= leastRows);
    const calibration = meanGap(expected.map(({ group, rows }) => ({ group, values: excesses(rows) })));
    return [
      ...named("base_rate", label, gap(rates.base_rate)),
      ...named("demographic_parity", label, gap(rates.selection)),
      ...named("equal_opportunity", label, gap(rates.tpr)),
      ...named("equalized_odds", label, ...worse(gap(rates.tpr, 2), gap(rates.fpr, 2))),
      ...named("calibration", label, calibration && { ...calibration, ...expectedRatio(expected, seed) }),
    ];
  });
  return [...accuracy, ...byLabel];
}

/** Of the gaps of true and false positive rates the larger difference, with the smaller ratio of both: Fairlearn's equalised odds. */
function worse(tpr: Gap | null, fpr: Gap | null): [Gap | null, LabelGap["rate"]] {
  if (tpr === null || fpr === null) return [tpr ?? fpr, tpr ? "tpr" : "fpr"];
  const larger = tpr.difference.value >= fpr.difference.value ? tpr : fpr;
  const { ratio, ratio_between } = (tpr.ratio?.value ?? Infinity) <= (fpr.ratio?.value ?? Infinity) ? tpr : fpr;
  const [smallest, p_value] = [Math.min(tpr.smallest, fpr.smallest), Math.min(tpr.p_value, fpr.p_value)];
  return [{ ...larger, ratio, ratio_between, smallest, p_value }, larger === tpr ? "tpr" : "fpr"];
}
