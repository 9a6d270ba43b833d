// Some of many rows, by a seed. Knows nothing of what they hold.
import { Random } from "../support/random.js";

/** A seeded sample of at most so many, in the order in which they were given. */
export function sampleRows<T>(rows: readonly T[], most: number, seed: number): T[] {
  if (rows.length <= most) return [...rows];
  const order = new Random(seed).shuffle([...rows.keys()]);
  return order
    .slice(0, most)
    .sort((a, b) => a - b)
    .map((index) => rows[index]!);
}
