// How sure a number is: 95 % intervals by seeded bootstrap, and by the score formulas of Wilson and Tango. Knows nothing of what the number measures.
import { StillroomError, unexpected } from "../support/errors.js";
import { Random } from "../support/random.js";

/** A value with its 95 % interval. */
export interface Interval {
  value: number;
  low: number;
  high: number;
}

/** The 0.975 quantile of the standard normal distribution. */
const Z = 1.959963984540054;

/** A number for a set of row indices, in which a row may stand more than once; it keeps no hold of the array. */
export type Statistic = (rows: Int32Array) => number;

/** How rows are drawn again. */
export interface BootstrapOptions {
  seed: number;
  /** Default 2,000. */
  resamples?: number;
  /** Sizes of groups that stand one behind the other: each is drawn from in itself, and keeps its places (default: all rows are one). */
  parts?: readonly number[];
  /** Share of the resamples that lies beyond each end (default 0.025). */
  tail?: number;
}

/**
 * Percentile bootstrap (Efron 1979): the statistic of resampled rows, as many as there are and drawn with replacement, is
 * computed 2,000 times; the interval reaches from the 2.5 % to the 97.5 % quantile of these, interpolated linearly. Equal to
 * scipy.stats.bootstrap(method="percentile") on the same draws. The same seed gives the same interval.
 *
 * @param rows - how many rows there are
 *
 * @example
 * ```ts
 * const right = matches(answers, predictions);
 * bootstrapInterval(right.length, meanOf(right), { seed: 1 }); // { value: 0.89, low: 0.868, high: 0.911 }
 * ```
 */
export function bootstrapInterval(rows: number, statistic: Statistic, options: BootstrapOptions): Interval {
  return bootstrapIntervals(rows, { statistic }, options).statistic;
}

/**
 * Intervals of several statistics of the same rows, each as {@link bootstrapInterval} gives it, from one set of draws.
 *
 * @example
 * ```ts
 * bootstrapIntervals(errors.length, { mae: meanOf(errors), bias: meanOf(signed) }, { seed: 1 }).mae.high;
 * ```
 */
export function bootstrapIntervals<Name extends string>(
  rows: number,
  statistics: Record<Name, Statistic>,
  options: BootstrapOptions,
): Record<Name, Interval> {
  const { resamples = 2000, parts = [rows], tail = 0.025 } = options;
  if (!Number.isInteger(rows) || rows < 1) throw unexpected("a whole number of rows, at least 1,", "rows", rows);
  if (!Number.isInteger(resamples) || resamples < 1) {
    throw unexpected("a whole number, at least 1,", "resamples", resamples);
  }
  const random = new Random(options.seed);
  const chosen = Int32Array.from({ length: rows }, (_, row) => row);
  const found = Object.entries<Statistic>(statistics).map(([name, statistic]) => {
    return { name, statistic, value: finite(statistic(chosen)), drawn: new Float64Array(resamples) };
  });
  for (let resample = 0; resample < resamples; resample++) {
    let from = 0;
    for (const size of parts) {
      for (let place = 0; place < size; place++) chosen[from + place] = from + random.below(size);
      from += size;
    }
    for (const { statistic, drawn } of found) drawn[resample] = finite(statistic(chosen));
  }
  const intervals = found.map(({ name, value, drawn }) => {
    drawn.sort();
    return [name, { value, low: quantile(drawn, tail), high: quantile(drawn, 1 - tail) }];
  });
  return Object.fromEntries(intervals) as Record<Name, Interval>;
}

/**
 * The mean of a row's values as a statistic for {@link bootstrapInterval}.
 *
 * @example
 * ```ts
 * bootstrapInterval(losses.length, meanOf(losses), { seed: 1 });
 * ```
 */
export function meanOf(values: ArrayLike<number>): Statistic {
  return (rows) => {
    let sum = 0;
    for (const row of rows) sum += values[row]!;
    return sum / rows.length;
  };
}

/**
 * Wilson's score interval (1927) of a share, without continuity correction: holds for few rows and for shares of 0 and 1.
 *
 * @param z - standard deviations to both sides (default 1.96: 95 %)
 *
 * @example
 * ```ts
 * wilson(9, 10); // { value: 0.9, low: 0.596, high: 0.982 }
 * ```
 */
export function wilson(successes: number, rows: number, z = Z): Interval {
  if (!Number.isInteger(rows) || rows < 1) throw unexpected("a whole number of rows, at least 1,", "rows", rows);
  if (!Number.isInteger(successes) || successes < 0 || successes > rows) {
    throw unexpected(`a whole number from 0 to ${rows}`, "successes", successes);
  }
  const share = successes / rows;
  const scale = 2 * (rows + z * z);
  const centre = (2 * successes + z * z) / scale;
  const half = (z * Math.sqrt(4 * successes * (1 - share) + z * z)) / scale;
  // Rounding must not take the whole share out of its own interval.
  return { value: share, low: centre - half, high: successes === rows ? 1 : centre + half };
}

/**
 * Tango's score interval (1998) of the difference of two shares of the same rows, where all rows differ alike: then it has a closed form. null for differences that are no
 * whole number.
 *
 * @param difference - 0 where no row differs, 1 where each row has it in the first share alone, -1 in the second alone
 *
 * @example
 * ```ts
 * tango(0, 5); // { value: 0, low: -0.434, high: 0.434 }
 * ```
 */
export function tango(difference: number, rows: number): Interval | null {
  const reach = (Z * Z) / (rows + Z * Z);
  if (difference === 0) return { value: 0, low: -reach, high: reach };
  if (difference === 1) return { value: 1, low: 1 - 2 * reach, high: 1 };
  if (difference === -1) return { value: -1, low: -1, high: 2 * reach - 1 };
  return null;
}

/**
 * The difference of two numbers of different rows, from the interval of each: squares of the distances to their ends are added (Newcombe 1998, method 10, of shares; Zou and
 * Donner 2008).
 *
 * @example
 * ```ts
 * squareAndAdd(wilson(9, 10), wilson(5, 10)); // { value: 0.4, low: 0, high: 0.678 }
 * ```
 */
export function squareAndAdd(first: Interval, second: Interval): Interval {
  const value = first.value - second.value;
  return {
    value,
    low: value - Math.hypot(first.value - first.low, second.high - second.value),
    high: value + Math.hypot(first.high - first.value, second.value - second.low),
  };
}

/** The share-quantile of ascending values: linear between the two nearest, as NumPy's default. */
function quantile(ascending: Float64Array, share: number): number {
  const place = share * (ascending.length - 1);
  const below = Math.floor(place);
  const low = ascending[below]!;
  const high = ascending[Math.min(below + 1, ascending.length - 1)]!;
  return low + (high - low) * (place - below);
}

function finite(value: number): number {
  if (!Number.isFinite(value)) throw new StillroomError("internal", `a bootstrapped statistic is ${value}`);
  return value;
}
