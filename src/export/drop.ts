// What a step of an export did to the task's metric, and whether it lost more than its bound and more than chance takes. Knows what both models
// answered to the same rows; asks none.
import {
  bootstrapInterval,
  isPast,
  type Label,
  momentsOf,
  type PairTest,
  type RowScore,
  statisticsOf,
  testOf,
  testPair,
} from "../evaluate/index.js";
import { counted } from "../support/words.js";
import { hasUnit, isError, type Task } from "../task/index.js";

/** What a step did, on the rows of the gate: after minus before. */
export interface MetricChange extends PairTest {
  /** Where 95 % of the values before lie when the rows are drawn again (bootstrap): one value where every draw gives it. */
  redrawn: [number, number];
  /** The largest drop that is no harm in itself, in the unit of the metric; null where it is in deviations of answers that have none: one row, or equal ones. */
  bound: number | null;
}

/** Two values differ where chance would make them differ as much less often than this; as compare has it. */
const least = 0.05;

/**
 * @param before - the rows as the model before the step answered them
 * @param after - the same rows in the same order
 * @param drop - bound of the metric's drop; of mae and rmse, which are in the unit of the answers, in standard deviations of these
 */
export function changeBetween(
  task: Task,
  before: readonly RowScore[],
  after: readonly RowScore[],
  { labels, seed, drop }: { labels: readonly Label[]; seed: number; drop: number },
): MetricChange {
  const { metric } = task;
  const { low, high } = bootstrapInterval(before.length, statisticsOf(task, before, labels)[metric]!, { seed });
  const unit = hasUnit(metric) ? deviationOf(before.map(({ answer }) => Number(answer))) : 1;
  // Any change, however small, is past a bound of no width.
  const bound = unit === 0 ? null : drop * unit;
  return { ...testPair(task, after, before, { labels, metric, seed }), redrawn: [low, high], bound };
}

/**
 * How a step harmed the metric, in words; null where it did not. It did where the metric drops by more than the bound, and one of two says that this is no chance: the test
 * of both models on the same rows, or the rows drawn again, which give no value as bad before the step. Over few rows the test never says so, and where many rows turn in
 * both directions it does so late.
 */
export function harmOf(
  metric: string,
  [before, after]: readonly [number, number],
  { redrawn: [low, high], bound, p_value, test }: MetricChange,
): string | null {
  if (bound === null || !isPast(bound, lossOf(metric, [before, after]), [before, after])) return null;
  const draws =
    low === high
      ? `every draw of these rows gives ${digits(low)}`
      : `95 % of the draws of these rows give ${digits(low)} to ${digits(high)}`;
  const why = [
    ...(p_value < least ? [`p = ${digits(p_value)} by ${testOf({ test, metric })}`] : []),
    ...((isError(metric) ? after > high : after < low) ? [`${draws} before it`] : []),
  ];
  if (why.length === 0) return null;
  return `${metric} from ${digits(before)} to ${digits(after)}, the bound is ${boundText(metric, bound)} (${why.join("; ")})`;
}

/**
 * What the rows leave open of a step that did no harm, in words: a loss past its bound that may be chance, no bound to judge it by, or a metric from which no fall would be
 * harm; null where nothing.
 */
export function doubtOf(
  metric: string,
  values: readonly [number, number],
  change: MetricChange,
  rows: number,
): string | null {
  const on = counted(rows, "row");
  const { bound, p_value } = change;
  if (bound === null) {
    const why = "its bound is in standard deviations of the answers, which are 0 here";
    return `${metric} on ${on} cannot be judged: ${why}; give rows of different answers`;
  }
  const loss = lossOf(metric, values);
  if (!isPast(bound, loss, values)) {
    if (!isBlind(metric, values[0], bound, change.redrawn)) return null;
    const remedy =
      change.redrawn[0] <= 0
        ? "give more rows, some of them answered rightly"
        : "give a smaller bound, or rows of which more are answered rightly";
    return `${metric} is ${digits(values[0])} on ${on} before it, and no fall from there would fail: it judged nothing; ${remedy}`;
  }
  if (harmOf(metric, values, change) !== null) return null;
  const moved = `${metric} ${isError(metric) ? "rose" : "fell"} by ${digits(loss)} on ${on}`;
  const chance = `p = ${digits(p_value)}: chance cannot be excluded, more rows would tell`;
  return `${moved}, more than the bound of ${boundText(metric, bound)}; ${chance}`;
}

/** Metrics without a least value of 0. */
const signed = ["pearson", "spearman", "r2"];

/**
 * Whether no answers to these rows would be harm: even a fall to 0 is within the bound, or the draws reach 0 themselves. They do where at most 4 rows, of however many, have
 * what can be lost, since e⁻⁴ of the draws have none of 4; no test calls the loss of fewer than 6 more than chance.
 */
function isBlind(metric: string, before: number, bound: number, [low]: MetricChange["redrawn"]): boolean {
  if (isError(metric) || signed.includes(metric)) return false;
  return !isPast(bound, before, [before, 0]) || low <= 0;
}

/** How far a metric got worse; negative where it got better. */
function lossOf(metric: string, [before, after]: readonly [number, number]): number {
  return isError(metric) ? after - before : before - after;
}

function boundText(metric: string, bound: number): string {
  return hasUnit(metric) ? `${digits(bound)}, set in standard deviations of the answers` : digits(bound);
}

/** Three digits, as numbers stand in the gate's sentences. */
export function digits(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function deviationOf(numbers: readonly number[]): number {
  return numbers.length < 2 ? 0 : Math.sqrt(momentsOf(numbers).variance);
}
