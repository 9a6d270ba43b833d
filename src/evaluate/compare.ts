// Whether two predictors of the same rows differ: McNemar's test. Knows only who was right on which row.
import { StillroomError, unexpected } from "../support/errors.js";

/** McNemar's test of two predictors on the same rows. */
export interface McNemar {
  /** Rows that only the first predictor has right. */
  onlyFirst: number;
  /** Rows that only the second predictor has right. */
  onlySecond: number;
  /** Two-sided exact (binomial) p-value. */
  exact: number;
  /** Chi-square with continuity correction (Edwards 1948), one degree of freedom; for many differing rows. */
  chiSquare: { statistic: number; pValue: number };
}

/**
 * McNemar's test (1947): do two predictors differ on these rows by more than chance? Only rows that exactly one has right
 * count. With none of these the p-values are 1.
 *
 * @param first - (rows) 1 where the first predictor is right, else 0; as matches() gives it
 * @param second - (rows) the same of the second predictor, same rows in the same order
 *
 * @example
 * ```ts
 * mcnemar(matches(answers, base), matches(answers, tuned)).exact; // 0.003: they differ
 * ```
 */
export function mcnemar(first: ArrayLike<number>, second: ArrayLike<number>): McNemar {
  if (first.length === 0) throw new StillroomError("usage", "McNemar's test needs at least one row, received none");
  if (first.length !== second.length) {
    throw unexpected(`${first.length} rows, as many as of the first predictor,`, "second", second.length);
  }
  let [onlyFirst, onlySecond] = [0, 0];
  for (let row = 0; row < first.length; row++) {
    const [one, other] = [flag(first, "first", row), flag(second, "second", row)];
    if (one > other) onlyFirst++;
    if (other > one) onlySecond++;
  }
  const differing = onlyFirst + onlySecond;
  const exact = Math.min(1, 2 * halfBinomial(Math.min(onlyFirst, onlySecond), differing));
  const statistic = differing === 0 ? 0 : Math.max(0, Math.abs(onlyFirst - onlySecond) - 1) ** 2 / differing;
  // A chi-square of one degree of freedom is a squared normal: P(X > s) = erfc(sqrt(s / 2)).
  return { onlyFirst, onlySecond, exact, chiSquare: { statistic, pValue: erfc(Math.sqrt(statistic / 2)) } };
}

function flag(values: ArrayLike<number>, name: string, row: number): number {
  const value = values[row];
  if (value !== 0 && value !== 1) throw unexpected("0 or 1", `row ${row} of ${name}`, value);
  return value;
}

/** P(X <= k) of X ~ Binomial(n, 1/2). */
function halfBinomial(k: number, n: number): number {
  // C(n, k) as mantissa * 2^exponent, because it leaves the range of a float for n > 1029.
  let mantissa = 1;
  let exponent = 0;
  for (let i = 1; i <= k; i++) {
    mantissa *= (n - k + i) / i;
    if (mantissa > 2 ** 500) {
      mantissa *= 2 ** -500;
      exponent += 500;
    }
  }
  // The sum of C(n, j) / C(n, k) for j = k, k - 1, … falls at every step.
  let sum = 0;
  for (let j = k, term = 1; j >= 0 && sum + term !== sum; j--) {
    sum += term;
    term *= j / (n - j + 1);
  }
  const half = Math.trunc((exponent - n) / 2);
  return sum * mantissa * 2 ** half * 2 ** (exponent - n - half);
}

/** P(Z > z) of the standard normal distribution, for z >= 0. */
export function normalTail(z: number): number {
  return erfc(z / Math.SQRT2) / 2;
}

/** The share-quantile of the standard normal distribution for shares of 0.5 to 1 - 1e-15, by bisection. */
export function normalQuantile(share: number): number {
  let [low, high] = [0, 9];
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (normalTail(middle) > 1 - share) low = middle;
    else high = middle;
  }
  return high;
}

/** The complementary error function for x >= 0, within 1e-13 relative: a series below 2, a continued fraction above. */
function erfc(x: number): number {
  if (x < 2) {
    // erf(x) = 2/sqrt(pi) e^(-x²) sum of 2^n x^(2n+1) / (2n+1)!!  (Abramowitz and Stegun 7.1.6)
    let [sum, term] = [0, x];
    for (let n = 1; sum + term !== sum; n++) {
      sum += term;
      term *= (2 * x * x) / (2 * n + 1);
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  // erfc(x) = e^(-x²)/sqrt(pi) · 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + …))))  (Abramowitz and Stegun 7.1.14)
  let fraction = x;
  for (let n = 100; n >= 1; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}
