// What is to be said of the rows themselves, before any model: copies, words tied to labels, how answers differ by group. Knows rows; reads
// no file.
import type { Row } from "../dataset/index.js";
import { type Duplicates, findCopies } from "./duplicates.js";
import { type GroupTable, groupTables, rowMetrics } from "./groups.js";
import { type Judged, judge, textOf } from "./membership.js";
import type { Plan } from "./plan.js";
import { namedBy } from "./terms.js";
import { type MeanTie, type Tie, tiedMeans, tiedTerms } from "./ties.js";

/** What an audit says of the rows. */
export interface RowAudit {
  /** Rows by split: all of them are looked through for copies. */
  splits: { split: string; rows: number }[];
  /** The split that ties and groups are of: what a model learns from. */
  of: string;
  duplicates: Duplicates;
  /** terms: of labels; means: of numbers. */
  ties: { looked_at: number; terms: Tie[]; means: MeanTie[] };
  /** How the answers differ by group. */
  groups: GroupTable[];
}

/** Looks through the rows of some splits; the first one's are those that a model learns from. */
export function rowsAudit(plan: Plan, splits: readonly { split: string; rows: readonly Row[] }[]): RowAudit {
  const text = textOf(plan.task);
  const texts = splits.flatMap(({ split, rows }) =>
    rows.map((row) => ({ text: text(row), answer: row.answer, split, line: row.line })),
  );
  const learnt = splits[0]!;
  const judged = learnt.rows.map((row) => {
    const { index, answer } = row;
    return judge(plan.task, row, { index, answer, prediction: answer, probabilities: null });
  });
  const { tolerance } = plan;
  const near = (one: string, other: string) => Math.abs(Number(one) - Number(other)) <= tolerance!;
  return {
    splits: splits.map(({ split, rows }) => ({ split, rows: rows.length })),
    of: learnt.split,
    duplicates: findCopies(texts, tolerance === null ? undefined : near),
    ties: tiesOf(plan, judged),
    groups: groupTables(plan, judged, rowMetrics),
  };
}

function tiesOf(plan: Plan, judged: readonly Judged[]): RowAudit["ties"] {
  const { task } = plan;
  const [text, groupOf] = [textOf(task), namedBy(plan.lists)];
  const none = { looked_at: 0, terms: [], means: [] };
  // Answers in words are no labels that a word could be tied to.
  if (task.kind === "generate") return none;
  if (task.kind === "regress") {
    const numbers = judged.map(({ row }) => ({ text: text(row), number: Number(row.answer) }));
    return { ...none, ...tiedMeans(numbers, groupOf) };
  }
  const labelled = judged.map(({ row, labels }) => ({ text: text(row), labels: labels.answer }));
  return { ...none, ...tiedTerms(labelled, groupOf, task.kind === "multilabel") };
}
