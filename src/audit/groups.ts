// Groups of rows, and how a predictor treats them: the group metrics of Hardt et al. 2016 and Fairlearn, with intervals. Knows rows and
// their answers; no model.
import { type Row, usedFields } from "../dataset/index.js";
import { holm, type RowScore } from "../evaluate/index.js";
import { StillroomError } from "../support/errors.js";
import type { Task } from "../task/index.js";
import { type Gap, meanGap, rateGap } from "./proportions.js";
import { mentionedGroup, type TermGroups } from "./terms.js";

/** Which group each row is of; rows of none are left out. */
export interface Membership {
  attribute: string;
  source: "column" | "terms";
  groupOf: (row: Row) => string | null;
}

/** Groups with fewer rows than this are listed, and compared with none. */
export const leastRows = 10;
const mostGroups = 50;

/** All text of a row that its prompt is made of. */
export function textOf(task: Task): (row: Row) => string {
  const names = usedFields(task).all;
  const texts = (value: unknown): string[] => {
    if (typeof value === "string") return [value];
    return typeof value === "object" && value !== null ? Object.values(value).flatMap(texts) : [];
  };
  return (row) => names.flatMap((name) => texts(row.fields[name])).join("\n");
}

/** Groups by the values of a column. Throws "input" for a column that no row has, or of too many values. */
export function byColumn(column: string, rows: readonly Row[]): Membership {
  const groupOf = ({ fields }: Row) => {
    const value = fields[column];
    return value === undefined || value === null || typeof value === "object" ? null : String(value);
  };
  const values = new Set(rows.map(groupOf).filter((value) => value !== null));
  if (values.size === 0) {
    const known = Object.keys(rows[0]?.fields ?? {}).join(", ");
    throw new StillroomError("input", `expected a column ${column} to group by, received rows with ${known}`);
  }
  if (values.size > mostGroups) {
    throw new StillroomError(
      "input",
      `expected a column of at most ${mostGroups} values to group by, received ${column} with ${values.size}`,
    );
  }
  return { attribute: column, source: "column", groupOf };
}

/** Groups by the terms that a row's text mentions. */
export function byTerms(terms: TermGroups, task: Task): Membership {
  const [mentioned, text] = [mentionedGroup(terms), textOf(task)];
  return { attribute: terms.attribute, source: "terms", groupOf: (row) => mentioned(text(row)) };
}

/** Of one group. Rates are null without rows that they are shares of. */
export interface GroupRow {
  group: string;
  rows: number;
  /** Share of right answers. */
  accuracy: number;
  /** By the favourable label: how the rows were answered. Empty for generate. */
  labels: {
    label: string;
    /** Share of rows with this label as their answer. */
    base_rate: number;
    /** Share of rows with this label as prediction. */
    selection_rate: number;
    true_positive_rate: number | null;
    false_positive_rate: number | null;
    /** Mean probability of the label minus its share of the answers: above 0, it is expected too often. */
    calibration: number | null;
  }[];
}

/** base_rate is the rows' own: how their answers differ by group, whatever a model says. */
export type GroupMetric =
  | "base_rate"
  | "demographic_parity"
  | "equal_opportunity"
  | "equalized_odds"
  | "calibration"
  | "accuracy";

/** Those of a predictor's answers. */
export const judgedMetrics: readonly GroupMetric[] = [
  "demographic_parity",
  "equal_opportunity",
  "equalized_odds",
  "calibration",
  "accuracy",
];

/** One metric of the groups that lie farthest apart. */
export interface GroupGap extends Gap {
  metric: GroupMetric;
  /** The favourable label; null for accuracy. */
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

/** A row with what was answered. */
export interface Judged {
  row: Row;
  score: RowScore;
}

/** Tables of several attributes, with the gaps of some metrics; the correction for many counts the gaps of all. */
export function groupTables(
  memberships: readonly Membership[],
  rows: readonly Judged[],
  positives: readonly string[],
  metrics: readonly GroupMetric[],
): GroupTable[] {
  const tables = memberships.map((membership) => {
    const parts = partsOf(membership, rows);
    const large = [...parts].filter(([, part]) => part.length >= leastRows);
    const { attribute, source } = membership;
    return {
      ...{ attribute, source },
      groups: [...parts].map(([group, part]) => groupRow(group, part, positives)),
      others: rows.length - [...parts.values()].reduce((sum, part) => sum + part.length, 0),
      gaps: gapsOf(large, positives).filter(({ metric }) => metrics.includes(metric)),
    };
  });
  const corrected = holm(tables.flatMap(({ gaps }) => gaps.map(({ p_value }) => p_value)));
  let next = 0;
  return tables.map(({ gaps, ...table }) => ({
    ...table,
    gaps: gaps.map((gap) => ({ ...gap, p_holm: corrected[next++]! })),
  }));
}

/** By group, in the order of their names. */
export function partsOf({ groupOf }: Membership, rows: readonly Judged[]): Map<string, Judged[]> {
  const parts = new Map<string, Judged[]>();
  for (const judged of rows) {
    const group = groupOf(judged.row);
    if (group === null) continue;
    const part = parts.get(group);
    if (part) part.push(judged);
    else parts.set(group, [judged]);
  }
  return new Map([...parts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

const is = {
  right: ({ score }: Judged) => score.answer === score.prediction,
  answer:
    (label: string) =>
    ({ score }: Judged) =>
      score.answer === label,
  predicted:
    (label: string) =>
    ({ score }: Judged) =>
      score.prediction === label,
};

/** The rows that a rate is a share of, and those of them that it counts. */
export interface RateOf {
  among: (judged: Judged) => boolean;
  hit: (judged: Judged) => boolean;
}

/** The rates of a favourable label that group metrics compare. */
export function ratesOf(label: string): Record<"base_rate" | "selection" | "tpr" | "fpr", RateOf> {
  const [answer, hit] = [is.answer(label), is.predicted(label)];
  return {
    base_rate: { among: () => true, hit: answer },
    selection: { among: () => true, hit },
    tpr: { among: answer, hit },
    fpr: { among: (judged) => !answer(judged), hit },
  };
}

/** p(label) - 1 where it is the answer, p(label) elsewhere; null without probabilities. */
export function excess({ score }: Judged, label: string): number | null {
  const probability = score.probabilities?.[label];
  return probability === undefined ? null : probability - (score.answer === label ? 1 : 0);
}

function groupRow(group: string, part: readonly Judged[], positives: readonly string[]): GroupRow {
  const share = ({ among, hit }: RateOf) => {
    const counted = part.filter(among);
    return counted.length === 0 ? null : counted.filter(hit).length / counted.length;
  };
  return {
    group,
    rows: part.length,
    accuracy: part.filter(is.right).length / part.length,
    labels: positives.map((label) => {
      const rates = ratesOf(label);
      const excesses = part.map((judged) => excess(judged, label)).filter((value) => value !== null);
      return {
        label,
        base_rate: share(rates.base_rate)!,
        selection_rate: share(rates.selection)!,
        true_positive_rate: share(rates.tpr),
        false_positive_rate: share(rates.fpr),
        calibration: excesses.length === 0 ? null : excesses.reduce((sum, value) => sum + value, 0) / excesses.length,
      };
    }),
  };
}

function gapsOf(parts: readonly [string, Judged[]][], positives: readonly string[]): Omit<GroupGap, "p_holm">[] {
  const gap = ({ among, hit }: RateOf, looks = 1) => {
    const rates = parts.map(([group, part]) => {
      const counted = part.filter(among);
      return { group, rows: counted.length, hits: counted.filter(hit).length };
    });
    return rateGap(
      rates.filter(({ rows }) => rows > 0),
      looks,
    );
  };
  const named = (metric: GroupMetric, label: string | null, found: Gap | null, rate: GroupGap["rate"] = null) =>
    found === null ? [] : [{ metric, label, rate, ...found }];
  const accuracy = named("accuracy", null, gap({ among: () => true, hit: is.right }));
  const byLabel = positives.flatMap((label) => {
    const rates = ratesOf(label);
    const calibration = parts.map(([group, part]) => {
      return { group, values: part.map((judged) => excess(judged, label)).filter((value) => value !== null) };
    });
    return [
      ...named("base_rate", label, gap(rates.base_rate)),
      ...named("demographic_parity", label, gap(rates.selection)),
      ...named("equal_opportunity", label, gap(rates.tpr)),
      ...named("equalized_odds", label, ...worse(gap(rates.tpr, 2), gap(rates.fpr, 2))),
      ...named("calibration", label, meanGap(calibration)),
    ];
  });
  return [...accuracy, ...byLabel];
}

/** Of the gaps of true and false positive rates the larger difference, with the smaller ratio of both: Fairlearn's equalised odds. */
function worse(tpr: Gap | null, fpr: Gap | null): [Gap | null, GroupGap["rate"]] {
  if (tpr === null || fpr === null) return [tpr ?? fpr, tpr ? "tpr" : "fpr"];
  const larger = tpr.difference.value >= fpr.difference.value ? tpr : fpr;
  const ratio =
    tpr.ratio === null || fpr.ratio === null
      ? (tpr.ratio ?? fpr.ratio)
      : [tpr.ratio, fpr.ratio].reduce((least, next) => (least.value <= next.value ? least : next));
  const smallest = Math.min(tpr.smallest, fpr.smallest);
  return [{ ...larger, ratio, smallest, p_value: Math.min(tpr.p_value, fpr.p_value) }, larger === tpr ? "tpr" : "fpr"];
}
