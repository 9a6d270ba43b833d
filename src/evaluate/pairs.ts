// Whether two predictors of the same rows differ by a metric of their task: the difference, and the test that fits the metric. Knows their
// answers; no model.
import type { Task } from "../task/index.js";
import { mcnemar } from "./compare.js";
import type { Estimate } from "./estimates.js";
import { pairedDifference, permutationTest } from "./paired.js";
import type { Label, RowScore } from "./scoring.js";
import { rightRows, statisticsOf } from "./summary.js";

/** Two predictors by one metric. */
export interface PairTest {
  /** The first's metric minus the second's, with its interval. */
  difference: Estimate;
  /** McNemar's exact test where the metric is a share of right rows, else the paired permutation test. */
  test: "mcnemar" | "permutation";
  /** Two-sided. */
  p_value: number;
}

/**
 * Compares two predictors of the same rows, in the same order. The same seed gives the same numbers.
 *
 * @param metric - one that statisticsOf has for these rows
 *
 * @example
 * ```ts
 * testPair(task, tuned, base, { labels, metric: "accuracy", seed: 0 }).p_value; // 0.003: they differ
 * ```
 */
export function testPair(
  task: Task,
  first: readonly RowScore[],
  second: readonly RowScore[],
  { labels, metric, seed }: { labels: readonly Label[]; metric: string; seed: number },
): PairTest {
  const rows = first.length;
  const statistic = statisticsOf(task, [...first, ...second], labels)[metric]!;
  const difference = pairedDifference(rows, statistic, seed);
  const shareOfRight = ["accuracy", "subset_accuracy", "exact_match"].includes(metric);
  return shareOfRight
    ? { difference, test: "mcnemar", p_value: mcnemar(rightRows(task, first), rightRows(task, second)).exact }
    : { difference, test: "permutation", p_value: permutationTest(rows, statistic, seed) };
}

/**
 * A {@link PairTest}'s test in words.
 *
 * @example
 * ```ts
 * testOf({ test: "permutation", metric: "mae" }); // a paired permutation test of mae
 * ```
 */
export function testOf({ test, metric }: Pick<PairTest, "test"> & { metric: string }): string {
  return test === "mcnemar" ? "McNemar's exact test" : `a paired permutation test of ${metric}`;
}
