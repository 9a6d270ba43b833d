// Whether the means of two sets of values differ by more than chance: the t-tests of Student and of Welch. Knows values; not what they are of.
import { type Estimate, orNone } from "./estimates.js";

/** What a t-test needs to know of a set of values. */
export interface Moments {
  rows: number;
  mean: number;
  /** Of the sample, divided by rows - 1. */
  variance: number;
}

/** Moments of two values or more. */
export function momentsOf(values: readonly number[]): Moments {
  const rows = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / rows;
  return { rows, mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (rows - 1) };
}

/**
 * p of two equal means, two-sided: the larger one of Student's t-test (1908) and Welch's (1947). Welch's alone finds too much where a few rows of one set happen to be
 * alike, Student's where a small set is the more scattered one.
 *
 * @param tests - how many tests this is the extreme of (Bonferroni)
 */
export function meansTest(one: Moments, other: Moments, tests = 1): number {
  const difference = Math.abs(one.mean - other.mean);
  if (difference === 0) return 1;
  const p = [pooledError(one, other), welchError(one, other)].map(({ error, freedom }) =>
    error === 0 ? 0 : 2 * studentTail(difference / error, freedom),
  );
  return Math.min(1, tests * Math.max(...p));
}

/** The difference of two means with Welch's interval, widened for so many tests (Bonferroni); of values that are all alike there is none. */
export function meansDifference(one: Moments, other: Moments, tests = 1): Estimate {
  const value = one.mean - other.mean;
  const { error, freedom } = welchError(one, other);
  const half = error === 0 ? 0 : studentQuantile(1 - 0.025 / tests, freedom) * error;
  return orNone({ value, low: value - half, high: value + half }, Math.max(Math.abs(one.mean), Math.abs(other.mean)));
}

function pooledError(one: Moments, other: Moments) {
  const freedom = one.rows + other.rows - 2;
  const variance = ((one.rows - 1) * one.variance + (other.rows - 1) * other.variance) / freedom;
  return { error: Math.sqrt(variance * (1 / one.rows + 1 / other.rows)), freedom };
}

function welchError(one: Moments, other: Moments) {
  const [a, b] = [one.variance / one.rows, other.variance / other.rows];
  return { error: Math.sqrt(a + b), freedom: (a + b) ** 2 / (a ** 2 / (one.rows - 1) + b ** 2 / (other.rows - 1)) };
}

/** P(T > t) of Student's distribution, for t >= 0. */
export function studentTail(t: number, freedom: number): number {
  const squared = t * t;
  return betaShare(freedom / (freedom + squared), squared / (freedom + squared), freedom / 2, 0.5) / 2;
}

/** The share-quantile of Student's distribution for shares of 0.5 to 1 - 1e-15, by bisection. */
export function studentQuantile(share: number, freedom: number): number {
  let [low, high] = [0, 1];
  while (studentTail(high, freedom) > 1 - share) [low, high] = [high, 2 * high];
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (studentTail(middle, freedom) > 1 - share) low = middle;
    else high = middle;
  }
  return high;
}

/** The regularised incomplete beta function I_x(a, b), rest = 1 - x, by its continued fraction (DiDonato & Morris 1992, equation 9). */
function betaShare(x: number, rest: number, a: number, b: number): number {
  if (x === 0 || rest === 0) return x === 0 ? 0 : 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - betaShare(rest, x, b, a);
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log(rest)) / a;
  // Lentz's method; the terms of Abramowitz and Stegun 26.5.8.
  let [c, d] = [1, 1 / (1 - ((a + b) * x) / (a + 1))];
  let value = d;
  for (let m = 1; m < 100_000; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / (1 + even * d);
    c = 1 + even / c;
    value *= c * d;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / (1 + odd * d);
    c = 1 + odd / c;
    value *= c * d;
    if (Math.abs(c * d - 1) < 1e-15) break;
  }
  return front * value;
}

const lanczos = [
  676.5203681218851, -1259.1392167224028, 771.3234287776531, -176.6150291621406, 12.507343278686905,
  -0.13857109526572012, 9.984369578019572e-6, 1.5056327351493116e-7,
];

/** ln Γ(z) for z >= 0.5, by Lanczos' approximation with g = 7. */
function logGamma(z: number): number {
  const base = z + 6.5;
  const sum = lanczos.reduce((total, weight, at) => total + weight / (z + at), 0.9999999999998099);
  return 0.5 * Math.log(2 * Math.PI) + (z - 0.5) * Math.log(base) - base + Math.log(sum);
}
