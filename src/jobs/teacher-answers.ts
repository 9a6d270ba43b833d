// The teacher's own answers in place of the data's: to which training rows it gives one that the task's metric finds right, and those to rows that have none,
// kept in a file of the run.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { labelsOf, type Row } from "../dataset/index.js";
import { decodeRows } from "../decode/index.js";
import {
  evaluateRows,
  type GivenPrompt,
  type RowScore,
  readShots,
  rightRows,
  stopsOf,
  textScores,
} from "../evaluate/index.js";
import { type CompiledPrompt, compilePrompt, type Examples, promptOf } from "../prompt/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { writeFileAtomic } from "../support/files.js";
import { Random } from "../support/random.js";
import { requireReal, requireShare, requireWhole, type Task } from "../task/index.js";
import type { Teacher } from "../teach/index.js";
import { encodePrompt } from "../tokens/index.js";

/** The rows stand in the hash by themselves. */
const noRows = { rows: "", texts: null };

/** What is in the file. */
interface Kept {
  /** Of the teacher, its prompt and the rows. */
  facts: string;
  /** [index of the row, an answer of the teacher's] of those that are right, or have nothing to be right by. */
  answers: [number, string][];
  /** SHA-256 of both. */
  sha256: string;
}

/** The part of {@link DistillOptions} that is about whose answers are learnt. */
export interface AnswerOptions {
  /**
   * The training rows' answers: the data's (default), or the teacher's own greedy ones to the rows that it answers rightly, and no other rows: with the row's label, or of a
   * task of kind generate with a text for which the task's metric is at least `answerScore`. Rows whose answer is missing or empty, which are bad rows otherwise, are
   * learnt with the teacher's, whatever it is.
   */
  answers?: "data" | "teacher" | undefined;
  /** With answers "teacher" and a task of kind generate: from 0 (all of them) to 1 (default). */
  answerScore?: number | undefined;
  /**
   * With answers "teacher" and a task of kind generate: so many answers are drawn of each row in place of the greedy one, and those that are right and differ
   * are learnt, each as a row of its own (at most 1000; default 0).
   */
  samples?: number | undefined;
  /** Of these draws: 0.001 to 100 (default 1). */
  sampleTemperature?: number | undefined;
  /** Of these draws: the fewest tokens whose probability reaches this, above 0 to 1 (default 1). */
  sampleTopP?: number | undefined;
}

/** Whose answers are learnt, with the defaults filled in. */
export type AnswerSettings = { [name in keyof AnswerOptions]-?: NonNullable<AnswerOptions[name]> };

/** Of one row: they are drawn and held together. */
const mostSamples = 1000;

/** Checks every option. Throws "usage". */
export function answerSettings(options: AnswerOptions): AnswerSettings {
  const { answers = "data", answerScore = 1, samples = 0, sampleTemperature = 1, sampleTopP = 1 } = options;
  if (!["data", "teacher"].includes(answers)) throw unexpected("data or teacher", "answers", answers);
  requireWhole("samples", samples, 0);
  if (samples > mostSamples) throw unexpected(`a whole number from 0 to ${mostSamples}`, "samples", samples);
  if (samples > 0 && answers !== "teacher") throw unexpected("0 without answers of the teacher", "samples", samples);
  requireShare("answerScore", answerScore);
  if (answerScore !== 1 && answers !== "teacher")
    throw unexpected("1 without answers of the teacher", "answerScore", answerScore);
  const tempered = (value: number) => value >= 0.001 && value <= 100;
  requireReal("sampleTemperature", sampleTemperature, "a number from 0.001 to 100", tempered);
  requireReal("sampleTopP", sampleTopP, "a number above 0 up to 1", (share) => share > 0 && share <= 1);
  for (const [name, value] of Object.entries({ sampleTemperature, sampleTopP })) {
    if (samples > 0 || value === 1) continue;
    const message = `${name} is of answers that are drawn, and none are: give samples too, or leave ${name} out`;
    throw new StillroomError("usage", message, { options: [name, "samples"] });
  }
  return { answers, answerScore, samples, sampleTemperature, sampleTopP };
}

/** The options that repeat a run, for run.json. */
export function answerOptions({ answers, answerScore, samples, ...draws }: AnswerSettings): AnswerOptions {
  return { answers, ...(answerScore !== 1 && { answerScore }), ...(samples > 0 && { samples, ...draws }) };
}

/** Training rows by what became of the teacher's answers to them. */
export interface AnsweredRows {
  /** Rows that have an answer of their own, and to how many of these one of the teacher's is right. */
  labelled: number;
  right: number;
  /** Rows without one. */
  unlabelled: number;
  /** Answers that are learnt, each as a row: of a row that several were drawn for, there may be more than one. */
  learnt: number;
}

/**
 * The rows that the teacher answers rightly, and those without an answer, with its answers: the most likely one, or those that differ among several that were drawn. A
 * file that is there is read where it is of the same teacher and rows.
 * Throws "input" where there is none, for labels that nobody names, and for an adapter on a teacher that llama.cpp runs.
 */
export async function teacherAnswers(
  task: Task,
  teacher: Teacher,
  rows: readonly Row[],
  {
    file,
    signal,
    prompt: asking,
    seed,
    tokenBudget,
    ...settings
  }: {
    file: string;
    signal: AbortSignal | null;
    prompt: GivenPrompt;
    seed: number;
    tokenBudget: number | undefined;
  } & AnswerSettings,
): Promise<{ rows: Row[]; counts: AnsweredRows }> {
  const { model, lora, options } = teacher;
  if (options.adapter !== null && !model.tunable) {
    throw new StillroomError(
      "input",
      `${model.info.path} is run by llama.cpp: its own answers are taken without an adapter`,
    );
  }
  const { answerScore, samples, sampleTemperature: temperature, sampleTopP: topP } = settings;
  const drawn = samples > 0;
  const ofTexts = [
    { option: "samples", value: samples, usual: 0, why: "only texts are drawn" },
    { option: "answerScore", value: answerScore, usual: 1, why: "only texts are more or less right" },
  ];
  for (const { option, value, usual, why } of ofTexts) {
    if (value === usual || task.kind === "generate") continue;
    const { message, options } = unexpected(`${usual}`, option, value);
    throw new StillroomError("usage", `${message}: ${task.name} is of kind ${task.kind}, ${why}`, { options });
  }
  const said = rows.map(({ fields, answer }) => [fields, answer]);
  const unlabelled = new Set(rows.filter(({ answer }) => answer === "").map(({ index }) => index));
  const behind = asking ? [asking.content.examples ?? asking.content] : [];
  const facts = sha256([
    teacher.facts(task, noRows),
    said,
    ...(drawn ? [{ samples, temperature, topP, seed }] : []),
    ...(task.kind === "generate" ? [task.metric, answerScore] : []),
    ...behind,
  ]);
  const before = await read(file, facts);
  const answers = before ?? (await ask());
  if (before === null) {
    const kept: Kept = { facts, answers, sha256: sha256([facts, answers]) };
    await writeFileAtomic(file, `${JSON.stringify(kept)}\n`);
  }
  if (answers.length === 0) {
    throw new StillroomError(
      "input",
      `the teacher answers none of the ${rows.length} training rows of ${task.name} rightly${task.kind === "generate" ? ` (${task.metric} of at least ${answerScore})` : ""}`,
    );
  }
  const byIndex = new Map(rows.map((row) => [row.index, row]));
  const learnt = new Set(answers.map(([index]) => index));
  const labelled = rows.length - unlabelled.size;
  const right = [...learnt].filter((index) => !unlabelled.has(index)).length;
  return {
    rows: answers.map(([index, answer]) => ({ ...byIndex.get(index)!, answer })),
    counts: { labelled, right, unlabelled: unlabelled.size, learnt: answers.length },
  };

  async function ask(): Promise<Kept["answers"]> {
    const prompt = compilePrompt(task, model.template);
    const labels = task.kind === "classify" ? labelsOf(task, rows) : [];
    if (task.kind === "classify" && labels.length === 0) {
      const message = `no training row of ${task.name} has a label, and the task file names none: expected them as answer.labels`;
      throw new StillroomError("input", message);
    }
    // Scoring takes no row whose answer is none of the labels; of these it is not looked at.
    const asked = rows.map((row) => (row.answer === "" ? { ...row, answer: labels[0]?.text ?? "" } : row));
    const shown = await readShots(task, asked, { prompt: asking, model, signal: signal ?? undefined });
    if (drawn) return draw(prompt, asked, shown.examples);
    const job = { model, lora, task, rows: asked, prompt, ...shown, labels };
    const { rows: scores } = await evaluateRows({ ...job, tokenBudget, ...(signal && { signal }) });
    return kept(scores);
  }

  function kept(scores: readonly RowScore[]): Kept["answers"] {
    const right =
      task.kind === "generate"
        ? textScores(task.metric, scores).map((score) => score >= answerScore)
        : Array.from(rightRows(task, scores), Boolean);
    const learnt = scores.filter(({ index, prediction }, place) =>
      unlabelled.has(index) ? prediction !== "" : right[place],
    );
    return learnt.map(({ index, prediction }) => [index, prediction]);
  }

  async function draw(prompt: CompiledPrompt, asked: readonly Row[], examples: Examples): Promise<Kept["answers"]> {
    const common = { maxTokens: task.maxTokens, stop: stopsOf(task), temperature, topP };
    const draws = asked.flatMap((row) => {
      const text = promptOf(prompt, row, examples);
      if ("reason" in text) return [];
      const tokens = encodePrompt(model.tokenizer, text);
      const random = new Random(seed, row.index);
      return Array.from({ length: samples }, () => ({
        row,
        request: { ...common, prompt: tokens, seed: random.bits() },
      }));
    });
    const longest = draws.reduce((most, { request }) => Math.max(most, request.prompt.length), 0) + task.maxTokens;
    const texts = new Array<string>(draws.length);
    const requests = draws.map(({ request }) => request);
    for await (const { index, text, ended, reason } of decodeRows(model, requests, {
      lora,
      longest,
      ...(signal && { signal }),
    })) {
      if (ended === "refused") throw new StillroomError("input", `the teacher cannot answer a row: ${reason}`);
      texts[index] = text.trim();
    }
    const scores = draws.map(({ row }, place) => ({
      index: row.index,
      answer: row.answer,
      prediction: texts[place]!,
      probabilities: null,
    }));
    return [...new Map(kept(scores).map((answer) => [JSON.stringify(answer), answer])).values()];
  }
}

/** null where there is none, of something else, or damaged: it is made again. */
async function read(file: string, facts: string): Promise<Kept["answers"] | null> {
  try {
    const kept = JSON.parse(await readFile(file, "utf8")) as Kept;
    return kept.facts === facts && kept.sha256 === sha256([facts, kept.answers]) ? kept.answers : null;
  } catch {
    return null;
  }
}

function sha256(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}
