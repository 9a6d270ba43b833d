// What a teacher thinks of each group beside what the rows' own answers say. Knows rows and answers; no cache and no model.
import { type Estimate, estimates, holm, meanOf, normalTail } from "../evaluate/index.js";
import { type Judged, leastRows, type Membership, partsOf } from "./membership.js";
import { numberMeasure } from "./numbers.js";
import type { Plan } from "./plan.js";
import { excess } from "./rates.js";

/** One label, or the number, in the rows of one group. */
export interface Skew {
  attribute: string;
  source: Membership["source"];
  group: string;
  /** null for numbers. */
  label: string | null;
  rows: number;
  /** Share of the rows with this label; of numbers their mean. */
  labels: number;
  /** The label's probability by the teacher, or its number, in the mean over the rows. */
  teacher: number;
  /** The teacher's minus the rows'. */
  difference: Estimate;
  /** Of no difference (the normal distribution of the mean), corrected (Holm) for all groups and labels. */
  p_holm: number;
}

/** Groups of at least ten rows. The answers have probabilities, or are numbers. */
export function skewsOf({ task, memberships, positives, seed }: Plan, rows: readonly Judged[]): Skew[] {
  const labels = task.kind === "regress" ? [null] : positives;
  const found = memberships.flatMap((membership) =>
    [...partsOf(membership, rows)].flatMap(([group, part]) => {
      if (part.length < leastRows) return [];
      const { attribute, source } = membership;
      return labels.map((label) => ({ attribute, source, group, ...skewOf(part, label, seed) }));
    }),
  );
  const corrected = holm(found.map(({ p_value }) => p_value));
  return found.map(({ p_value: _, ...skew }, place) => ({ ...skew, p_holm: corrected[place]! }));
}

function skewOf(part: readonly Judged[], label: string | null, seed: number) {
  const rows = part.length;
  const above = label === null ? numberMeasure("signed_error").value : (judged: Judged) => excess(judged, label);
  const own =
    label === null
      ? numberMeasure("mean_target").value
      : (judged: Judged) => Number(judged.labels.answer.includes(label));
  const values = part.map((judged) => above(judged)!);
  const { difference } = estimates(rows, { difference: meanOf(values) }, seed);
  const variance = values.reduce((sum, value) => sum + (value - difference.value) ** 2, 0) / (rows - 1);
  const error = Math.sqrt(variance / rows);
  const p_value = error > 0 ? 2 * normalTail(Math.abs(difference.value) / error) : Number(difference.value === 0);
  const labels = part.reduce((sum, judged) => sum + own(judged)!, 0) / rows;
  return { label, rows, labels, teacher: labels + difference.value, difference, p_value };
}
