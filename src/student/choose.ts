// What stays of a teacher: layers by what the loss rises without them, channels and heads by their energies. Runs no model.

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

/** The places of the `keep` largest values, rising; of equals the earlier one. */
export function largest(values: Float64Array, keep: number): Int32Array {
  const places = [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b);
  return Int32Array.from(places.slice(0, keep)).sort();
}
