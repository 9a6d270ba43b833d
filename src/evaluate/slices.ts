// The same metrics for parts of the rows: those that share a value of one column. Knows rows and their answers; no model.
import type { Row } from "../dataset/index.js";
import { StillroomError } from "../support/errors.js";
import type { Task } from "../task/index.js";
import type { Label, RowScore } from "./scoring.js";
import { type Metrics, summarise } from "./summary.js";

/** Metrics by the values of one column. */
export interface SliceTable {
  column: string;
  /** By rows, most first. */
  slices: { value: string; rows: number; metrics: Metrics }[];
}

const mostSlices = 200;

/** Refuses, before anything is scored, a column that rows lack, or whose values are more than a table holds. Throws "input". */
export function requireSlices(column: string, rows: readonly Row[]): void {
  const values = new Set(rows.map((row) => sliceOf(column, row)));
  if (values.size <= mostSlices) return;
  throw new StillroomError(
    "input",
    `expected a column of at most ${mostSlices} values to slice by, received ${column} with ${values.size}`,
  );
}

/**
 * Metrics of the rows of each value of a column, over all labels of the task. The same seed gives the same intervals.
 *
 * @param rows - those that were scored, and maybe others
 */
export function sliceTable(
  column: string,
  rows: readonly Row[],
  scores: readonly RowScore[],
  { task, labels, seed }: { task: Task; labels: readonly Label[]; seed: number },
): SliceTable {
  const values = new Map(rows.map((row) => [row.index, sliceOf(column, row)]));
  const parts = new Map<string, RowScore[]>();
  for (const score of scores) {
    const value = values.get(score.index)!;
    const part = parts.get(value);
    if (part) part.push(score);
    else parts.set(value, [score]);
  }
  const slices = [...parts].map(([value, part]) => {
    return { value, rows: part.length, metrics: summarise(task, part, labels, seed).metrics };
  });
  return { column, slices: slices.sort((a, b) => b.rows - a.rows || (a.value < b.value ? -1 : 1)) };
}

function sliceOf(column: string, row: Row): string {
  const value = row.fields[column];
  if (value !== undefined && value !== null && typeof value !== "object") return String(value);
  throw new StillroomError(
    "input",
    `${row.file}:${row.line}: expected a text or a number in the column ${column} to slice by, received ` +
      `${JSON.stringify(value) ?? "nothing"}; the row has ${Object.keys(row.fields).join(", ")}`,
  );
}
