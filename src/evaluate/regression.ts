// How near predicted numbers come to the right ones: scikit-learn's and SciPy's metrics, each with its interval. Knows numbers; no
// model, no task.
import { unexpected } from "../support/errors.js";
import { type Estimate, estimates } from "./estimates.js";
import { meanOf, type Statistic } from "./intervals.js";
import { requireSameRows } from "./metrics.js";

/** Metrics of predicted numbers, with 95 % intervals: none where resamples are all alike, as those of one row. */
export interface RegressionMetrics {
  /** Mean absolute error, in the unit of the targets. */
  mae: Estimate;
  /** Root of the mean squared error, in the unit of the targets. */
  rmse: Estimate;
  /** Pearson's correlation. */
  pearson: Estimate;
  /** Spearman's rank correlation; equal values share the mean of their ranks. */
  spearman: Estimate;
  /** Coefficient of determination: 1 - squared errors / squared distances from the targets' mean. */
  r2: Estimate;
}

/**
 * Metrics of predicted numbers. Where all targets or all predictions are equal, a correlation is undefined and given as 0; R² of
 * equal targets is 1 without an error and else 0, as scikit-learn has it. The same seed gives the same intervals.
 *
 * @param targets - (rows) the right numbers
 * @param predictions - (rows) the predicted ones, in the same order
 * @throws StillroomError "usage" for no rows, different numbers of rows, and values that are not finite
 *
 * @example
 * ```ts
 * import { regressionMetrics } from "stillroom";
 * const { mae, pearson } = regressionMetrics([1, 2, 3, 4], [1.5, 2, 2.5, 4.5]);
 * console.log(mae.value, pearson.low, pearson.high); // mae is 0.375
 * ```
 */
export function regressionMetrics(
  targets: ArrayLike<number>,
  predictions: ArrayLike<number>,
  { seed = 0 }: { seed?: number } = {},
): RegressionMetrics {
  requireSameRows(targets, predictions);
  for (const [name, values] of Object.entries({ targets, predictions })) {
    for (let row = 0; row < values.length; row++) {
      if (!Number.isFinite(values[row])) throw unexpected("a finite number", `row ${row} of ${name}`, values[row]);
    }
  }
  return estimates(targets.length, regressionStatistics(targets, predictions), seed);
}

/** The same metrics, each as a function of the rows looked at. */
export function regressionStatistics(
  targets: ArrayLike<number>,
  predictions: ArrayLike<number>,
): Record<keyof RegressionMetrics, Statistic> {
  const errors = Float64Array.from({ length: targets.length }, (_, row) => predictions[row]! - targets[row]!);
  const squares = errors.map((error) => error * error);
  const meanSquare = meanOf(squares);
  return {
    mae: meanOf(errors.map(Math.abs)),
    rmse: (rows) => Math.sqrt(meanSquare(rows)),
    pearson: pearsonOf(targets, predictions),
    spearman: spearmanOf(targets, predictions),
    r2: determinationOf(targets, squares),
  };
}

function pearsonOf(targets: ArrayLike<number>, predictions: ArrayLike<number>): Statistic {
  const [meanX, meanY] = [meanOf(targets), meanOf(predictions)];
  return (rows) => {
    const [x, y] = [meanX(rows), meanY(rows)];
    let [xx, yy, xy] = [0, 0, 0];
    for (const row of rows) {
      const [dx, dy] = [targets[row]! - x, predictions[row]! - y];
      xx += dx * dx;
      yy += dy * dy;
      xy += dx * dy;
    }
    // Sums of rounding errors are no variance.
    const none = (sum: number, mean: number) => sum <= rows.length * (1e-13 * mean) ** 2;
    if (none(xx, x) || none(yy, y)) return 0;
    return Math.min(1, Math.max(-1, xy / Math.sqrt(xx) / Math.sqrt(yy)));
  };
}

/** Pearson's of the ranks that values have among the rows looked at. */
function spearmanOf(targets: ArrayLike<number>, predictions: ArrayLike<number>): Statistic {
  const [rankX, rankY] = [ranksOf(targets), ranksOf(predictions)];
  return (rows) => {
    const ranks = [rankX(rows), rankY(rows)] as const;
    return pearsonOf(...ranks)(Int32Array.from(rows.keys()));
  };
}

/** Ranks from 1 of the rows looked at, in their order; values are sorted once. */
function ranksOf(values: ArrayLike<number>): (rows: Int32Array) => Float64Array {
  const distinct = Float64Array.from(new Set(Array.from(values))).sort();
  const places = new Map(Array.from(distinct, (value, place) => [value, place]));
  const placeOf = Int32Array.from(Array.from(values), (value) => places.get(value)!);
  return (rows) => {
    const counts = new Int32Array(distinct.length);
    for (const row of rows) counts[placeOf[row]!]!++;
    const ranks = new Float64Array(distinct.length);
    let before = 0;
    for (const [place, count] of counts.entries()) {
      ranks[place] = before + (count + 1) / 2;
      before += count;
    }
    return Float64Array.from(rows, (row) => ranks[placeOf[row]!]!);
  };
}

function determinationOf(targets: ArrayLike<number>, squares: Float64Array): Statistic {
  const meanTarget = meanOf(targets);
  return (rows) => {
    const mean = meanTarget(rows);
    let [errors, spread] = [0, 0];
    for (const row of rows) {
      errors += squares[row]!;
      spread += (targets[row]! - mean) ** 2;
    }
    if (spread === 0) return errors === 0 ? 1 : 0;
    return 1 - errors / spread;
  };
}
