// What calibrations are fitted with: the temperature of least loss, and the rising line of least squares. Knows points; no label and no row.
import type { Line } from "../adapter/index.js";

/** A probability, and 1 where what it is of was right, else 0. */
export interface Point {
  p: number;
  right: number;
}

const golden = (Math.sqrt(5) - 1) / 2;

/** The temperature between 1/20 and 20 with the least loss, which is a convex function of 1 / temperature. */
export function temperatureOf(loss: (inverse: number) => number): number {
  let [low, high] = [1 / 20, 20];
  for (let round = 0; round < 60; round++) {
    const [a, b] = [high - golden * (high - low), low + golden * (high - low)];
    if (loss(a) <= loss(b)) high = b;
    else low = a;
  }
  return 2 / (low + high);
}

/**
 * The rising line with the least squared error to points sorted by p (pool adjacent violators). Corners as scikit-learn's IsotonicRegression has them: equal
 * places share their mean, runs of equal height keep their ends.
 */
export function risingLine(points: readonly Point[]): Line {
  const blocks: { sum: number; count: number; first: number; last: number }[] = [];
  for (const { p, right } of points) {
    const before = blocks.at(-1);
    if (before && before.first === p && before.last === p)
      [before.sum, before.count] = [before.sum + right, before.count + 1];
    else blocks.push({ sum: right, count: 1, first: p, last: p });
  }
  const pooled: typeof blocks = [];
  for (const block of blocks) {
    let now = { ...block };
    for (let last = pooled.at(-1); last && last.sum / last.count >= now.sum / now.count; last = pooled.at(-1)) {
      pooled.pop();
      now = { sum: last.sum + now.sum, count: last.count + now.count, first: last.first, last: now.last };
    }
    pooled.push(now);
  }
  const from = pooled.flatMap(({ first, last }) => (first === last ? [first] : [first, last]));
  const to = pooled.flatMap(({ sum, count, first, last }) =>
    first === last ? [sum / count] : [sum / count, sum / count],
  );
  return { from, to };
}

/** Between two corners straight, beyond them level; without a line p. */
export function onLine(line: Line | null | undefined, p: number): number {
  if (!line) return p;
  const { from, to } = line;
  const after = from.findIndex((place) => place >= p);
  if (after < 0) return to.at(-1)!;
  if (after === 0 || from[after] === p) return to[after]!;
  const share = (p - from[after - 1]!) / (from[after]! - from[after - 1]!);
  return to[after - 1]! + share * (to[after]! - to[after - 1]!);
}
