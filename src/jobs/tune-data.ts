// The rows of a tuning run: read, encoded, counted, with a warning for everything that does not go in as it is.
import type { Head } from "../adapter/index.js";
import {
  type BadRow,
  badRowError,
  badRowText,
  findDuplicates,
  labelsIn,
  labelsOf,
  type Place,
  placeOf,
  type Row,
  readRows,
} from "../dataset/index.js";
import { type GivenPrompt, type Label, readPromptParts } from "../evaluate/index.js";
import type { Model } from "../model/index.js";
import { type CompiledPrompt, compilePrompt, type Examples } from "../prompt/index.js";
import { StillroomError } from "../support/errors.js";
import type { NativeTokenizer } from "../support/native.js";
import { counted } from "../support/words.js";
import type { Task } from "../task/index.js";
import type { Encoded } from "../tokens/index.js";
import {
  encodeRows,
  type FittedRows,
  type Limits,
  rowBytes,
  type TrainEvent,
  type TuneSettings,
} from "../train/index.js";
import { type HeadSettings, headFor, targetFor } from "./tune-head.js";

/** What a run is given of its task. */
export interface TuneData {
  prompt: CompiledPrompt;
  /** Answered rows before each prompt. */
  examples: Examples;
  /** Encoded training rows. */
  train: Encoded[];
  /** All validation rows that are good; null where the task has none. */
  validation: Row[] | null;
  /** Empty for generate. */
  labels: Label[];
  /** What a head of the task's own is to learn; null without one. */
  head: Head | null;
  /** What it should give for a row; a text: why it cannot. */
  targetOf: ((row: Row) => readonly number[] | string) | undefined;
  badRows: number;
  /** Training rows, and answers of these, that are cut otherwise than the model's own tokenizer cuts them. */
  recut: FittedRows["recut"];
  truncatedRows: number;
  droppedRows: number;
}

/** What a run tells of rows that do not go in as they are. */
export type Warning = Extract<TrainEvent, { type: "warning" }>;

/** Warnings of one kind that are told one by one; the rest as a number. */
const told = 20;

/** What of a run's settings decides its rows. */
type DataSettings = Pick<TuneSettings, "strict" | "limit" | "onLong"> &
  Partial<HeadSettings & Pick<TuneSettings, "seed">>;

/** What a lesson changes of the training rows: which they are, whether some may have no answer, and what cuts them into tokens (default: the model's tokenizer). */
interface Learning {
  unanswered?: boolean;
  revise?: (rows: readonly Row[]) => Promise<readonly Row[]>;
  tokenizer?: NativeTokenizer | undefined;
}

/**
 * Reads and encodes the rows of a task, the training rows as the lesson has them. Throws "input" when no row is left to train on.
 *
 * @param limitsOf - the limits of a run that holds rows of so many bytes
 */
export async function* readTuneData<Bounds extends Pick<Limits, "maxLength">>(
  task: Task,
  model: Model,
  settings: DataSettings,
  limitsOf: (bytes: number) => Bounds,
  signal: AbortSignal | null,
  { revise = async (rows) => rows, unanswered = false, tokenizer = model.tokenizer }: Learning = {},
  promptFile?: GivenPrompt,
): AsyncGenerator<Warning, TuneData & { limits: Bounds }> {
  const open = unanswered && { unanswered: "training" as const };
  const reading = { strict: settings.strict, signal: signal ?? undefined, ...open };
  const { rows: read, bad } = await readRows(task, "train", { ...reading, limit: settings.limit ?? undefined });
  const validation = task.data.validation ? await readRows(task, "validation", reading) : null;
  const allBad = [...bad, ...(validation?.bad ?? [])];
  yield* badRowWarnings(allBad);
  const prompt = compilePrompt(task, model.template);
  const { onLong } = settings;
  const rows = await revise(read);
  const labels = labelsOf(task, read);
  const head = headFor(task, rows, labels, settings);
  const targetOf = head ? targetFor(head) : undefined;
  const asked = {
    split: "train" as const,
    shots: 0,
    seed: settings.seed ?? 0,
    prompt: promptFile,
    model,
    signal: reading.signal,
  };
  const { shots } = await readPromptParts(task, asked, async () => read);
  await shots.prepare([...rows, ...(validation?.rows ?? [])]);
  let limits = limitsOf(0);
  const fitted = await encodeRows(rows, {
    tokenizer,
    usual: tokenizer === model.tokenizer ? undefined : model.tokenizer,
    prompt,
    maxLength(encoded) {
      limits = limitsOf(rowBytes([...read, ...(validation?.rows ?? [])], encoded));
      return limits.maxLength;
    },
    onLong,
    signal,
    targetOf,
    examples: shots.of,
  });
  const [first] = fitted.bad;
  if (settings.strict && first) throw badRowError(first);
  allBad.push(...fitted.bad);
  yield* badRowWarnings(fitted.bad);
  yield* longRowWarnings(fitted, limits.maxLength);
  if (fitted.rows.length === 0) {
    throw new StillroomError(
      "input",
      `${task.name} has no training row that can be used (bad: ${allBad.length}, too long: ${fitted.dropped.length})`,
    );
  }
  return {
    limits,
    prompt,
    examples: shots.of,
    train: fitted.rows,
    validation: validation?.rows ?? null,
    labels,
    head,
    targetOf,
    badRows: allBad.length,
    recut: fitted.recut,
    truncatedRows: fitted.truncated.length,
    droppedRows: fitted.dropped.length,
  };
}

/** Tells of rows of the task's files that stand in more than one split: how many, and the first. */
export async function* duplicateWarnings(task: Task, signal: AbortSignal | null): AsyncGenerator<Warning, void> {
  if (Object.keys(task.data).length < 2) return;
  const found = await findDuplicates(task, { signal: signal ?? undefined });
  const [first] = found;
  if (!first) return;
  const place = ({ split, line }: Place) => `${split} row at line ${line}`;
  const one = `${place(first.row)} is the same as ${place(first.of)}`;
  const message = found.length === 1 ? one : `${found.length} rows stand in two splits, such as: ${one}`;
  yield { type: "warning", kind: "duplicate", message };
}

/** Tells of validation rows with labels that no training row has: these are not asked for, and the rows not measured. */
export function* labelWarning(
  { kind }: Task,
  { labels, validation }: Pick<TuneData, "labels" | "validation">,
): Generator<Warning, void> {
  const known = new Set(labels.map(({ text }) => text));
  const all = validation ?? [];
  const stray = all.map(({ answer }) => labelsIn(kind, answer).filter((label) => !known.has(label)));
  const rows = stray.filter(({ length }) => length > 0).length;
  if (rows === 0) return;
  const names = [...new Set(stray.flat())];
  const listed = [...names.slice(0, 5), ...(names.length > 5 ? [`${names.length - 5} more`] : [])].join(", ");
  const what = `${counted(rows, "validation row")} of ${all.length} ${rows === 1 ? "is" : "are"} not measured`;
  yield { type: "warning", kind: "label", message: `${what}: no training row that is read has ${listed}` };
}

/** Tells how many rows a student learns in its teacher's tokens, since it has more of them. */
export function* recutWarning(
  { kind }: Task,
  { rows, answers }: FittedRows["recut"],
  tokens: { student: number; teacher: number },
): Generator<Warning, void> {
  if (rows === 0) return;
  const learnt = `${counted(rows, "row")} are learnt in the ${tokens.teacher} tokens of the teacher and not as the student, which has ${tokens.student}, cuts them; of ${answers} the answer`;
  const remedy = "labels are asked in the student's own tokens: trim the teacher to this task (student --vocab)";
  const message = answers > 0 && kind !== "generate" ? `${learnt}. ${remedy}` : learnt;
  yield { type: "warning", kind: "tokens", message };
}

export function badRowWarnings(bad: readonly BadRow[]): Generator<Warning, void> {
  return listed("bad-row", bad.map(badRowText));
}

function* longRowWarnings({ truncated, dropped }: FittedRows, maxLength: number): Generator<Warning, void> {
  const say = (rows: readonly Row[], what: string) =>
    listed(
      "long-row",
      rows.map((row) => `${placeOf(row)}: longer than ${maxLength} tokens, ${what}`),
    );
  yield* say(truncated, "the front of its prompt is cut off");
  yield* say(dropped, "left out");
}

function* listed(kind: Warning["kind"], messages: readonly string[]): Generator<Warning, void> {
  for (const message of messages.slice(0, told)) yield { type: "warning", kind, message };
  if (messages.length > told) {
    yield { type: "warning", kind, message: `and ${messages.length - told} more (${messages.length} in all)` };
  }
}
