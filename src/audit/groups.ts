// Groups of rows, and how a predictor treats them: a table of each attribute with its gaps, corrected for many. The metrics are those of rates.ts (labels) and
// numbers.ts; knows rows and their answers, no model.
import { holm } from "../evaluate/index.js";
import { type Judged, leastRows, partsOf } from "./membership.js";
import { type NumberMetric, type NumberRow, numberGaps, numberRow } from "./numbers.js";
import type { Plan } from "./plan.js";
import type { Gap } from "./proportions.js";
import { type LabelMetric, type LabelRow, labelRow, rateGaps, shareOfRight } from "./rates.js";

/** Of one group. */
export interface GroupRow {
  group: string;
  rows: number;
  /** Share of right answers, of sets those that are right as a whole; null for numbers, which are nearer or farther, and where no model answered. */
  accuracy: number | null;
  /** By the favourable label: how the rows were answered. Empty for generate and regress. */
  labels: LabelRow[];
  /** Of numbers; null for all others. */
  numbers: NumberRow | null;
}

export type GroupMetric = LabelMetric | NumberMetric;

/** The rows' own: how their answers differ by group, whatever a model says. */
export const rowMetrics: readonly GroupMetric[] = ["base_rate", "mean_target"];

/** Those of a predictor's answers. */
export const judgedMetrics: readonly GroupMetric[] = [
  ...(["demographic_parity", "equal_opportunity", "equalized_odds", "calibration", "accuracy"] as const),
  ...(["mean_prediction", "mae", "rmse", "signed_error", "coverage"] as const),
];

/** One metric of the groups that lie farthest apart. */
export interface GroupGap extends Gap {
  metric: GroupMetric;
  /** The favourable label; null for accuracy and for numbers. */
  label: string | null;
  /** Which rate equalized_odds found farther apart; null for the others. */
  rate: "tpr" | "fpr" | null;
  /** Corrected (Holm) for all gaps of an audit. */
  p_holm: number;
}

/** Groups of one attribute. */
export interface GroupTable {
  attribute: string;
  source: "column" | "terms";
  groups: GroupRow[];
  /** Rows of no group. */
  others: number;
  gaps: GroupGap[];
}

/** Tables of several attributes, with the gaps of some metrics; the correction for many counts the gaps of all. */
export function groupTables(
  { task, memberships, positives, seed }: Pick<Plan, "task" | "memberships" | "positives" | "seed">,
  rows: readonly Judged[],
  metrics: readonly GroupMetric[],
): GroupTable[] {
  const numbers = task.kind === "regress";
  // Of the rows alone: their predictions are their own answers, of which nothing is said.
  const unanswered = metrics.every((metric) => rowMetrics.includes(metric));
  const tables = memberships.map((membership) => {
    const parts = partsOf(membership, rows);
    const large = [...parts].filter(([, part]) => part.length >= leastRows);
    const { attribute, source } = membership;
    const gaps = numbers
      ? numberGaps(large, metrics, seed)
      : rateGaps(large, positives, seed).filter(({ metric }) => metrics.includes(metric));
    return {
      ...{ attribute, source, gaps },
      groups: [...parts].map(([group, part]) => {
        const answered = unanswered ? [] : part;
        return {
          ...{ group, rows: part.length, accuracy: numbers ? null : shareOfRight(answered) },
          labels: positives.map((label) => labelRow(label, part, answered)),
          numbers: numbers ? numberRow(part, answered) : null,
        };
      }),
      others: rows.length - [...parts.values()].reduce((sum, part) => sum + part.length, 0),
    };
  });
  const corrected = holm(tables.flatMap(({ gaps }) => gaps.map(({ p_value }) => p_value)));
  let next = 0;
  return tables.map(({ gaps, ...table }) => ({
    ...table,
    gaps: gaps.map((gap) => ({ ...gap, p_holm: corrected[next++]! })),
  }));
}

/** What of tables was not compared, for want of rows: a sentence on whole attributes, one on single groups and one on rates of large ones, where there are any. */
export function notCompared(tables: readonly Pick<GroupTable, "attribute" | "groups">[]): string[] {
  const named = (groups: readonly Pick<GroupRow, "group" | "rows">[]) =>
    groups.length === 0 ? "no rows" : groups.map(({ group, rows }) => `${group} ${rows}`).join(", ");
  const whole: string[] = [];
  const single: string[] = [];
  const rates: string[] = [];
  for (const { attribute, groups } of tables) {
    const small = groups.filter(({ rows }) => rows < leastRows);
    if (groups.length - small.length < 2) {
      whole.push(`${attribute} (${named(groups)})`);
      continue;
    }
    if (small.length > 0) single.push(`${attribute} (${named(small)})`);
    const [few, all] = fewRates(groups.filter(({ rows }) => rows >= leastRows));
    if (few > 0) rates.push(`${attribute} (${few} of ${all})`);
  }
  return [
    ...(whole.length > 0 ? [`Not compared, since no two groups have ${leastRows} rows: ${whole.join(", ")}.`] : []),
    ...(single.length > 0 ? [`Groups of fewer than ${leastRows} rows, not compared: ${single.join(", ")}.`] : []),
    ...(rates.length > 0
      ? [
          `True and false positive rates of fewer than ${leastRows} of a group's rows, not compared: ${rates.join(", ")}.`,
        ]
      : []),
  ];
}

/** How many true and false positive rates are shares of too few rows, and how many there are. */
function fewRates(groups: readonly Pick<GroupRow, "rows" | "labels">[]): [number, number] {
  const sizes = groups.flatMap(({ rows, labels }) =>
    labels.flatMap(({ base_rate, true_positive_rate, false_positive_rate }) => {
      const hits = Math.round(base_rate * rows);
      return [...(true_positive_rate === null ? [] : [hits]), ...(false_positive_rate === null ? [] : [rows - hits])];
    }),
  );
  return [sizes.filter((size) => size < leastRows).length, sizes.length];
}
