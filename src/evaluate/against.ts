// The second predictor of a comparison: from a predictions file or from another model, row by row. Owns the format of the
// predictions file.
import { readFile } from "node:fs/promises";
import { type Model, openModel } from "../model/index.js";
import { StillroomError } from "../support/errors.js";
import { writeFileAtomic } from "../support/files.js";
import type { Task } from "../task/index.js";
import { mcnemar } from "./compare.js";
import type { EvaluateOptions } from "./evaluate.js";
import type { Label, RowScore, RowScores } from "./scoring.js";
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
  first: readonly RowScore[];
  score: (model: Model, lora: null) => Promise<RowScores>;
  options: EvaluateOptions;
}

/** Compares with a predictions file (.jsonl) or a model. Throws "input" when the rows are not the same. */
export async function compareWith(against: string, comparison: Comparison): Promise<Against> {
  const { task, labels, seed, first } = comparison;
  const second = against.endsWith(".jsonl") ? await readPredictions(against) : await scoreOther(against, comparison);
  const byIndex = new Map(second.map((row) => [row.index, row]));
  const paired = first.map((row) => {
    const other = byIndex.get(row.index);
    if (other?.answer === row.answer) return other;
    const found = other ? `the answer ${JSON.stringify(other.answer)}` : "nothing";
    throw new StillroomError(
      "input",
      `${against} is of other rows: expected the answer ${JSON.stringify(row.answer)} for row ${row.index}, received ${found}`,
    );
  });
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

async function scoreOther(against: string, { score, options }: Comparison): Promise<RowScore[]> {
  const { threads, signal, onDownload } = options;
  const model = await openModel(against, { threads, signal, onDownload });
  try {
    return (await score(model, null)).rows;
  } finally {
    await model.close();
  }
}

/** One JSON object a line: index, answer, prediction, probabilities. Throws "io". */
export async function writePredictions(file: string, rows: readonly RowScore[]): Promise<void> {
  await writeFileAtomic(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

/** Reads what writePredictions wrote. Throws "missing", or "input" with file and line. */
export async function readPredictions(file: string): Promise<RowScore[]> {
  const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    throw new StillroomError(cause.code === "ENOENT" ? "missing" : "io", `cannot read ${file}: ${cause.message}`, {
      cause,
    });
  });
  const rows: RowScore[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() !== "") rows.push(parsePrediction(line, `${file}:${index + 1}`));
  }
  return rows;
}

function parsePrediction(line: string, where: string): RowScore {
  try {
    const { index, answer, prediction, probabilities } = JSON.parse(line) as RowScore;
    const valid = Number.isSafeInteger(index) && typeof answer === "string" && typeof prediction === "string";
    if (valid && isDistribution(probabilities)) return { index, answer, prediction, probabilities };
  } catch {
    // Falls through to the one message for a line that writePredictions did not write.
  }
  throw new StillroomError(
    "input",
    `${where}: expected a line of a predictions file (index, answer, prediction, probabilities)`,
  );
}

function isDistribution(value: unknown): value is RowScore["probabilities"] {
  if (value === null) return true;
  return (
    typeof value === "object" && Object.values(value as object).every((item) => typeof item === "number" && item >= 0)
  );
}
