// Seeded splits: which good rows of a file belong to which part. Knows row numbers and keys, never the rows.
import { Random } from "../support/random.js";
import type { Split } from "../task/index.js";

/** How one part is drawn from the rows that earlier parts left. */
export interface Draw extends Pick<Split, "fraction" | "seed"> {
  by: "row" | "stratum" | "group";
  /** (N) number of each row's stratum or group; all 0 for by "row". */
  keys: Int32Array;
}

/**
 * Assigns rows to parts: 0 stays, i + 1 was drawn by draws[i]. Sizes are fraction × N, rounded, N being all rows of the file;
 * every part and the rest keep one row at least while there are rows (or groups) enough.
 *
 * @returns (N) the part of each row
 */
export function assignParts(rows: number, draws: readonly Draw[]): Uint8Array {
  const parts = new Uint8Array(rows);
  for (const [index, draw] of draws.entries()) {
    const free: number[] = [];
    for (let row = 0; row < rows; row++) if (parts[row] === 0) free.push(row);
    const wanted = Math.min(Math.max(1, Math.round(rows * draw.fraction)), Math.max(0, free.length - 1));
    for (const row of chosenRows(free, wanted, draw)) parts[row] = index + 1;
  }
  return parts;
}

function chosenRows(free: number[], wanted: number, draw: Draw): number[] {
  const random = new Random(draw.seed);
  if (draw.by === "group") return chosenGroups(byKey(free, draw.keys), wanted, random);
  if (draw.by === "row") return random.shuffle(free).slice(0, wanted);
  const strata = byKey(free, draw.keys);
  const quotas = largestRemainder(
    strata.map((rows) => rows.length),
    wanted,
  );
  return strata.flatMap((rows, index) => random.shuffle(rows).slice(0, quotas[index]));
}

/** Rows by key, in the order in which the keys first appear. */
function byKey(rows: number[], keys: Int32Array): number[][] {
  const groups = new Map<number, number[]>();
  for (const row of rows) {
    const group = groups.get(keys[row]!);
    if (group === undefined) groups.set(keys[row]!, [row]);
    else group.push(row);
  }
  return [...groups.values()];
}

/** Whole groups in a shuffled order, each taken if that brings the count nearer to the wanted one; the last group stays. */
function chosenGroups(groups: number[][], wanted: number, random: Random): number[] {
  const chosen: number[] = [];
  const order = random.shuffle(groups);
  for (const group of order.slice(0, Math.max(0, order.length - 1))) {
    if (chosen.length >= wanted) break;
    const before = wanted - chosen.length;
    const after = Math.abs(before - group.length);
    if (after < before) chosen.push(...group);
  }
  const smallest = order.reduce<number[] | null>(
    (best, group) => (best && best.length <= group.length ? best : group),
    null,
  );
  return chosen.length === 0 && order.length > 1 ? smallest! : chosen;
}

/** Shares of `total` in proportion to sizes: whole parts first, then one each to the largest remainders (ties: the earlier). */
export function largestRemainder(sizes: readonly number[], total: number): number[] {
  const all = sizes.reduce((sum, size) => sum + size, 0);
  const shares = sizes.map((size) => (all === 0 ? 0 : (total * size) / all));
  const quotas = shares.map(Math.floor);
  const left = total - quotas.reduce((sum, quota) => sum + quota, 0);
  const order = shares.map((share, index) => ({ index, rest: share - Math.floor(share) }));
  order.sort((a, b) => b.rest - a.rest || a.index - b.index);
  for (const { index } of order.slice(0, left)) quotas[index]! += 1;
  return quotas;
}
