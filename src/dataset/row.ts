// From a record of a file to a row of the task: columns renamed, fields present, answer known. Reads no file.
import { StillroomError } from "../support/errors.js";
import { isNumber, nearestName, parseTemplate, type Source, type Task, templateFields } from "../task/index.js";
import { readLabels, setText } from "./label-set.js";
import { emptyFields } from "./records.js";
import { conversationColumns, recognise } from "./shapes.js";

/** A good row of a task's data. */
export interface Row {
  /** From 0, over the good rows of its file; of rows without an answer, where these are numbered apart, from 2^40. */
  index: number;
  file: string;
  line: number;
  /** Values by the task's field names, beside the file's own columns. No prototype. */
  fields: Record<string, unknown>;
  /** The text of the answer: for classify the text of the label, for multilabel those of the labels as setText has them, for regress the number. */
  answer: string;
  /** The answer as it stands in the data; for classify the value of the label, for multilabel those of the labels as setText has them. */
  value: string;
}

/** A record that cannot be used, and why. */
export interface BadRow {
  file: string;
  line: number;
  reason: string;
}

/** Where a row stands: "rows.jsonl:3". */
export const placeOf = ({ file, line }: Pick<BadRow, "file" | "line">): string => `${file}:${line}`;

/** A bad row in words: its place, and why. */
export const badRowText = (bad: BadRow): string => `${placeOf(bad)}: ${bad.reason}`;

/** What ends a strict reading. */
export const badRowError = (bad: BadRow): StillroomError => new StillroomError("input", badRowText(bad));

type MadeRow = Pick<Row, "fields" | "answer" | "value">;

/** Makes rows of one source. Gives a text, the reason, for a bad one. */
export type RowMaker = (record: Record<string, unknown>) => MadeRow | string;

/** Fields that the task's template uses, sorted: those of any row, and those that every row must have. */
export function usedFields(task: Task): { all: string[]; required: string[] } {
  const { all, required } = templateFields(parseTemplate(task.prompt.template, "prompt.template"));
  if (task.prompt.template !== "") return { all: all.sort(), required };
  return { all: ["messages"], required: ["messages"] };
}

/**
 * What turns the records of a source into rows of the task.
 *
 * @param unanswered - whether rows without a known answer are good; "missing": only those whose answer is missing or empty
 */
export function rowMaker(
  task: Task,
  source: Source,
  alsoRequired: readonly string[] = [],
  unanswered: boolean | "missing" = false,
): RowMaker {
  const columns = Object.entries(source.columns);
  const required = new Set([...usedFields(task).required, ...columns.map(([field]) => field), ...alsoRequired]);
  required.delete(task.answer.field);
  const usesTurns = usedFields(task).all.includes("messages");
  return (record) => {
    const fields = Object.assign(emptyFields(), record);
    for (const [field, column] of columns) {
      if (record[column] !== undefined) fields[field] = record[column];
    }
    const own = isConversationColumn(task.answer.field) ? undefined : fields[task.answer.field];
    const conversation = recognise(fields);
    if (typeof conversation === "string" && (usesTurns || (own === undefined && !unanswered))) return conversation;
    if (conversation !== null && typeof conversation !== "string") {
      fields.messages = conversation.messages;
      delete fields.conversations;
    }
    for (const field of required) {
      if (fields[field] === undefined || fields[field] === null) return missing(field, source, record);
    }
    const value = own ?? (typeof conversation === "string" ? undefined : conversation?.answer);
    const none = unanswered ? { fields, value: "", answer: "" } : null;
    if (value === undefined || value === null) return none ?? missing(task.answer.field, source, record);
    const made = answerOf(task, value);
    if (typeof made !== "string") return { fields, ...made };
    const open = unanswered === true || (typeof value === "string" && value.trim() === "");
    return open ? (none ?? made) : made;
  };
}

/** Refuses a file whose columns cannot serve the task, where every record has the same columns. */
export function checkColumns(
  task: Task,
  source: Source,
  columns: readonly string[],
  alsoRequired: readonly string[] = [],
  unanswered = false,
): void {
  const present = new Set(columns);
  const mapped = new Set(Object.keys(source.columns));
  for (const [field, column] of Object.entries(source.columns)) {
    if (!present.has(column)) throw noColumn(source, column, columns, ` for the field ${field}`);
  }
  if (conversationColumns.some((name) => present.has(name)) || (present.has("instruction") && present.has("output")))
    return;
  const answer = unanswered ? [] : [task.answer.field];
  for (const field of [...usedFields(task).required, ...alsoRequired, ...answer]) {
    if (!present.has(field) && !mapped.has(field)) throw noColumn(source, field, columns, "");
  }
}

function noColumn(source: Source, column: string, columns: readonly string[], why: string): StillroomError {
  const nearest = nearestName(column, columns);
  const hint = nearest === null ? "" : `; did you mean ${nearest}?`;
  return new StillroomError("input", `${source.path}: no column ${column}${why}; it has ${columns.join(", ")}${hint}`);
}

function missing(field: string, source: Source, record: Record<string, unknown>): string {
  const column = source.columns[field] ?? field;
  return `has no ${column}${record[column] === null ? " (it is null)" : ""}`;
}

type MadeAnswer = Pick<Row, "answer" | "value">;

/** The answer of a task from its value in the data, of a multilabel task from the labels; a text: why it is none. */
export function answerOf(task: Task, given: unknown): MadeAnswer | string {
  if (task.kind === "multilabel") return setAnswer(task, given);
  if (typeof given === "object") return `${task.answer.field} is no text, number, true or false`;
  const value = String(given);
  if (task.kind === "regress") {
    if (isNumber(value)) return { value, answer: String(Number(value)) };
    if (value.trim() === "") return `has an empty ${task.answer.field}`;
    return `${task.answer.field} ${JSON.stringify(value.slice(0, 80))} is no number; write it such as 1.5 or -2e-3, or leave the row out`;
  }
  if (task.answer.labels === undefined) {
    return value.trim() === "" ? `has an empty ${task.answer.field}` : { value, answer: value };
  }
  const answer = task.answer.labels[value];
  if (answer === undefined) {
    return `${task.answer.field} ${JSON.stringify(value.slice(0, 80))} is none of ${Object.keys(task.answer.labels).join(", ")}`;
  }
  return { value, answer };
}

function setAnswer({ answer: { field, labels, separator } }: Task, given: unknown): MadeAnswer | string {
  const values = readLabels(given, field, separator);
  if (typeof values === "string") return values;
  const unknown = labels && values.find((value) => labels[value] === undefined);
  if (unknown !== undefined)
    return `${field} lists ${JSON.stringify(unknown.slice(0, 80))}, which is none of ${Object.keys(labels!).join(", ")}`;
  return { value: setText(values), answer: setText(values.map((value) => labels?.[value] ?? value)) };
}

function isConversationColumn(field: string): boolean {
  return (conversationColumns as readonly string[]).includes(field);
}
