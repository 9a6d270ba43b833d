// What a predictor says to rows with another group's words in them. Owns the order in which they are asked; makes no variant (audit/swaps.ts).
import type { Variant } from "../audit/index.js";
import type { Row } from "../dataset/index.js";
import { evaluateRows, type RowScore, type ScoringJob, type ScoringProgress } from "../evaluate/index.js";

/**
 * The answers in the order of the variants; null where one could not be asked. Those of one attribute to one group at a time: of these, no two are of the
 * same row.
 */
export async function variantAnswers(
  variants: readonly Variant[],
  job: ScoringJob,
  onProgress: (what: string, progress: ScoringProgress) => void,
): Promise<(RowScore | null)[]> {
  const { examples } = job;
  const answers = new Array<RowScore | null>(variants.length).fill(null);
  // A variant gets the examples of the row that it was made of: nothing but its own words is to differ.
  const original = new Map(variants.map(({ row, of }) => [row, of.row]));
  const own = typeof examples === "function" ? (row: Row) => examples(original.get(row) ?? row) : examples;
  const named = variants.map(({ attribute, to }) => `${attribute} to ${to}`);
  for (const what of new Set(named)) {
    const places = [...named.keys()].filter((place) => named[place] === what);
    const rows = places.map((place) => variants[place]!.row);
    const scores = await evaluateRows({
      ...{ ...job, rows, examples: own },
      onProgress: (progress) => onProgress(what, progress),
    });
    const byIndex = new Map(scores.rows.map((score) => [score.index, score]));
    for (const place of places) answers[place] = byIndex.get(variants[place]!.row.index) ?? null;
  }
  return answers;
}
