// The public teach(), and how a teacher's cache is filled for the rows of a run. Composes the cache, the teacher and the rows; holds no format.
import { performance } from "node:perf_hooks";
import { readPrompt } from "../evaluate/index.js";
import { resolveDefaultModel } from "../model/index.js";
import { goingOn, throwIfCancelled } from "../support/cancelled.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { EventRun } from "../support/event-run.js";
import { requireUnheld } from "../support/lock.js";
import { type NativePrecision, type NativeTail, type NativeTaught, precisions, translated } from "../support/native.js";
import {
  requireKnown,
  requireOneOf,
  requirePath,
  requireReal,
  requireTask,
  requireWhole,
  type Task,
} from "../task/index.js";
import { defaultTopK, Teacher, TeacherCache } from "../teach/index.js";
import type { Encoded } from "../tokens/index.js";
import { defaultMaxLength, hashRows, microBatcher, type TrainEvent } from "../train/index.js";
import { readTextRows } from "./text-rows.js";
import { readTuneData } from "./tune-data.js";

/** What is asked of a teacher, wherever its answers go. */
export interface TeachingOptions {
  /** Path of a GGUF, or an hf: URI (default: the model in the box). */
  teacher?: string | undefined;
  /** The teacher's adapter: a RUN folder, a PEFT folder or a GGUF LoRA; for a model that only llama.cpp opens, a GGUF LoRA. */
  teacherAdapter?: string | undefined;
  /** Tokens that are kept of each position (default 64). */
  topK?: number | undefined;
  /**
   * "sample": of these tokens the less likely ones are drawn by their probability and stand for all others, so that the forward KL is in the mean that over all
   * tokens; "bucket": they are the most likely ones, and the others one mass (default "sample"; of distill with another loss "bucket", which that needs).
   */
  tail?: NativeTail | undefined;
  /** Of the teacher's softmax; the same as of the student's loss (from 0.01 to 20; default 1). */
  temperature?: number | undefined;
  /**
   * A file of texts that have no answer (lines of .txt, the field "text" of .jsonl): the teacher is asked about each of their tokens, and the student learns them
   * beside the task's rows. One that is longer than maxLength is cut into pieces.
   */
  texts?: string | undefined;
  /** As of openModel, for the teacher (default "f32"). */
  teacherPrecision?: NativePrecision | undefined;
}

/** Options of {@link teach}. */
export interface TeachOptions extends TeachingOptions {
  /** The cache's folder: made when absent, gone on with when it is not whole. */
  out: string;
  /** Keep the teacher's hidden states, too, for students that are to match them: 2 bytes a value, width of the teacher × 2 bytes a position (default false). */
  hidden?: boolean | undefined;
  /** A prompt file, in place of the task's own prompt, for students that learn behind its examples. None that gives each row its own (`similar`). */
  prompt?: string | undefined;
  /** Read only so many training rows. */
  limit?: number | undefined;
  /** Stop at the first bad row instead of counting it (default false). */
  strict?: boolean | undefined;
  /** Longest row in tokens, answer included (default: 1024, or what the teacher's context allows). */
  maxLength?: number | undefined;
  /** What happens to longer rows (default "truncate"). */
  onLong?: "truncate" | "drop" | undefined;
  /** Threads (default: physical cores). */
  threads?: number | undefined;
  /** Ends the work after the rows in hand; it throws "cancelled" then, and the same call goes on. */
  signal?: AbortSignal | undefined;
}

/** What teach() tells while it works. */
export type TeachEvent =
  | {
      type: "teach";
      /** Rows that are on the disk. */
      rows: number;
      totalRows: number;
      tokensPerSecond: number;
      secondsLeft: number;
    }
  | Extract<TrainEvent, { type: "warning" }>;

/** The result of teach(), in the fields of `stillroom teach --json`. */
export interface TeachResult {
  /** The cache's folder. */
  cache: string;
  teacher: string;
  adapter: string | null;
  rows: number;
  /** Of these, texts of no task, or pieces of them. */
  texts: number;
  /** Label tokens, for each of which the teacher's distribution is kept. */
  positions: number;
  /** Rows that this call asked the teacher about; the others were there. */
  computed: number;
  top_k: number;
  tail: NativeTail;
  temperature: number;
  /** Values of a hidden state of the teacher; null where the cache keeps none. */
  hidden_width: number | null;
  /** Of the records. */
  bytes: number;
  /** Over the rows computed; 0 when there was none. */
  rows_per_second: number;
  tokens_per_second: number;
  peak_memory_bytes: number;
  seconds: number;
  bad_rows: number;
  truncated_rows: number;
  dropped_rows: number;
}

const optionNames = [
  ..."teacher teacherAdapter topK tail temperature texts teacherPrecision out prompt hidden limit strict maxLength onLong threads signal".split(
    " ",
  ),
];

/**
 * Asks a teacher about the training rows of a task, and keeps the most likely tokens of each answer's positions with their probabilities, and a draw
 * of the others or their mass. What an event names is on the disk; the same call goes on after a kill, and ends with the bytes of an undisturbed one.
 *
 * The result rejects, and the iterator throws, StillroomError: "input" for data, a model or an adapter, and for a cache of something else, naming the
 * fields that differ; "usage" for a wrong option or a cache that another process works in; "missing", "io", "cancelled".
 *
 * @example
 * ```ts
 * import { readTask, teach } from "stillroom";
 * const task = await readTask("sst2/task.yaml");
 * const { rows, bytes } = await teach(task, { teacher: "model.gguf", teacherAdapter: "runs/sst2", out: "sst2.taught" }).result;
 * ```
 */
export function teach(task: Task, options: TeachOptions): EventRun<TeachEvent, TeachResult> {
  return new EventRun(teaching(task, options));
}

async function* teaching(given: Task, options: TeachOptions): AsyncGenerator<TeachEvent, TeachResult> {
  const started = performance.now();
  requireKnown(options, optionNames, "teach");
  requireTask(given);
  requireTexts(given);
  requirePath("out", options.out);
  requireWhole("limit", options.limit, 1);
  requireWhole("maxLength", options.maxLength, 2);
  const { threads, signal, limit = null, strict = false, onLong = "truncate", hidden = false } = options;
  if (typeof hidden !== "boolean") throw unexpected("true or false", "hidden", hidden);
  const settings = await teachingSettings(options, signal);
  await requireUnheld(options.out);
  const { task, prompt } = await readPrompt(given, options.prompt);
  if (prompt?.content.select === "similar") {
    const message =
      "which examples are the nearest, the student says: distill with the same prompt makes its own cache";
    throw new StillroomError("usage", `${prompt.file} gives each row its own examples. ${message}`, {
      options: ["prompt"],
    });
  }
  const teacher = await Teacher.open({ ...settings, hidden, threads, signal });
  try {
    const { model } = teacher;
    const maxLength = Math.min(options.maxLength ?? defaultMaxLength, model.info.contextLength);
    const how = [{ limit, strict, onLong }, () => ({ maxLength }), signal ?? null] as const;
    const data = yield* readTuneData(task, model, ...how, {}, prompt);
    const further = yield* readTextRows(settings.texts, model.tokenizer, { maxLength, strict, signal: signal ?? null });
    const rows = [...data.train, ...further.rows];
    const texts = further.rows.length;
    const work = { rows: 0, tokens: 0, seconds: 0 };
    const cache = yield* teachInto(options.out, { task, teacher, rows, texts, signal: signal ?? null, work });
    await cache.close();
    return {
      cache: cache.folder,
      teacher: model.info.path,
      adapter: settings.adapter,
      ...{ rows: rows.length, texts },
      positions: rows.reduce((sum, { answer }) => sum + answer.length, 0),
      computed: work.rows,
      top_k: settings.topK,
      ...{ tail: settings.tail, temperature: settings.temperature },
      hidden_width: cache.layout.manifest.hidden_width ?? null,
      bytes: cache.bytes,
      rows_per_second: work.rows / Math.max(work.seconds, 1e-9),
      tokens_per_second: work.tokens / Math.max(work.seconds, 1e-9),
      peak_memory_bytes: process.resourceUsage().maxRSS * 1024,
      seconds: (performance.now() - started) / 1000,
      bad_rows: data.badRows + further.badRows,
      truncated_rows: data.truncatedRows,
      dropped_rows: data.droppedRows,
    };
  } catch (error) {
    throw goingOn(translated(error), "the same again");
  } finally {
    await teacher.close();
  }
}

/** Throws "usage" for a task whose answers are no texts that a teacher could be asked about. */
export function requireTexts({ name, kind }: Task): void {
  if (kind !== "multilabel") return;
  const remedy = "tune learns it from the rows themselves";
  throw new StillroomError(
    "usage",
    `a teacher is asked about texts, and ${name} is of kind ${kind}, whose sets a head gives: ${remedy}`,
  );
}

/** The teacher's options with their defaults. Throws "usage", and what resolveDefaultModel throws. */
export async function teachingSettings(options: TeachingOptions, signal: AbortSignal | undefined) {
  const {
    teacher = await resolveDefaultModel({ signal }),
    teacherAdapter,
    topK = defaultTopK,
    tail = "sample",
  } = options;
  const { temperature = 1, texts, teacherPrecision = "f32" } = options;
  requirePath("teacher", teacher);
  if (teacherAdapter !== undefined) requirePath("teacherAdapter", teacherAdapter);
  if (texts !== undefined) requirePath("texts", texts);
  requireWhole("topK", topK, 1);
  if (!["sample", "bucket"].includes(tail)) throw unexpected("sample or bucket", "tail", tail);
  requireReal("temperature", temperature, "a number from 0.01 to 20", (value) => value >= 0.01 && value <= 20);
  requireOneOf("teacherPrecision", teacherPrecision, precisions);
  return {
    teacher,
    adapter: teacherAdapter ?? null,
    topK,
    tail,
    temperature,
    precision: teacherPrecision,
    texts: texts ?? null,
  };
}

/** What is asked, and of whom. */
export interface Teaching {
  task: Task;
  teacher: Teacher;
  /** In the teacher's tokens, those of texts last. */
  rows: readonly Encoded[];
  /** How many of them are of texts. */
  texts: number;
  /** Most tokens that go through the teacher at once (default 2048). */
  tokenBudget?: number | undefined;
  signal: AbortSignal | null;
  /** Of a run's own cache: what helps where it is of something else (default: what helps with a folder that was named). */
  own?: string | null;
  /** Counts what was computed here. */
  work?: { rows: number; tokens: number; seconds: number };
}

/** A folder's cache for these rows, open and complete: what is missing is asked now. */
export async function* teachInto(folder: string, teaching: Teaching): AsyncGenerator<TeachEvent, TeacherCache> {
  const { task, teacher, rows, texts, signal, work = { rows: 0, tokens: 0, seconds: 0 } } = teaching;
  const counts = rows.map(({ answer }) => answer.length);
  const own = rows.length - texts;
  const cache = await TeacherCache.open(
    folder,
    teacher.facts(task, { rows: hashRows(rows.slice(0, own)), texts: texts > 0 ? hashRows(rows.slice(own)) : null }),
    counts,
    teacher.options.hidden ?? false,
    teaching.own,
  );
  try {
    if (cache.damage !== null) yield { type: "warning", kind: "cache", message: cache.damage };
    const longest = rows.reduce((most, { prompt, answer }) => Math.max(most, prompt.length + answer.length), 0);
    const batches = microBatcher(rows, teaching.tokenBudget ?? 2048, true);
    const started = performance.now();
    const ask = async (first: number, last: number) => {
      const answers: { taught: NativeTaught; counts: readonly number[] }[] = [];
      let row = first;
      for (const part of batches(Int32Array.from({ length: last - first }, (_, index) => first + index))) {
        throwIfCancelled(signal ?? undefined, `asking the teacher, after ${first} of ${rows.length} rows`);
        const taught = await teacher.teach(part.batch, longest, cache.hidden);
        answers.push({ taught, counts: counts.slice(row, row + part.rows) });
        row += part.rows;
        work.tokens += part.tokens;
      }
      work.rows += last - first;
      return answers;
    };
    for await (const done of cache.fill(ask)) {
      work.seconds = (performance.now() - started) / 1000;
      const secondsLeft = ((rows.length - done) * work.seconds) / work.rows;
      const tokensPerSecond = work.tokens / work.seconds;
      yield { type: "teach", rows: done, totalRows: rows.length, tokensPerSecond, secondsLeft };
    }
    return cache;
  } catch (error) {
    await cache.close();
    throw error;
  }
}
