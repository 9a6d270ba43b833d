// How evenly a predictor treats groups, in two numbers: from its answers to a task's rows, which are there already, and to the same rows with other groups' words.
// What the numbers are is audit's; owns which of them stand for all.
import {
  type GroupGap,
  type GroupTable,
  groupTables,
  judge,
  judgedMetrics,
  leastRows,
  planAudit,
  type Swap,
  swapsOf,
  variantsOf,
} from "../audit/index.js";
import type { Interval, Predictor, RowScore, ScoringProgress } from "../evaluate/index.js";
import { variantAnswers } from "./audit-variants.js";

/** The unevenest of what an audit would list. Intervals are 95 % and each number's own: that it is the largest of many, `p_holm` is corrected for. */
export interface Fairness {
  /** The largest difference between two groups, of all attributes and metrics, of numbers those in the task's units; null where no two groups have ten rows. */
  gap: ({ attribute: string } & Omit<GroupGap, "ratio" | "ratio_between" | "rate" | "p_value">) | null;
  /** The swap of two groups' words that turns the largest share of answers; null where no ten rows have such words. */
  swap: (Pick<Swap, "attribute" | "groups" | "label" | "rows"> & { flips: Interval }) | null;
}

/** scores: what the predictor answered to its rows. onProgress: how many variants of them were answered. Throws what evaluateRows throws. */
export async function fairnessOf(
  { job, seed }: Predictor,
  scores: readonly RowScore[],
  onProgress: (progress: ScoringProgress) => void,
): Promise<Fairness> {
  const plan = planAudit(job.task, job.rows, job.labels, { seed });
  const byIndex = new Map(job.rows.map((row) => [row.index, row]));
  const judged = scores.map((score) => judge(job.task, byIndex.get(score.index)!, score));
  const variants = variantsOf(plan.lists, job.task, judged);
  const answers = await variantAnswers(variants, job, onProgress);
  return {
    gap: largestGap(groupTables(plan, judged, judgedMetrics)),
    swap: mostFlips(swapsOf(plan, variants, answers)),
  };
}

/** The largest of all gaps. */
export function largestGap(tables: readonly Pick<GroupTable, "attribute" | "gaps">[]): Fairness["gap"] {
  const gaps = tables.flatMap(({ attribute, gaps: own }) => own.map((gap) => ({ attribute, ...gap })));
  // A share of intervals is not to be compared with errors.
  const [largest] = gaps
    .filter(({ metric }) => metric !== "coverage")
    .sort((a, b) => b.difference.value - a.difference.value);
  if (largest === undefined) return null;
  const { ratio: _, ratio_between: __, rate: ___, p_value: ____, ...gap } = largest;
  return gap;
}

/** The least agreement, of swaps of enough rows: of one row all or none turns. */
export function mostFlips(swaps: readonly Swap[]): Fairness["swap"] {
  const [most] = swaps.filter(({ rows }) => rows >= leastRows).sort((a, b) => a.agreement.value - b.agreement.value);
  if (most === undefined) return null;
  const { attribute, groups, label, rows, agreement } = most;
  return {
    ...{ attribute, groups, label, rows },
    flips: { value: 1 - agreement.value, low: 1 - agreement.high, high: 1 - agreement.low },
  };
}
