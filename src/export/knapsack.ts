// Which type each matrix gets under a budget: the multiple-choice knapsack. Knows sizes and losses; neither models nor files.

/** One type that a matrix may have. */
export interface Choice {
  bytes: number;
  /** What it costs, in any unit that adds up; not negative. */
  loss: number;
}

/** Most places of the table over the spare bytes. */
const places = 2 ** 16;

/**
 * The choice of each item with the least sum of losses whose bytes fit into the budget, by dynamic programming: exact where 65,536 bytes or less are
 * spare beyond the smallest choices, else each item's bytes count rounded up to spare / 65,536, and what the rounding leaves over is given
 * out by loss per byte.
 *
 * @param items - of each at least one choice
 * @returns null where not even the smallest choices fit
 */
export function chooseWithin(items: readonly (readonly Choice[])[], budget: number): number[] | null {
  const least = items.map((choices) => Math.min(...choices.map(({ bytes }) => bytes)));
  const most = items.map((choices) => Math.max(...choices.map(({ bytes }) => bytes)));
  const spare = Math.min(budget, sum(most)) - sum(least);
  if (spare < 0) return null;
  const unit = Math.max(1, Math.ceil(spare / places));
  const room = Math.floor(spare / unit);
  // (room + 1): the least loss of the items so far that take at most so many units.
  let best = new Float64Array(room + 1);
  const taken = items.map((choices, index) => {
    const next = new Float64Array(room + 1).fill(Number.POSITIVE_INFINITY);
    const choice = new Uint8Array(room + 1);
    for (const [number, { bytes, loss }] of choices.entries()) {
      const units = Math.ceil((bytes - least[index]!) / unit);
      for (let used = units; used <= room; used++) {
        const found = best[used - units]! + loss;
        if (found >= next[used]!) continue;
        next[used] = found;
        choice[used] = number;
      }
    }
    best = next;
    return choice;
  });
  const chosen = new Array<number>(items.length);
  let used = room;
  for (let index = items.length - 1; index >= 0; index--) {
    const number = taken[index]![used]!;
    chosen[index] = number;
    used -= Math.ceil((items[index]![number]!.bytes - least[index]!) / unit);
  }
  return fill(items, chosen, budget);
}

/** Takes finer choices that still fit, the best by loss per byte first. */
function fill(items: readonly (readonly Choice[])[], chosen: number[], budget: number): number[] {
  let left = budget - sum(chosen.map((number, index) => items[index]![number]!.bytes));
  for (;;) {
    let best: { index: number; number: number; bytes: number; rate: number } | null = null;
    for (const [index, choices] of items.entries()) {
      const now = choices[chosen[index]!]!;
      for (const [number, { bytes, loss }] of choices.entries()) {
        const [more, gain] = [bytes - now.bytes, now.loss - loss];
        if (gain <= 0 || more > left) continue;
        const rate = gain / Math.max(more, 1);
        if (!best || rate > best.rate) best = { index, number, bytes: more, rate };
      }
    }
    if (!best) return chosen;
    chosen[best.index] = best.number;
    left -= best.bytes;
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
