// Whether two sets of numbers of the same rows differ by more than chance: interval, permutation test, and the correction where many are
// compared. Knows statistics of rows; McNemar's test for right and wrong is compare.ts's.
import { unexpected } from "../support/errors.js";
import { Random } from "../support/random.js";
import { type Estimate, isShare, orNone } from "./estimates.js";
import { bootstrapInterval, type Statistic, tango } from "./intervals.js";

/** Most sets of swaps that a test looks at. */
const permutations = 4999;

/**
 * A statistic of the first of two predictors minus that of the second, with its interval by paired bootstrap: each resample takes the
 * same rows of both. Where all draws give the same, that of two shares has Tango's interval, and any other none, as {@link estimates} has it.
 *
 * @param rows - how many rows each has
 * @param statistic - over 2 × rows: those of the first predictor, then those of the second in the same order
 *
 * @example
 * ```ts
 * pairedDifference(answers.length, shareOf([...first, ...second]), 1); // { value: 0.02, low: -0.01, high: 0.05 }
 * ```
 */
export function pairedDifference(rows: number, statistic: Statistic, seed: number): Estimate {
  const between = (chosen: Int32Array) => statistic(chosen) - statistic(chosen.map((row) => row + rows));
  const drawn = orNone(bootstrapInterval(rows, between, { seed }));
  const whole = isShare(statistic) && !Array.from(statistic.values).includes(null);
  return drawn.low === null && whole ? (tango(drawn.value, rows) ?? drawn) : drawn;
}

/**
 * Paired permutation test, two-sided: how often the statistics of two predictors would differ as much if each row's two predictions
 * were dealt to them by chance. Exact, over all 2^rows deals, for up to 12 rows; else (1 + hits) / 5,000 over 4,999 seeded deals. Equal
 * to scipy.stats.permutation_test(permutation_type="samples").
 *
 * @param statistic - as of pairedDifference
 *
 * @example
 * ```ts
 * permutationTest(answers.length, f1Of("macro", [...answers, ...answers], [...first, ...second], labels), 1); // 0.012
 * ```
 */
export function permutationTest(rows: number, statistic: Statistic, seed: number): number {
  if (!Number.isInteger(rows) || rows < 1) throw unexpected("a whole number of rows, at least 1,", "rows", rows);
  const [first, second] = [new Int32Array(rows), new Int32Array(rows)];
  const difference = (swapped: (row: number) => boolean) => {
    for (let row = 0; row < rows; row++) {
      const swap = swapped(row);
      first[row] = swap ? row + rows : row;
      second[row] = swap ? row : row + rows;
    }
    return Math.abs(statistic(first) - statistic(second));
  };
  const found = difference(() => false);
  // As SciPy: what rounding alone keeps apart counts as equal.
  const least = found - Math.max(1e-14, 1e-14 * found);
  const exact = 2 ** rows <= permutations;
  const random = new Random(seed);
  const deals = exact ? 2 ** rows : permutations;
  let hits = 0;
  for (let deal = 0; deal < deals; deal++) {
    const swapped = exact ? (row: number) => ((deal >> row) & 1) === 1 : () => random.bits() >= 2 ** 31;
    if (difference(swapped) >= least) hits++;
  }
  return exact ? hits / deals : (1 + hits) / (1 + deals);
}

/**
 * Holm's step-down correction (1979) of the p-values of several tests, in their order: below 0.05, a difference stands though so many
 * were looked for. Equal to statsmodels' multipletests(method="holm").
 *
 * @example
 * ```ts
 * holm([0.01, 0.04, 0.03]); // 0.03, 0.06, 0.06
 * ```
 */
export function holm(pValues: readonly number[]): number[] {
  const order = [...pValues.keys()].sort((a, b) => pValues[a]! - pValues[b]!);
  const corrected = new Array<number>(pValues.length);
  let highest = 0;
  for (const [place, test] of order.entries()) {
    highest = Math.min(1, Math.max(highest, (pValues.length - place) * pValues[test]!));
    corrected[test] = highest;
  }
  return corrected;
}
