// What a predictor says to rows with another group's words in them. Asks all of them at once; makes no variant (audit/swaps.ts).
import type { Variant } from "../audit/index.js";
import type { Row } from "../dataset/index.js";
import { evaluateRows, type RowScore, type ScoringJob, type ScoringProgress } from "../evaluate/index.js";

/**
 * The answers in the order of the variants; null where one could not be asked. What variants of a row have in common, its examples and its words before the first that differs, is
 * computed once a batch.
 *
 * @throws StillroomError "cancelled" on abort
 */
export async function variantAnswers(
  variants: readonly Variant[],
  job: ScoringJob,
  onProgress: (progress: ScoringProgress) => void,
): Promise<(RowScore | null)[]> {
  const answers = new Array<RowScore | null>(variants.length).fill(null);
  if (variants.length === 0) return answers;
  // Variants of a row have its index, and scores are told apart by it: here each has its place.
  const rows = variants.map(({ row }, index) => ({ ...row, index }));
  const { examples } = job;
  // A variant gets the examples of the row that it was made of: nothing but its own words is to differ.
  const own = typeof examples === "function" ? ({ index }: Row) => examples(variants[index]!.of.row) : examples;
  const scores = await evaluateRows({ ...job, rows, examples: own, mayBeNone: true, onProgress });
  for (const score of scores.rows) {
    const { index } = variants[score.index]!.row;
    answers[score.index] = { ...score, index };
  }
  return answers;
}
