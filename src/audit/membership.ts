// Which group a row is of: by a column, or by the terms that it mentions. And rows with what was answered to them, parted by it. Asks no model.
import { labelsIn, type Row, usedFields } from "../dataset/index.js";
import type { RowScore } from "../evaluate/index.js";
import { StillroomError } from "../support/errors.js";
import type { Task } from "../task/index.js";
import { mentionedGroup, type TermGroups } from "./terms.js";

/** Which group each row is of; rows of none are left out. */
export interface Membership {
  attribute: string;
  source: "column" | "terms";
  groupOf: (row: Row) => string | null;
}

/** What is of fewer rows than this is listed, compared with nothing and never found: a group, a rate of one, a swap, a kind of bias. */
export const leastRows = 10;
const mostGroups = 50;

/** All text of a row that its prompt is made of. */
export function textOf(task: Task): (row: Row) => string {
  const names = usedFields(task).all;
  const texts = (value: unknown): string[] => {
    if (typeof value === "string") return [value];
    return typeof value === "object" && value !== null ? Object.values(value).flatMap(texts) : [];
  };
  return (row) => names.flatMap((name) => texts(row.fields[name])).join("\n");
}

/** Groups by the values of a column; a row without a value, as an empty field of a CSV is none, is of no group. Throws "input" for a column that no row has, or of too many values. */
export function byColumn(column: string, rows: readonly Row[]): Membership {
  const groupOf = ({ fields }: Row) => {
    const value = fields[column];
    if (value === undefined || value === null || typeof value === "object") return null;
    return String(value).trim() === "" ? null : String(value);
  };
  const values = new Set(rows.map(groupOf).filter((value) => value !== null));
  if (values.size === 0) {
    const known = Object.keys(rows[0]?.fields ?? {}).join(", ");
    throw new StillroomError("input", `expected a column ${column} to group by, received rows with ${known}`);
  }
  if (values.size > mostGroups) {
    throw new StillroomError(
      "input",
      `expected a column of at most ${mostGroups} values to group by, received ${column} with ${values.size}`,
    );
  }
  return { attribute: column, source: "column", groupOf };
}

/** Groups by the terms that a row's text mentions. */
export function byTerms(terms: TermGroups, task: Task): Membership {
  const [mentioned, text] = [mentionedGroup(terms), textOf(task)];
  return { attribute: terms.attribute, source: "terms", groupOf: (row) => mentioned(text(row)) };
}

/** A row with what was answered. */
export interface Judged {
  row: Row;
  score: RowScore;
  /** The labels that the right answer is made of, and those of the prediction: one, or those of a set; of numbers and free text none. */
  labels: { answer: readonly string[]; prediction: readonly string[] };
}

/** A row of a task of a kind, with what was answered. */
export function judge({ kind }: Pick<Task, "kind">, row: Row, score: RowScore): Judged {
  return { row, score, labels: { answer: labelsIn(kind, score.answer), prediction: labelsIn(kind, score.prediction) } };
}

/** By group, in the order of their names. */
export function partsOf({ groupOf }: Membership, rows: readonly Judged[]): Map<string, Judged[]> {
  const parts = new Map<string, Judged[]>();
  for (const judged of rows) {
    const group = groupOf(judged.row);
    if (group === null) continue;
    const part = parts.get(group);
    if (part) part.push(judged);
    else parts.set(group, [judged]);
  }
  return new Map([...parts].sort(([a], [b]) => (a < b ? -1 : 1)));
}
