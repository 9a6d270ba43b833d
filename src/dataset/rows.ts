// The rows of a task's splits, streamed: reader, then row, then split. Holds at most one row and one byte for each.
import { StillroomError } from "../support/errors.js";
import { isDrawn, type Source, type Split, type Task } from "../task/index.js";
import { readCsv } from "./csv.js";
import { readJsonl } from "./jsonl.js";
import { labelsIn } from "./label-set.js";
import { readParquet } from "./parquet.js";
import { defaultMaxBytes, type RawRecord, type ReadOptions } from "./records.js";
import { type BadRow, badRowError, checkColumns, type Row, rowMaker } from "./row.js";
import { assignParts, type Draw } from "./split.js";

export const splitNames = ["train", "validation", "test"] as const;
export type SplitName = (typeof splitNames)[number];

export interface RowOptions {
  /** The first so many good rows of the split (default: all). */
  limit?: number | undefined;
  /** Stop with an error at the first bad row (default: report it and go on). */
  strict?: boolean | undefined;
  /** Called for every bad row. A split that is drawn from another one's file has none: they are that one's. */
  onBad?: ((bad: BadRow) => void) | undefined;
  /**
   * Take rows without a known answer as well, their answer "" (default: they are bad rows). "training": only training rows whose answer is missing or empty; they
   * are numbered apart and drawn into no other split, so that all other rows stay what they are without them.
   */
  unanswered?: boolean | "training" | undefined;
  /** Longest row of the file in bytes (default 16 MiB). */
  maxBytes?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** Rows of a split in memory, and the bad rows met on the way. */
export interface Dataset {
  rows: Row[];
  bad: BadRow[];
}

type DrawnName = "test" | "validation";
/** The number of the first row without an answer where these are numbered apart: more than a file has rows. */
const firstUnanswered = 2 ** 40;
/** Parts are drawn in this order, so that the test rows do not depend on the validation part. */
const drawOrder: readonly DrawnName[] = ["test", "validation"];

/**
 * Streams the good rows of a split in the order of its file.
 *
 * @throws StillroomError "input" when the task has no such split or its file cannot serve the task; with strict, at a bad row
 * @example
 * ```ts
 * for await (const row of streamRows(task, "test", { limit: 100 })) console.log(row.line, row.fields.text, row.answer);
 * ```
 */
export async function* streamRows(task: Task, split: SplitName, options: RowOptions = {}): AsyncGenerator<Row> {
  const limit = options.limit ?? Number.POSITIVE_INFINITY;
  if (limit <= 0) return;
  const { source, owner } = sourceOf(task, split);
  const draws = drawOrder.filter((name) => drawnFrom(task, name) === owner);
  const parts = draws.length === 0 ? null : await drawParts(task, source, draws, options);
  const own = split === owner ? 0 : draws.indexOf(split as DrawnName) + 1;
  const onBad = split === owner ? options.onBad : undefined;
  let given = 0;
  for await (const row of goodRows(task, source, { ...options, onBad }, splitKeys(task, draws))) {
    // One that is numbered apart is its owner's.
    if (parts !== null && (parts[row.index] ?? 0) !== own) continue;
    yield row;
    given += 1;
    if (given >= limit) return;
  }
}

/**
 * All good rows of a split, and the bad ones.
 *
 * @example
 * ```ts
 * import { readRows, readTask } from "stillroom";
 * const { rows, bad } = await readRows(await readTask("task.yaml"), "train");
 * console.log(rows.length, bad.map(({ file, line, reason }) => `${file}:${line}: ${reason}`));
 * ```
 */
export async function readRows(task: Task, split: SplitName, options: RowOptions = {}): Promise<Dataset> {
  const dataset: Dataset = { rows: [], bad: [] };
  const onBad = (bad: BadRow) => {
    dataset.bad.push(bad);
    options.onBad?.(bad);
  };
  for await (const row of streamRows(task, split, { ...options, onBad })) dataset.rows.push(row);
  return dataset;
}

/**
 * The labels of a task: the task file's, else for classify and multilabel the distinct ones of the given (training) rows, sorted by code unit. Of regress those that stand for
 * numbers, if the task has any; of generate none.
 */
export function labelsOf(task: Task, rows: readonly Row[]): { value: string; text: string }[] {
  if (task.answer.labels !== undefined) {
    return Object.entries(task.answer.labels).map(([value, text]) => ({ value, text }));
  }
  const answered = rows.filter(({ value }) => value !== "");
  const values = [...new Set(answered.flatMap(({ value }) => labelsIn(task.kind, value)))].sort();
  return values.map((value) => ({ value, text: value }));
}

/** The file that a split's rows stand in, and the split that names it. */
function sourceOf(task: Task, split: SplitName): { source: Source; owner: SplitName } {
  const part: Source | Split | undefined = task.data[split];
  if (part === undefined) {
    const known = Object.keys(task.data).join(", ");
    throw new StillroomError("input", `${task.file}: no data for the split ${split}; there is ${known}`);
  }
  return isDrawn(part) ? { source: task.data[part.from] as Source, owner: part.from } : { source: part, owner: split };
}

function drawnFrom(task: Task, name: DrawnName): SplitName | null {
  const part = task.data[name];
  return part !== undefined && isDrawn(part) ? part.from : null;
}

function splitKeys(task: Task, draws: readonly DrawnName[]): string[] {
  const fields = draws.flatMap((name) => keyField(task.data[name] as Split) ?? []);
  return fields.filter((field) => field !== task.answer.field);
}

function keyField(split: Split): string | null {
  return split.stratify ?? split.group ?? null;
}

/** Reads the file once for the keys alone. */
async function drawParts(
  task: Task,
  source: Source,
  draws: readonly DrawnName[],
  options: RowOptions,
): Promise<Uint8Array> {
  const splits = draws.map((name) => task.data[name] as Split);
  const numbers = splits.map(() => new Map<string, number>());
  const keys: number[][] = splits.map(() => []);
  let rows = 0;
  for await (const row of goodRows(task, source, { ...options, onBad: undefined }, splitKeys(task, draws))) {
    if (row.index >= firstUnanswered) continue;
    rows += 1;
    for (const [index, split] of splits.entries()) {
      const field = keyField(split);
      if (field === null) continue;
      const value = field === task.answer.field ? row.value : JSON.stringify(row.fields[field]);
      const known = numbers[index]!;
      if (!known.has(value)) known.set(value, known.size);
      keys[index]!.push(known.get(value)!);
    }
  }
  return assignParts(
    rows,
    splits.map((split, index): Draw => {
      const by = split.stratify !== undefined ? "stratum" : split.group !== undefined ? "group" : "row";
      return { by, keys: Int32Array.from(keys[index]!), fraction: split.fraction, seed: split.seed };
    }),
  );
}

async function* goodRows(task: Task, source: Source, options: RowOptions, splitFields: string[]): AsyncGenerator<Row> {
  const { unanswered: asked = false } = options;
  const apart = asked === "training";
  const unanswered = asked === "training" ? source === task.data.train && "missing" : asked;
  const make = rowMaker(task, source, splitFields, unanswered);
  let index = 0;
  let without = firstUnanswered;
  let checked = source.format === "jsonl";
  for await (const record of readRecords(source, {
    maxBytes: options.maxBytes ?? defaultMaxBytes,
    signal: options.signal,
  })) {
    if (!checked && "fields" in record) {
      checkColumns(task, source, Object.keys(record.fields), splitFields, unanswered !== false);
      checked = true;
    }
    const made = "fields" in record ? make(record.fields) : record.reason;
    if (typeof made !== "string") {
      const number = apart && made.value === "" ? without++ : index++;
      yield { index: number, file: source.path, line: record.line, ...made };
      continue;
    }
    const bad = { file: source.path, line: record.line, reason: made };
    if (options.strict) throw badRowError(bad);
    options.onBad?.(bad);
  }
}

function readRecords(source: Source, options: ReadOptions): AsyncGenerator<RawRecord> {
  switch (source.format) {
    case "jsonl":
      return readJsonl(source.path, options);
    case "csv":
    case "tsv":
      return readCsv(source.path, source.format, options);
    case "parquet":
      return readParquet(source.path, options);
  }
}
