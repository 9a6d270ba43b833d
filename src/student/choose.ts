// What stays of a teacher: layers by what the loss rises without them, channels and heads by their energies; and what is new where a student has more. Runs no model.

/** How often chooseLayers measures at most. */
export function measurings(layers: number, keep: number): number {
  let count = 0;
  for (let left = layers; left > keep; left -= dropped(left, keep)) count += left;
  return count;
}

/** How many layers go after one round: half of those that are to go, so that what they do for each other is seen. */
function dropped(left: number, keep: number): number {
  return Math.ceil((left - keep) / 2);
}

/**
 * The layers that stay. In rounds, the loss is measured without each of the layers that are left, and those go without which it is lowest; of
 * equals the later one.
 *
 * @param loss - of the model that consists of these layers; NaN counts as worst
 */
export async function chooseLayers(
  layers: number,
  keep: number,
  loss: (kept: number[]) => Promise<number>,
): Promise<number[]> {
  let left = [...Array(layers).keys()];
  while (left.length > keep) {
    const without: { layer: number; value: number }[] = [];
    for (const layer of left) {
      const value = await loss(left.filter((other) => other !== layer));
      without.push({ layer, value: Number.isNaN(value) ? Number.POSITIVE_INFINITY : value });
    }
    without.sort((a, b) => (a.value === b.value ? b.layer - a.layer : a.value - b.value));
    const gone = new Set(without.slice(0, dropped(left.length, keep)).map(({ layer }) => layer));
    left = left.filter((layer) => !gone.has(layer));
  }
  return left;
}

/** The places of the `keep` largest values, rising, of equals the earlier one; behind them -1 for each that is wanted beyond them. */
export function largest(values: ArrayLike<number>, keep: number): Int32Array {
  const places = Array.from(values, (_, place) => place).sort((a, b) => values[b]! - values[a]! || a - b);
  const kept = places.slice(0, keep).sort((a, b) => a - b);
  return Int32Array.from([...kept, ...Array<number>(keep - kept.length).fill(-1)]);
}

/** Heads of a layer of attention, and which are read together. */
export interface HeadCounts {
  heads: number;
  keyValueHeads: number;
}

/** Whether chooseHeads has to make heads that the teacher has not. */
export function hasNewHeads(student: HeadCounts, teacher: HeadCounts): boolean {
  const [had, wanted] = [teacher, student].map(({ heads, keyValueHeads }) => heads / keyValueHeads) as [number, number];
  return wanted > had || student.keyValueHeads > teacher.keyValueHeads * Math.floor(had / wanted);
}

/**
 * Query heads, and the key-value head of each group of them. A group of the teacher's gives as many of the student's as it has heads for, the largest together,
 * or one; those with the largest sums stay, each with the key-value head that it had. What is wanted beyond them is new (-1).
 *
 * @param energies - of the teacher's query heads
 */
export function chooseHeads(
  energies: ArrayLike<number>,
  teacher: HeadCounts,
  student: HeadCounts,
): { heads: Int32Array; keyValueHeads: Int32Array } {
  const [had, wanted] = [teacher, student].map(({ heads, keyValueHeads }) => heads / keyValueHeads) as [number, number];
  const pieces: { group: number; heads: number[] }[] = [];
  for (let group = 0; group < teacher.keyValueHeads; group++) {
    const own = Array.from({ length: had }, (_, index) => group * had + index);
    own.sort((a, b) => energies[b]! - energies[a]! || a - b);
    for (let from = 0; from === 0 || from + wanted <= had; from += wanted) {
      pieces.push({ group, heads: own.slice(from, from + wanted).sort((a, b) => a - b) });
    }
  }
  const sums = pieces.map(({ heads }) => heads.reduce((sum, head) => sum + energies[head]!, 0));
  const chosen = [...largest(sums, student.keyValueHeads)].map((place) => pieces[place] ?? { group: -1, heads: [] });
  const filled = chosen.flatMap(({ heads }) => [...heads, ...Array<number>(wanted - heads.length).fill(-1)]);
  return { heads: Int32Array.from(filled), keyValueHeads: Int32Array.from(chosen, ({ group }) => group) };
}
