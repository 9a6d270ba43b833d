// What the teacher said that a student was trained on: its labels by group, out of a cache of teach or distill. Owns how a row's record becomes label
// probabilities; the gaps are audit's.
import {
  type GroupTable,
  groupTables,
  type Judged,
  judge,
  judgedMetrics,
  type Plan,
  type Skew,
  skewsOf,
} from "../audit/index.js";
import { readRows } from "../dataset/index.js";
import { labelChoices, numbersOf, numberText, type Predictor, readPrompt, readShots } from "../evaluate/index.js";
import { compilePrompt } from "../prompt/index.js";
import { StillroomError } from "../support/errors.js";
import { EventRun } from "../support/event-run.js";
import type { Task } from "../task/index.js";
import { decodeEntry, hashTemplate, hashTokenizer, TeacherCache } from "../teach/index.js";
import type { Encoded } from "../tokens/index.js";
import { defaultMaxLength, encodeRows, hashRows } from "../train/index.js";
import { readTextRows } from "./text-rows.js";

/** What a teacher's answers to the training rows are uneven about. Intervals are 95 %. */
export interface TeacherAudit {
  /** Folder of the cache. */
  cache: string;
  /** SHA-256 of the teacher's file. */
  teacher: string;
  temperature: number;
  /** Rows that it was asked about and that have labels among its most likely tokens. */
  rows: number;
  /** Those of which no label is among them; of numbers, also those whose own is none that a label stands for. */
  silent: number;
  /** Probability that it gives to labels at all, in the mean over the rows; the probabilities below are shares of it. */
  mass: number;
  /** By group and label: what the teacher says beside what the rows' labels say. */
  skews: Skew[];
  /** Gaps between groups, as of a model, on the training rows. */
  groups: GroupTable[];
}

/** What a teacher said to the training rows, as judgements of them. */
type Told = Pick<TeacherAudit, "cache" | "teacher" | "temperature" | "rows" | "silent" | "mass"> & {
  judged: readonly Judged[];
};

/** Which cache is read. */
interface ToldOptions {
  cache: string;
  /** The file of texts that the teacher was asked about beside the rows. */
  texts?: string | undefined;
  /** The prompt file that the rows were asked by. */
  prompt?: string | undefined;
  strict?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Reads a teacher's cache of the task's training rows, and gives it free again. Throws "input" for a cache of other rows or texts, another prompt or another
 * tokeniser than the predictor's, and for labels that it cannot tell apart; "missing" without a cache.
 */
export async function readTold(
  given: Task,
  { model, job }: Predictor,
  { cache: folder, texts, prompt: file, strict = false, signal }: ToldOptions,
): Promise<Told> {
  const { task, prompt: asked } = await readPrompt(given, file);
  const prompt = compilePrompt(task, model.template);
  const read = (await readRows(task, "train", { strict, signal })).rows;
  const maxLength = Math.min(defaultMaxLength, model.info.contextLength);
  const { tokenizer } = model;
  const { examples } = await readShots(task, read, { prompt: asked, model, strict, signal });
  const encoding = { tokenizer, prompt, examples, maxLength, onLong: "truncate" as const, signal: signal ?? null };
  const { rows } = await encodeRows(read, encoding);
  const reading = readTextRows(texts ?? null, tokenizer, { maxLength, strict, signal: signal ?? null });
  // Which lines hold none was told when the teacher was asked.
  const further = (await new EventRun(reading).result).rows;
  const end = rows[0]?.answer.at(-1);
  const choices = labelChoices({ ...job, task, prompt });
  const numbers = numbersOf(job);
  const paths = choices.map(({ text, tokens }, label) => {
    return { text, tokens: [...tokens, end!], number: numbers?.[label] ?? null };
  });
  requireTold(paths, task);
  let own: readonly Encoded[] = rows;
  const cache = await TeacherCache.openWhole(
    folder,
    { tokenizer: hashTokenizer(tokenizer), template: hashTemplate(task, model) },
    (count) => {
      own = rows.slice(0, Math.max(0, count - further.length));
      const positions = [...own, ...further].map(({ answer }) => answer.length);
      return { rows: hashRows(own), texts: further.length > 0 ? hashRows(further) : null, positions };
    },
  );
  try {
    const { teacher, temperature } = cache.layout.manifest;
    const { judged, silent, mass } = answersIn(task, cache, own, paths);
    if (judged.length === 0) {
      const known = paths.map(({ text }) => text).join(", ");
      const why = `of none of its ${own.length} rows the answer is one of ${known} and the teacher gives any of them`;
      throw new StillroomError("input", `the cache ${cache.folder} says nothing of ${task.name}: ${why}`);
    }
    return { cache: cache.folder, teacher, temperature, rows: judged.length, silent, mass, judged };
  } finally {
    await cache.close();
  }
}

/** By group, what a teacher said. */
export function auditTold({ judged, ...told }: Told, plan: Plan): TeacherAudit {
  return {
    ...told,
    skews: skewsOf(plan, judged),
    groups: groupTables(plan, judged, judgedMetrics),
  };
}

/** A label's tokens, the end token behind them; of numbers, the one that it stands for. */
interface Path {
  text: string;
  tokens: readonly number[];
  number: number | null;
}

/** How many tokens two paths begin with alike. */
function forkOf({ tokens }: Path, other: Path): number {
  const differs = tokens.findIndex((token, at) => token !== other.tokens[at]);
  return differs < 0 ? tokens.length : differs;
}

/**
 * Throws "input" where two labels leave the way of a third by the same token: a cache has what was said along the right answer, and no token behind that by which
 * another label leaves it.
 */
function requireTold(paths: readonly Path[], { name }: Task): void {
  for (const right of paths) {
    const left = new Map<string, string>();
    for (const other of paths) {
      if (other === right) continue;
      const fork = forkOf(other, right);
      const by = `${fork} ${other.tokens[fork]}`;
      if (left.has(by)) {
        const message = `behind rows of ${right.text}, a teacher's cache cannot tell the labels ${left.get(by)} and ${other.text} of ${name} apart: they begin alike`;
        throw new StillroomError("input", message);
      }
      left.set(by, other.text);
    }
  }
}

/** The probability of each label by what was said along the right one's tokens: up to where it leaves them, and of the token by which it does. */
function labelProbabilities(said: readonly Map<number, number>[], right: Path, paths: readonly Path[]): number[] {
  const along = (tokens: number) =>
    right.tokens.slice(0, tokens).reduce((product, token, at) => product * (said[at]!.get(token) ?? 0), 1);
  const forks = paths.map((path) => (path === right ? -1 : forkOf(path, right)));
  const last = Math.max(...forks);
  return paths.map((path, label) => {
    const fork = forks[label]!;
    return path === right ? along(last + 1) : along(fork) * (said[fork]!.get(path.tokens[fork]!) ?? 0);
  });
}

function answersIn(task: Task, cache: TeacherCache, rows: readonly Encoded[], paths: readonly Path[]) {
  const judged: Judged[] = [];
  let mass = 0;
  for (const [place, { row, answer }] of rows.entries()) {
    const right = paths.find(({ text }) => text === row.answer);
    if (right === undefined) continue;
    const { topK, tail, entries, tails } = cache.read(Int32Array.of(place));
    const said = Array.from(answer, (_, at) => {
      const draw = tail === "sample" ? tails[at]! : 0;
      const own = Array.from(entries.subarray(at * topK, (at + 1) * topK), (entry) => decodeEntry(entry, draw));
      return new Map(own.map(({ token, probability }) => [token, probability]));
    });
    const own = labelProbabilities(said, right, paths);
    const total = own.reduce((sum, value) => sum + value, 0);
    mass += total / rows.length;
    if (total === 0) continue;
    const probabilities = Object.fromEntries(paths.map(({ text }, label) => [text, own[label]! / total]));
    const expected = paths.reduce((sum, { number }, label) => sum + (own[label]! / total) * (number ?? 0), 0);
    const likeliest = paths[own.indexOf(Math.max(...own))]!.text;
    const prediction = task.kind === "regress" ? numberText(expected) : likeliest;
    judged.push(judge(task, row, { index: row.index, answer: row.answer, prediction, probabilities }));
  }
  return { judged, silent: rows.length - judged.length, mass };
}
