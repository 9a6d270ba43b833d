// What rows say of a number and what they cannot say: its bootstrap interval, Wilson's where a share's resamples are all alike, and none where nothing
// else is known. The one place that decides between them.
import { bootstrapIntervals, type Interval, type Statistic, wilson } from "./intervals.js";

/** A value with its 95 % interval; both ends are null where the rows say nothing of it, as one row does of a mean. */
export type Estimate = Interval | { value: number; low: null; high: null };

/** The mean of values from 0 to 1 over the rows that have one, such as the share of right rows among those that were answered. */
export interface Share extends Statistic {
  /** (rows) null for a row that does not count. */
  readonly values: ArrayLike<number | null>;
}

/**
 * A share as a statistic for {@link estimates}; 0 where no row counts.
 *
 * @param values - (rows) 1 where a row has it, 0 where not, or between where it has a part of it; null where it does not count
 *
 * @example
 * ```ts
 * estimates(right.length, { accuracy: shareOf(right) }, 1).accuracy; // five of five: { value: 1, low: 0.566, high: 1 }
 * ```
 */
export function shareOf(values: ArrayLike<number | null>): Share {
  const share = (rows: Int32Array) => {
    let [sum, counted] = [0, 0];
    for (const row of rows) {
      const value = values[row]!;
      if (value === null) continue;
      sum += value;
      counted++;
    }
    return counted === 0 ? 0 : sum / counted;
  };
  return Object.assign(share, { values });
}

/**
 * Numbers of the same rows with their intervals, from one set of draws. These are a percentile bootstrap's, but for two cases in which it has no width, as if the number were known
 * for sure. A share of 0 or 1 has Wilson's interval; of values between 0 and 1, all of which are then 0 or 1, that holds as well: at most so many other rows have another one.
 * Any other number whose resamples are all alike, such as a mean of one row, has none. The same seed gives the same intervals.
 *
 * @param rows - how many rows there are, at least 1
 *
 * @example
 * ```ts
 * estimates(right.length, { accuracy: shareOf(right), loss: meanOf(losses) }, 1).loss.low; // null: one row
 * ```
 */
export function estimates<Name extends string>(
  rows: number,
  statistics: Record<Name, Statistic>,
  seed: number,
): Record<Name, Estimate> {
  const drawn = Object.entries<Interval>(bootstrapIntervals(rows, statistics, { seed }));
  const found = drawn.map(([name, interval]) => [name, decided(interval, statistics[name as Name])]);
  return Object.fromEntries(found) as Record<Name, Estimate>;
}

/**
 * An interval, or none where it is no more than its value: a width of rounding is no width.
 *
 * @param size - of the numbers that it was computed from, where they are larger than its ends (default: the larger end)
 *
 * @example
 * ```ts
 * orNone({ value: 2, low: 2, high: 2 }); // { value: 2, low: null, high: null }
 * ```
 */
export function orNone(interval: Interval, size = 0): Estimate {
  const { value, low, high } = interval;
  return high - low > 1e-9 * Math.max(size, Math.abs(low), Math.abs(high))
    ? interval
    : { value, low: null, high: null };
}

/**
 * The ends of an estimate whose value stands beside them; null where it has none.
 *
 * @example
 * ```ts
 * endsOf({ value: 2, low: null, high: null }); // null
 * ```
 */
export function endsOf({ low, high }: Estimate): [low: number, high: number] | null {
  return low === null ? null : [low, high];
}

function decided(interval: Interval, statistic: Statistic): Estimate {
  const { value } = interval;
  if (isShare(statistic) && (value === 0 || value === 1)) {
    const counted = Array.from(statistic.values).filter((one) => one !== null).length;
    return wilson(value * counted, counted);
  }
  return orNone(interval);
}

/** Whether a statistic is of values from 0 to 1. */
export function isShare(statistic: Statistic): statistic is Share {
  return "values" in statistic;
}
