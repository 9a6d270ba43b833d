// How a predictor of numbers treats groups of rows: means and errors in the task's units, with intervals. Knows rows and their answers.
import { withinInterval } from "../evaluate/index.js";
import { type Judged, leastRows } from "./membership.js";
import {
  type Expectation,
  expectedRatio,
  expectedToObserved,
  type Gap,
  meanGap,
  rateGap,
  spreadGap,
  type Values,
} from "./proportions.js";

/** mean_target is the rows' own: how their numbers differ by group, whatever a model says. */
export type NumberMetric = "mean_target" | "mean_prediction" | "mae" | "rmse" | "signed_error" | "coverage";

/** Of one group, in the unit of the targets. All that is of predictions is null where no model answered. */
export interface NumberRow {
  mean_target: number;
  mean_prediction: number | null;
  /** Mean absolute error. */
  mae: number | null;
  /** Root of the mean squared error. */
  rmse: number | null;
  /** Mean of prediction - target: above 0, the group is predicted too high. */
  signed_error: number | null;
  /** Mean prediction by mean target: 1 is calibrated. null where any of either is below 0, and where all targets are 0. */
  expected_to_observed: number | null;
  /** Share of targets within the predictions' intervals; null where predictions have none. */
  coverage: number | null;
}

const targetOf = ({ score }: Judged): number => Number(score.answer);
const predictionOf = ({ score }: Judged): number => Number(score.prediction);
const errorOf = (judged: Judged): number => predictionOf(judged) - targetOf(judged);

const expectations = (part: readonly Judged[]): Expectation[] =>
  part.map((judged) => ({ expected: predictionOf(judged), observed: targetOf(judged) }));

/** What each metric is the mean of, by row; null for a row that it does not count. */
const valueBy: Record<NumberMetric, (judged: Judged) => number | null> = {
  mean_target: targetOf,
  mean_prediction: predictionOf,
  mae: (judged) => Math.abs(errorOf(judged)),
  rmse: (judged) => errorOf(judged) ** 2,
  signed_error: errorOf,
  coverage: ({ score }) => {
    const within = withinInterval(score);
    return within === null ? null : Number(within);
  },
};

/** A metric as what it is the mean of, and what is made of that mean. */
export function numberMeasure(metric: NumberMetric) {
  return { value: valueBy[metric], from: metric === "rmse" ? Math.sqrt : (mean: number) => mean };
}

export function isNumberMetric(metric: string): metric is NumberMetric {
  return Object.hasOwn(valueBy, metric);
}

/** The numbers of one group's rows, and how those of them that were answered were. */
export function numberRow(part: readonly Judged[], answered: readonly Judged[]): NumberRow {
  const of = (metric: NumberMetric, rows = answered) => {
    const { value, from } = numberMeasure(metric);
    const values = rows.map(value).filter((one) => one !== null);
    return values.length === 0 ? null : from(values.reduce((sum, one) => sum + one, 0) / values.length);
  };
  return {
    mean_target: of("mean_target", part)!,
    mean_prediction: of("mean_prediction"),
    mae: of("mae"),
    rmse: of("rmse"),
    signed_error: of("signed_error"),
    expected_to_observed: expectedToObserved(expectations(answered)),
    coverage: of("coverage"),
  };
}

/** Some metrics of groups of enough rows. */
export function numberGaps(parts: readonly [string, Judged[]][], metrics: readonly string[], seed: number) {
  return metrics.filter(isNumberMetric).flatMap((metric) => {
    const { value } = numberMeasure(metric);
    const groups = parts.map(([group, part]) => ({
      group,
      values: part.map(value).filter((one) => one !== null),
    }));
    const gap = gapOf(metric, groups, seed);
    if (gap === null) return [];
    // Of errors there is no ratio that says anything.
    const expected = metric === "signed_error" && parts.map(([group, part]) => ({ group, rows: expectations(part) }));
    return [{ metric, label: null, rate: null, ...gap, ...(expected && expectedRatio(expected, seed)) }];
  });
}

function gapOf(metric: NumberMetric, groups: readonly Values[], seed: number): Gap | null {
  if (metric === "coverage") {
    const rates = groups.map(({ group, values }) => {
      return { group, rows: values.length, hits: values.reduce((sum, within) => sum + within, 0) };
    });
    return rateGap(rates.filter(({ rows }) => rows >= leastRows));
  }
  // Of training rows there may be millions: what has a formula is not resampled.
  if (metric === "mean_target") return meanGap(groups);
  return spreadGap(groups, numberMeasure(metric).from, seed);
}
