// The second predictor of a comparison: from a predictions file or from another model, row by row. Owns the format of the
// predictions file.
import { readFile, stat } from "node:fs/promises";
import { type Model, openModel } from "../model/index.js";
import { StillroomError } from "../support/errors.js";
import { cannotRead, writeFileAtomic } from "../support/files.js";
import type { Task } from "../task/index.js";
import { mcnemar } from "./compare.js";
import type { EvaluateOptions } from "./evaluate.js";
import { evaluateRows, fitRows, type Label, type RowScore, type ScoringJob } from "./scoring.js";
import { type Metrics, rightRows, summarise } from "./summary.js";

/** A second predictor on the same rows. */
export interface Against {
  /** As given: a predictions file, a path or a URI. */
  against: string;
  rows: number;
  metrics: Metrics;
  /** Rows that only the first predictor has right. */
  only_first: number;
  /** Rows that only the second has right. */
  only_second: number;
  /** McNemar's exact two-sided p-value: how likely so unequal counts are between equally good predictors. */
  p_value: number;
}

export interface Comparison {
  task: Task;
  labels: readonly Label[];
  seed: number;
  /** The rows as the first predictor answered them. */
  first: readonly RowScore[];
}

/** The second of a comparison, found fit for it before anything was scored: its answers to the rows, and the end of it. */
export interface Second {
  answers(): Promise<readonly RowScore[]>;
  close(): Promise<void>;
}

/**
 * Opens a predictions file (.jsonl) or a model, and looks whether it is of the rows that the first predictor will answer.
 * Throws "usage" for a folder, "missing", "input" or "io", before the long work.
 *
 * @param jobFor - what is to be scored, for a given model
 */
export async function openSecond(
  against: string,
  jobFor: (model: Model) => ScoringJob,
  first: Model,
  options: EvaluateOptions,
): Promise<Second> {
  const expected = fitRows(jobFor(first)).fitting.map(({ row }) => row);
  if (against.endsWith(".jsonl")) {
    const rows = await readPredictions(against);
    requireProbabilities(against, pairRows(against, expected, rows), jobFor(first).labels);
    return { answers: async () => rows, close: async () => undefined };
  }
  const { threads, signal, onDownload } = options;
  if ((await stat(against).catch(() => null))?.isDirectory())
    throw new StillroomError(
      "usage",
      `against takes a model or a predictions file, and ${against} is a folder: compare takes runs`,
      { options: ["against"] },
    );
  const model = await openModel(against, { threads, signal, onDownload });
  try {
    const job = jobFor(model);
    const fitting = fitRows(job).fitting.map(({ row }) => row);
    pairRows(against, expected, fitting);
    return { answers: async () => (await evaluateRows(job)).rows, close: () => model.close() };
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** Compares with what a second predictor answered. Throws "input" when the rows are not the same. */
export function compareWith(against: string, second: readonly RowScore[], comparison: Comparison): Against {
  const { task, labels, seed, first } = comparison;
  const paired = pairRows(against, first, second);
  const test = mcnemar(rightRows(task, first), rightRows(task, paired));
  return {
    against,
    rows: paired.length,
    metrics: summarise(task, paired, labels, seed).metrics,
    only_first: test.onlyFirst,
    only_second: test.onlySecond,
    p_value: test.exact,
  };
}

/** Of the second's rows those of the first, in its order. */
function pairRows<T extends Answered>(against: string, first: readonly Answered[], second: readonly T[]): T[] {
  const byIndex = new Map(second.map((row) => [row.index, row]));
  return first.map((row) => {
    const other = byIndex.get(row.index);
    if (other?.answer === row.answer) return other;
    const found = other ? `the answer ${JSON.stringify(other.answer)}` : "nothing";
    throw new StillroomError(
      "input",
      `${against} is of other rows: expected the answer ${JSON.stringify(row.answer)} for row ${row.index}, received ${found}`,
    );
  });
}

type Answered = Pick<RowScore, "index" | "answer">;

/** Of a classify task every prediction has a probability for each label, as its metrics need it. */
function requireProbabilities(against: string, rows: readonly RowScore[], labels: readonly Label[]): void {
  const texts = labels.map(({ text }) => text);
  for (const { index, probabilities } of rows) {
    if (labels.length === 0 || texts.every((text) => Object.hasOwn(probabilities ?? {}, text))) continue;
    throw new StillroomError("input", `${against}, row ${index}: expected probabilities of ${texts.join(", ")}`);
  }
}

/** One JSON object a line: index, answer, prediction, probabilities, and of numbers the interval where there is one. Throws "io". */
export async function writePredictions(file: string, rows: readonly RowScore[]): Promise<void> {
  await writeFileAtomic(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

/** Reads what writePredictions wrote. Throws "missing", or "input" with file and line. */
export async function readPredictions(file: string): Promise<RowScore[]> {
  const text = await readFile(file, "utf8").catch((error) => cannotRead(file, error));
  const rows: RowScore[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() !== "") rows.push(parsePrediction(line, `${file}:${index + 1}`));
  }
  return rows;
}

function parsePrediction(line: string, where: string): RowScore {
  try {
    const { index, answer, prediction, probabilities, interval, open } = JSON.parse(line) as RowScore;
    const valid = Number.isSafeInteger(index) && typeof answer === "string" && typeof prediction === "string";
    if (valid && isDistribution(probabilities) && (interval === undefined || isInterval(interval)))
      return {
        ...{ index, answer, prediction, probabilities, ...(interval && { interval }) },
        ...(typeof open === "boolean" && { open }),
      };
  } catch {
    // Falls through to the one message for a line that writePredictions did not write.
  }
  throw new StillroomError(
    "input",
    `${where}: expected a line of a predictions file (index, answer, prediction, probabilities)`,
  );
}

function isInterval(value: unknown): value is NonNullable<RowScore["interval"]> {
  return Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);
}

function isDistribution(value: unknown): value is RowScore["probabilities"] {
  if (value === null) return true;
  return (
    typeof value === "object" && Object.values(value as object).every((item) => typeof item === "number" && item >= 0)
  );
}
