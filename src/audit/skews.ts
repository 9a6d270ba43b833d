// What a teacher thinks of each group beside what the rows' own labels say. Knows rows and answers; no cache and no model.
import { bootstrapInterval, holm, type Interval, meanOf, normalTail } from "../evaluate/index.js";
import { excess, type Judged, leastRows, type Membership, partsOf } from "./groups.js";

/** One label in the rows of one group. */
export interface Skew {
  attribute: string;
  source: Membership["source"];
  group: string;
  label: string;
  rows: number;
  /** Share of the rows with this label. */
  labels: number;
  /** The label's probability by the teacher, in the mean over the rows. */
  teacher: number;
  /** The teacher's minus the labels' share. */
  difference: Interval;
  /** Of no difference (the normal distribution of the mean), corrected (Holm) for all groups and labels. */
  p_holm: number;
}

/** Groups of at least ten rows. The answers have probabilities. */
export function skewsOf(
  memberships: readonly Membership[],
  rows: readonly Judged[],
  positives: readonly string[],
  seed: number,
): Skew[] {
  const found = memberships.flatMap((membership) =>
    [...partsOf(membership, rows)].flatMap(([group, part]) => {
      if (part.length < leastRows) return [];
      const { attribute, source } = membership;
      return positives.map((label) => ({ attribute, source, group, ...skewOf(part, label, seed) }));
    }),
  );
  const corrected = holm(found.map(({ p_value }) => p_value));
  return found.map(({ p_value: _, ...skew }, place) => ({ ...skew, p_holm: corrected[place]! }));
}

function skewOf(part: readonly Judged[], label: string, seed: number) {
  const rows = part.length;
  const values = part.map((judged) => excess(judged, label)!);
  const difference = bootstrapInterval(rows, meanOf(values), { seed });
  const variance = values.reduce((sum, value) => sum + (value - difference.value) ** 2, 0) / (rows - 1);
  const error = Math.sqrt(variance / rows);
  const p_value = error > 0 ? 2 * normalTail(Math.abs(difference.value) / error) : Number(difference.value === 0);
  const labels = part.filter(({ score }) => score.answer === label).length / rows;
  return { label, rows, labels, teacher: labels + difference.value, difference, p_value };
}
