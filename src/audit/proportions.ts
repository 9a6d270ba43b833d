// Whether rates of groups differ by more than chance, with intervals that hold for few rows too. Knows counts and values; no rows, no
// model.
import {
  bootstrapIntervals,
  type Estimate,
  type Interval,
  meanOf,
  meansDifference,
  meansTest,
  momentsOf,
  normalQuantile,
  orNone,
  type Statistic,
  squareAndAdd,
  wilson,
} from "../evaluate/index.js";

/** Two groups of several, those that lie farthest apart. */
export interface Gap {
  /** The group with the higher value, and that with the lower. */
  between: [string, string];
  /** The higher minus the lower; the interval is widened for the number of pairs that these are the extremes of. */
  difference: Estimate;
  /** The lowest by the highest; null where the highest is 0, and where values may be below 0. */
  ratio: Estimate | null;
  /** The groups of the ratio, the higher first: those of `between`, or of equalised odds, calibration and signed errors perhaps others. null without a ratio. */
  ratio_between: [string, string] | null;
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
 * (1998, method 10); of the ratio: Miettinen and Nurminen's (1985); p: Fisher's exact test. null for fewer than two groups.
 *
 * @param looks - further comparisons that this gap is the largest of
 */
export function rateGap(rates: readonly Rate[], looks = 1): Gap | null {
  if (rates.length < 2) return null;
  const [high, low] = extremes(rates, ({ hits, rows }) => hits / rows);
  const tests = looks * pairsOf(rates.length);
  const z = widened(tests);
  const [first, second] = [wilson(high.hits, high.rows, z), wilson(low.hits, low.rows, z)];
  const ratio = ratioOf(low, high, z);
  return {
    between: [high.group, low.group],
    difference: squareAndAdd(first, second),
    ratio,
    ratio_between: ratio && [high.group, low.group],
    smallest: Math.min(...rates.map(({ rows }) => rows)),
    p_value: Math.min(1, tests * fisherExact(high.hits, high.rows, low.hits, low.rows)),
  };
}

/**
 * The lower rate by the higher, with the score interval of Miettinen and Nurminen (1985): the ratios that their test would not reject. It has a width
 * where all rows of both are hits too. null where neither has a hit.
 */
function ratioOf(low: Rate, high: Rate, z: number): Interval | null {
  if (high.hits === 0) return null;
  const value = low.hits / low.rows / (high.hits / high.rows);
  // The score falls as the ratio grows.
  const at = (limit: number) => {
    let [below, above] = [-mostLog, mostLog];
    for (let step = 0; step < halvings; step++) {
      const middle = (below + above) / 2;
      if (ratioScore(low, high, Math.exp(middle)) > limit) below = middle;
      else above = middle;
    }
    return Math.exp((below + above) / 2);
  };
  return { value, low: low.hits === 0 ? 0 : Math.min(value, at(z)), high: Math.max(value, at(-z)) };
}

/** The logarithm of a ratio of rates lies within so much of 0; so many halvings find it as exactly as a number can be written. */
const [mostLog, halvings] = [50, 64];

/** How far a / n lies above a ratio of b / m, in standard deviations, by the likeliest rates that have this ratio. */
function ratioScore({ hits: a, rows: n }: Rate, { hits: b, rows: m }: Rate, ratio: number): number {
  const rows = n + m;
  const half = (n * ratio + a + m + b * ratio) / 2;
  // The smaller root of rows · ratio · q² − 2 · half · q + a + b, written without a difference of near numbers.
  const q = Math.min(1, (a + b) / (half + Math.sqrt(Math.max(0, half ** 2 - rows * ratio * (a + b)))));
  const p = Math.min(1, ratio * q);
  const variance = ((p * (1 - p)) / n + (ratio ** 2 * q * (1 - q)) / m) * (rows / (rows - 1));
  const above = a / n - (ratio * b) / m;
  return above === 0 ? 0 : above / Math.sqrt(variance);
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
    ratio_between: null,
    smallest: Math.min(...known.map(({ rows }) => rows)),
    p_value: meansTest(high, low, tests),
  };
}

/** So many resamples lie beyond each end of an interval at least. */
const beyond = 5;

/** Of two groups' rows, the first's before the second's: each is resampled in itself, and intervals are widened for so many pairs. */
function resampled<Name extends string>(
  parts: [number, number],
  statistics: Record<Name, Statistic>,
  tests: number,
  seed: number,
): Record<Name, Estimate> {
  const tail = 0.025 / tests;
  const resamples = Math.max(2000, Math.ceil(beyond / tail));
  const drawn = bootstrapIntervals(parts[0] + parts[1], statistics, { seed, parts, tail, resamples });
  const found = Object.entries<Interval>(drawn).map(([name, interval]) => [name, orNone(interval)]);
  return Object.fromEntries(found) as Record<Name, Estimate>;
}

/**
 * The same of what a function makes of groups' means, such as the root of a mean square: intervals by bootstrap within each of the two groups; p: {@link meansTest} of
 * the means. A ratio is of values that are never below 0; in a resample where the higher is 0, it is 1.
 */
export function spreadGap(groups: readonly Values[], from: (mean: number) => number, seed: number): Gap | null {
  const known = groups.filter(({ values }) => values.length > 1);
  if (known.length < 2) return null;
  const [high, low] = extremes(known, ({ values }) => momentsOf(values).mean);
  const tests = pairsOf(known.length);
  const parts: [number, number] = [high.values.length, low.values.length];
  const mean = meanOf([...high.values, ...low.values]);
  const ends = (rows: Int32Array) =>
    [from(mean(rows.subarray(0, parts[0]))), from(mean(rows.subarray(parts[0])))] as const;
  const { difference, ratio } = resampled(
    parts,
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
    tests,
    seed,
  );
  const signed = known.some(({ values }) => values.some((value) => value < 0));
  const none = signed || momentsOf(high.values).mean === 0;
  return {
    between: [high.group, low.group],
    difference,
    ratio: none ? null : ratio,
    ratio_between: none ? null : [high.group, low.group],
    smallest: Math.min(...known.map(({ values }) => values.length)),
    p_value: meansTest(momentsOf(high.values), momentsOf(low.values), tests),
  };
}

/** Of a row: a label's probability, and 1 where it is the answer, else 0; or a predicted number, and the target. */
export interface Expectation {
  expected: number;
  observed: number;
}

/** The mean of what was expected by that of what was observed: 1 is calibrated. null where all that was observed is 0, and where anything is below 0. */
export function expectedToObserved(rows: readonly Expectation[]): number | null {
  let [expected, observed] = [0, 0];
  for (const row of rows) {
    if (row.expected < 0 || row.observed < 0) return null;
    expected += row.expected;
    observed += row.observed;
  }
  return observed === 0 ? null : expected / observed;
}

/**
 * The ratio between the groups whose {@link expectedToObserved} is lowest and highest; groups without one are left out. Interval: as {@link spreadGap} resamples. A
 * resample in which all that was observed is 0 counts half of the least that is not: half a row of a label. One that has no ratio counts as 1.
 */
export function expectedRatio(
  groups: readonly { group: string; rows: readonly Expectation[] }[],
  seed: number,
): Pick<Gap, "ratio" | "ratio_between"> {
  const known = groups.flatMap(({ group, rows }) => {
    const value = expectedToObserved(rows);
    return value === null ? [] : [{ group, rows, value }];
  });
  const none = { ratio: null, ratio_between: null };
  if (known.length < 2) return none;
  const [high, low] = extremes(known, ({ value }) => value);
  if (high.value === 0) return none;
  const rows = [...high.rows, ...low.rows];
  const [expected, observed] = [meanOf(rows.map((row) => row.expected)), meanOf(rows.map((row) => row.observed))];
  const half = rows.reduce((least, row) => (row.observed > 0 ? Math.min(least, row.observed) : least), Infinity) / 2;
  const of = (chosen: Int32Array) => expected(chosen) / (observed(chosen) || half / chosen.length);
  const statistic = (chosen: Int32Array) => {
    const ratio = of(chosen.subarray(high.rows.length)) / of(chosen.subarray(0, high.rows.length));
    return Number.isFinite(ratio) ? ratio : 1;
  };
  const { ratio } = resampled([high.rows.length, low.rows.length], { ratio: statistic }, pairsOf(known.length), seed);
  return { ratio, ratio_between: [high.group, low.group] };
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
