// Which training rows stand before the question. Knows rows and labels; lays out nothing.
import type { Row } from "../dataset/index.js";
import { Random } from "../support/random.js";

/**
 * Draws rows by a seed, as many of each label as can be, in a shuffled order. Fewer than asked for when there are no more.
 *
 * @param options.labels - labels to balance over (default: all rows are alike)
 * @example
 * ```ts
 * const examples = chooseExamples(rows, { shots: 4, seed: 1, labels: labelsOf(task, rows) });
 * ```
 */
export function chooseExamples(
  rows: readonly Row[],
  options: { shots: number; seed: number; labels?: readonly { value: string }[] },
): Row[] {
  const random = new Random(options.seed);
  const groups = options.labels
    ? options.labels.map(({ value }) => rows.filter((row) => row.value === value)).filter((group) => group.length > 0)
    : [[...rows]];
  for (const group of groups) random.shuffle(group);
  random.shuffle(groups);
  const chosen: Row[] = [];
  for (let round = 0; chosen.length < options.shots; round++) {
    const left = groups.filter((group) => group.length > round);
    if (left.length === 0) break;
    for (const group of left.slice(0, options.shots - chosen.length)) chosen.push(group[round]!);
  }
  return random.shuffle(chosen);
}
