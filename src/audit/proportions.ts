// Whether rates of groups differ by more than chance, with intervals that hold for few rows too. Knows counts and values; no rows, no
// model.
import {
  bootstrapIntervals,
  type Interval,
  meanOf,
  meansDifference,
  meansTest,
  momentsOf,
  normalQuantile,
  wilson,
} from "../evaluate/index.js";

/** Two groups of several, those that lie farthest apart. */
export interface Gap {
  /** The group with the higher value, and that with the lower. */
  between: [string, string];
  /** The higher minus the lower; the interval is widened for the number of pairs that these are the extremes of. */
  difference: Interval;
  /** The lower by the higher; null where the higher is 0, and for values that are no rates. */
  ratio: Interval | null;
  /** Rows of the smallest group that was compared. */
  smallest: number;
  /** Two-sided, corrected for the number of pairs (Bonferroni). */
  p_value: number;
}

/** Of so many rows of a group, so many are hits. */
export interface Rate {
  group: string;
  hits: number;
  rows: number;
}

/**
 * The gap between the highest and the lowest rate, as Fairlearn's difference() and ratio() take it. Interval of the difference: Newcombe's
 * (1998, method 10); of the ratio: of its logarithm, with half a row added to each count; p: Fisher's exact test. null for fewer than two groups.
 *
 * @param looks - further comparisons that this gap is the largest of
 */
export function rateGap(rates: readonly Rate[], looks = 1): Gap | null {
  if (rates.length < 2) return null;
  const [high, low] = extremes(rates, ({ hits, rows }) => hits / rows);
  const tests = looks * pairsOf(rates.length);
  const z = widened(tests);
  const [first, second] = [wilson(high.hits, high.rows, z), wilson(low.hits, low.rows, z)];
  const value = first.value - second.value;
  return {
    between: [high.group, low.group],
    difference: {
      value,
      low: value - Math.hypot(first.value - first.low, second.high - second.value),
      high: value + Math.hypot(first.high - first.value, second.value - second.low),
    },
    ratio: ratioOf(low, high, z),
    smallest: Math.min(...rates.map(({ rows }) => rows)),
    p_value: Math.min(1, tests * fisherExact(high.hits, high.rows, low.hits, low.rows)),
  };
}

function ratioOf(low: Rate, high: Rate, z: number): Interval | null {
  if (high.hits === 0) return null;
  const [a, n, b, m] = [low.hits + 0.5, low.rows + 0.5, high.hits + 0.5, high.rows + 0.5];
  const centre = Math.log(a / n / (b / m));
  const half = z * Math.sqrt(1 / a - 1 / n + 1 / b - 1 / m);
  const value = low.hits / low.rows / (high.hits / high.rows);
  return { value, low: Math.min(value, Math.exp(centre - half)), high: Math.max(value, Math.exp(centre + half)) };
}

/** Values of the rows of a group. */
export interface Values {
  group: string;
  values: readonly number[];
}

/** The same of the mean of any values: Welch's interval; p: {@link meansTest}. null for fewer than two groups of at least two rows. */
export function meanGap(groups: readonly Values[]): Gap | null {
  const known = groups
    .filter(({ values }) => values.length > 1)
    .map(({ group, values }) => ({ group, ...momentsOf(values) }));
  if (known.length < 2) return null;
  const [high, low] = extremes(known, ({ mean }) => mean);
  const tests = pairsOf(known.length);
  return {
    between: [high.group, low.group],
    difference: meansDifference(high, low, tests),
    ratio: null,
    smallest: Math.min(...known.map(({ rows }) => rows)),
    p_value: meansTest(high, low, tests),
  };
}

/** So many resamples lie beyond each end of an interval at least. */
const beyond = 5;

/**
 * The same of what a function makes of groups' means, such as the root of a mean square: intervals by bootstrap within each of the two groups; p: {@link meansTest} of
 * the means. A ratio is of values that are never below 0; in a resample where the higher is 0, it is 1.
 */
export function spreadGap(groups: readonly Values[], from: (mean: number) => number, seed: number): Gap | null {
  const known = groups.filter(({ values }) => values.length > 1);
  if (known.length < 2) return null;
  const [high, low] = extremes(known, ({ values }) => momentsOf(values).mean);
  const tests = pairsOf(known.length);
  const tail = 0.025 / tests;
  const parts = [high.values.length, low.values.length];
  const mean = meanOf([...high.values, ...low.values]);
  const ends = (rows: Int32Array) =>
    [from(mean(rows.subarray(0, parts[0]))), from(mean(rows.subarray(parts[0])))] as const;
  const { difference, ratio } = bootstrapIntervals(
    high.values.length + low.values.length,
    {
      difference: (rows) => {
        const [first, second] = ends(rows);
        return first - second;
      },
      ratio: (rows) => {
        const [first, second] = ends(rows);
        return first === 0 ? 1 : second / first;
      },
    },
    { seed, parts, tail, resamples: Math.max(2000, Math.ceil(beyond / tail)) },
  );
  const signed = known.some(({ values }) => values.some((value) => value < 0));
  const none = momentsOf(high.values).mean === 0;
  return {
    between: [high.group, low.group],
    difference,
    ratio: signed || none ? null : ratio,
    smallest: Math.min(...known.map(({ values }) => values.length)),
    p_value: meansTest(momentsOf(high.values), momentsOf(low.values), tests),
  };
}

function extremes<T>(items: readonly T[], valueIn: (item: T) => number): [T, T] {
  let [high, low] = [items[0] as T, items[0] as T];
  for (const item of items) {
    if (valueIn(item) > valueIn(high)) high = item;
    if (valueIn(item) < valueIn(low)) low = item;
  }
  // Where all are equal, still two groups.
  return high === low ? [items[0] as T, items[1] as T] : [high, low];
}

const pairsOf = (groups: number) => (groups * (groups - 1)) / 2;

/** Standard deviations to both sides of an interval that is one of so many at 95 % together. */
const widened = (tests: number) => normalQuantile(1 - 0.025 / tests);

/** Fisher's exact test, two-sided: hits of rows against hits of rows. */
export function fisherExact(hits: number, rows: number, otherHits: number, otherRows: number): number {
  const [all, total] = [hits + otherHits, rows + otherRows];
  const [least, most] = [Math.max(0, all - otherRows), Math.min(all, rows)];
  // Of each table with the same margins, by the ratio to its neighbour, with that at hand as 1.
  const up = (k: number) => ((all - k) * (rows - k)) / ((k + 1) * (total - rows - all + k + 1));
  let [sum, extreme] = [1, 1];
  const add = (weight: number) => {
    sum += weight;
    if (weight <= 1 + 1e-9) extreme += weight;
  };
  for (let k = hits, weight = 1; k < most; k++) {
    weight *= up(k);
    if (weight + sum === sum) break;
    add(weight);
  }
  for (let k = hits, weight = 1; k > least; k--) {
    weight /= up(k - 1);
    if (weight + sum === sum) break;
    add(weight);
  }
  return Math.min(1, extreme / sum);
}
