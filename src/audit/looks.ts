// What of an answer may move when a row speaks of another group: the label that is given and its probability, each label of a set by itself, or the number. Knows
// answers; asks no model.
import { labelsIn } from "../dataset/index.js";
import type { RowScore } from "../evaluate/index.js";
import type { Plan } from "./plan.js";

/** One thing that may move. */
export interface Look {
  /** Of sets, the label whose decision it is; null for the answer as a whole. */
  label: string | null;
  /** Whether two answers to a row are the same. */
  same: (one: RowScore, other: RowScore) => boolean;
  /** What shifts, in an answer to the row of `own`: a label's probability, or the number itself; null where there is none. */
  value: (answer: RowScore, own: RowScore) => number | null;
}

/** All that is looked at in the answers of a task. */
export function looksOf({ task, positive, positives, tolerance }: Plan): Look[] {
  const sameText = (one: RowScore, other: RowScore) => one.prediction === other.prediction;
  const probability = (label: string) => (answer: RowScore) => answer.probabilities?.[label] ?? null;
  if (task.kind === "regress") {
    const value = ({ prediction }: RowScore) => Number(prediction);
    return [{ label: null, same: (one, other) => Math.abs(value(one) - value(other)) <= tolerance!, value }];
  }
  if (task.kind !== "multilabel") {
    const value: Look["value"] = (answer, own) => probability(positive ?? own.answer)(answer);
    return [{ label: null, same: sameText, value }];
  }
  if (positives.length === 0) return [{ label: null, same: sameText, value: () => null }];
  return positives.map((label) => {
    const given = ({ prediction }: RowScore) => labelsIn(task.kind, prediction).includes(label);
    return { label, same: (one, other) => given(one) === given(other), value: probability(label) };
  });
}
