// Rows to predictions: which rows fit, and what the model says to each. Chooses between head.ts, classify.ts and generate.ts;
// computes no metric (summary.ts).
import { performance } from "node:perf_hooks";
import { type Calibration, type Head, kindOfLoss } from "../adapter/index.js";
import { type BadRow, badRowText, labelsIn, placeOf, type Row, type SplitName } from "../dataset/index.js";
import type { Model } from "../model/index.js";
import { type CompiledPrompt, type Examples, promptOf } from "../prompt/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import type { NativeLora } from "../support/native.js";
import { counted } from "../support/words.js";
import type { Task, TaskKind } from "../task/index.js";
import { encodePrompt } from "../tokens/index.js";
import { applyCalibration } from "./calibrate.js";
import { classifyRows, labelTokens } from "./classify.js";
import { generateRows } from "./generate.js";
import { answerByHead } from "./head.js";

/** A label of a classify or multilabel task: as the data has it, and as the model answers it. */
export interface Label {
  value: string;
  text: string;
}

/** What is scored, and with what. */
export interface ScoringJob {
  model: Model;
  lora: NativeLora | null;
  task: Task;
  rows: readonly Row[];
  prompt: CompiledPrompt;
  /** Answered rows that stand before each prompt. */
  examples: Examples;
  /**
   * Contextual calibration (Zhao et al. 2021): label probabilities are divided by those of inputs without content behind these sets of examples. Default:
   * they stay as they are.
   */
  calibrateBehind?: readonly (readonly Row[])[] | undefined;
  /** What the outputs of the lora's own head stand for, where it has one: it answers, and no label's text is scored. */
  head?: Head | null | undefined;
  /** What is made of the answers before they are given. */
  calibration?: Calibration | null | undefined;
  /** For classify: the closed set of answers, at least two. For multilabel: what answers are made of. For regress without a head: the numbers on its scale. */
  labels: readonly Label[];
  /** Most tokens that go through the model at once (default: 2048, up to 6144 behind a long shared beginning); a longer row goes alone. */
  tokenBudget?: number | undefined;
  /** Default: it is an error that no row fits the context. */
  mayBeNone?: boolean | undefined;
  onProgress?: ((progress: ScoringProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface ScoringProgress {
  rows: number;
  totalRows: number;
  /** As RowScores.tokens, so far. */
  tokens: number;
  seconds: number;
}

/** What the model says to one row. */
export interface RowScore {
  /** Of the row in its source. */
  index: number;
  /** The text of the right answer; of a set of labels the list of their texts, as JSON and sorted. */
  answer: string;
  prediction: string;
  /** Label text → probability, summing to 1, but of a set of labels each by itself; null for generate, and for numbers that no labels stand for. */
  probabilities: Record<string, number> | null;
  /** Of a number: between which two it should be; absent where nothing says so. */
  interval?: [number, number];
  /** Whether the prediction is too unsure to be given; absent where there is no threshold. */
  open?: boolean;
}

export interface RowScores {
  /** In the order of the rows given, without those refused. */
  rows: RowScore[];
  /** Rows that do not fit the model's context or do not suit the template, or whose answer is no label. */
  refused: BadRow[];
  /** Tokens of the prompts, each as if it were alone, and of the answers that were scored or generated. */
  tokens: number;
  seconds: number;
}

/** A row whose prompt is in tokens. */
export interface EncodedPrompt {
  row: Row;
  tokens: Int32Array;
}

/** What head.ts, classify.ts and generate.ts give for a row. */
export interface Answered {
  prediction: string;
  probabilities: Record<string, number> | null;
  interval?: [number, number];
  open?: boolean;
}

/** Tells how far the work is, and stops it when asked to. */
export type Step = (rows: number, tokens: number) => void;

/** Scores rows with a model. Throws "input" when no row fits the context, but where `mayBeNone`; "cancelled" on abort. */
export async function evaluateRows(job: ScoringJob): Promise<RowScores> {
  const started = performance.now();
  const { fitting, refused } = fitRows(job);
  const done = { rows: refused.length, tokens: 0 };
  const seconds = () => (performance.now() - started) / 1000;
  const step: Step = (rows, tokens) => {
    done.rows += rows;
    done.tokens += tokens;
    job.onProgress?.({ rows: done.rows, totalRows: job.rows.length, tokens: done.tokens, seconds: seconds() });
    throwIfCancelled(job.signal, `scoring, after ${done.rows} of ${job.rows.length} rows`);
  };
  step(0, 0);
  const answered = await answer(job, fitting, step);
  const rows = fitting.map(({ row }, place) => ({
    ...{ index: row.index, answer: row.answer },
    ...applyCalibration(job.calibration, answered[place]!),
  }));
  return { rows, refused, tokens: done.tokens, seconds: seconds() };
}

function answer(job: ScoringJob, rows: readonly EncodedPrompt[], step: Step): Promise<Answered[]> {
  const { head, lora, task } = job;
  requireHead(head, job);
  if (head && lora) {
    const prompts = rows.map(({ tokens }) => tokens);
    return answerByHead({ ...job, lora, head }, prompts, step);
  }
  return task.kind === "generate" ? generateRows(job, rows, step) : classifyRows(job, rows, step);
}

/** Named by the option that takes its run. Throws "input" where a head answers another question than the task's, and where without one sets of labels are asked for, or numbers that no labels stand for. */
export function requireHead(
  head: Head | null | undefined,
  { task, labels }: Pick<ScoringJob, "task" | "labels">,
  option: "adapter" | "under" = "adapter",
): void {
  if (!head) {
    const why = headless(task, option);
    if (why === null) return;
    throw new StillroomError("input", `${task.name} is of kind ${task.kind}: ${why}`, { options: [option] });
  }
  const kind = kindOfLoss[head.loss];
  const asked = labels.map(({ text }) => text).sort();
  const known = [...(head.labels ?? asked)].sort();
  if (kind === task.kind && known.join("\n") === asked.join("\n")) return;
  const words = (of: TaskKind, texts: readonly string[]) => {
    const listed = `the labels ${texts.slice(0, 10).join(", ")}`;
    return { classify: listed, multilabel: `sets of ${listed}`, regress: "numbers", generate: "texts" }[of];
  };
  throw new StillroomError(
    "input",
    `the head of this adapter, trained on ${head.task}, gives ${words(kind, known)}; ${task.name} asks for ${words(task.kind, asked)}`,
  );
}

/** Why a task cannot be answered without a head; null where it can. */
export function headless({ kind, answer }: Task, option: "adapter" | "under" = "adapter"): string | null {
  if (kind === "regress" && answer.labels === undefined)
    return "a number needs a head (tune), or answer.labels in the task file: numbers on its scale, to be asked by";
  if (kind !== "multilabel") return null;
  return `a set of labels needs a head, which gives each label a probability of its own: tune it, and give its run as ${option}`;
}

/** The rows whose prompts and answers fit the model's context, in tokens, and why the others do not. Throws "input" when none fits, but where `mayBeNone`. */
export function fitRows(job: ScoringJob): { fitting: EncodedPrompt[]; refused: BadRow[] } {
  const { model, task, examples } = job;
  const context = model.info.contextLength;
  const known = new Set(job.labels.map(({ text }) => text));
  const fitting: EncodedPrompt[] = [];
  const refused: BadRow[] = [];
  const answerTokens = longestAnswer(job);
  const shotsOf = (row: Row) => (typeof examples === "function" ? examples(row) : examples).length;
  let shortest: EncodedPrompt | null = null;
  for (const row of job.rows) {
    const { file, line } = row;
    const stray = labelsIn(task.kind, row.answer).find((label) => !known.has(label));
    if (stray !== undefined) {
      refused.push({ file, line, reason: `the answer ${JSON.stringify(stray)} is none of the ${known.size} labels` });
      continue;
    }
    const prompt = promptOf(job.prompt, row, examples);
    if ("reason" in prompt) {
      refused.push(prompt);
      continue;
    }
    const tokens = encodePrompt(model.tokenizer, prompt);
    if (shortest === null || tokens.length < shortest.tokens.length) shortest = { row, tokens };
    if (tokens.length + answerTokens <= context) fitting.push({ row, tokens });
    else refused.push({ file, line, reason: tooLong(tokens.length, answerTokens, context, shotsOf(row)) });
  }
  if (fitting.length === 0 && shortest !== null && !job.mayBeNone) {
    const { row, tokens } = shortest;
    const shots = shotsOf(row);
    const reason = tooLong(tokens.length, answerTokens, context, shots);
    const remedy = shots > 0 ? "" : "; give shorter rows, or a model with a longer context";
    const which = `of the shortest of ${counted(job.rows.length, "row")}, ${placeOf(row)}`;
    throw new StillroomError("input", `no row fits ${model.info.path}: ${which}, ${reason}${remedy}`);
  }
  return { fitting, refused };
}

/** Throws "input" where none of the rows can be asked about, before a model answers any. */
export function requireGoodRow(job: ScoringJob, split: SplitName): void {
  const { fitting, refused } = fitRows(job);
  if (fitting.length === 0) throw noGoodRow(job.task, split, refused);
}

/** That a split has nothing to measure by. bad: its bad rows. */
export function noGoodRow({ name }: Task, split: SplitName, bad: readonly BadRow[]): StillroomError {
  const [first] = bad;
  const why = first ? `: the first of ${counted(bad.length, "bad row")} is ${badRowText(first)}` : "";
  const remedy = `mend the rows, or give others for data.${split}`;
  return new StillroomError("input", `${name} has no good row in its ${split} split${why}; ${remedy}`);
}

function tooLong(prompt: number, answer: number, context: number, shots: number): string {
  const remedy = shots > 0 ? `; use fewer than ${counted(shots, "shot")}` : "";
  return `the prompt has ${counted(prompt, "token")} and the answer up to ${answer}, the model's context ${context}${remedy}`;
}

/** Tokens to keep free behind a prompt. */
function longestAnswer(job: ScoringJob): number {
  if (job.head) return 0;
  if (job.task.kind === "generate") return job.task.maxTokens;
  return Math.max(0, ...job.labels.map(({ text }) => labelTokens(job, text).length));
}
