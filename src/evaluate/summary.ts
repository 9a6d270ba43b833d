// From predictions to the numbers of an evaluation, each with its interval. Knows no model and no file.
import { StillroomError } from "../support/errors.js";
import type { Task } from "../task/index.js";
import { brierScores, calibrationErrorOf, type ReliabilityBin, reliability, setCalibration } from "./calibration.js";
import { type Estimate, estimates, shareOf } from "./estimates.js";
import { meanOf, type Statistic } from "./intervals.js";
import { type ClassScore, classScores, confusionMatrix, f1Of, logLosses, matches } from "./metrics.js";
import { regressionStatistics } from "./regression.js";
import { rougeL } from "./rouge.js";
import type { Label, RowScore } from "./scoring.js";
import { labelScores, setStatistics, setTable } from "./set-metrics.js";
import { exactMatch, tokenF1 } from "./text.js";

/**
 * Metrics by name, with 95 % intervals: accuracy, macro_f1, weighted_f1, log_loss, brier, ece; for generate exact_match, f1,
 * rouge_l; for multilabel micro_f1, macro_f1, subset_accuracy, hamming_loss, average_precision, log_loss, brier, ece; with a threshold answered, answered_accuracy (left out where none is); for regress mae, rmse, pearson, spearman, r2, and coverage and interval_width where predictions have intervals.
 */
export type Metrics = Record<string, Estimate>;

/** Of these those that head no task, where the rows have them. */
export const furtherMetrics = ["ece", "answered", "answered_accuracy", "coverage", "interval_width"] as const;

/** Counts (labels, labels): a row per answer, a column per prediction. */
export interface Confusion {
  labels: string[];
  counts: number[][];
}

export interface Summary {
  metrics: Metrics;
  /** null but for classify. */
  confusion: Confusion | null;
  /** Scores of each label; null but for classify and multilabel. */
  classes: ClassScore[] | null;
  /** The bins of a reliability diagram that hold rows; null but for classify and multilabel. */
  reliability: ReliabilityBin[] | null;
}

/** Summarises at least one row. The same seed gives the same intervals. */
export function summarise(task: Task, rows: readonly RowScore[], labels: readonly Label[], seed: number): Summary {
  const metrics = estimates(rows.length, statisticsOf(task, rows, labels), seed);
  if (task.kind === "multilabel") {
    const table = setTable(rows, labels.map(textOf));
    const { bins } = setCalibration(table.truth, table.probabilities);
    return { metrics, confusion: null, classes: labelScores(table, seed), reliability: bins };
  }
  if (task.kind !== "classify") return { metrics, confusion: null, classes: null, reliability: null };
  const { answers, predictions, texts, probabilities } = columnsOf(rows, labels);
  return {
    metrics,
    confusion: { labels: texts, counts: confusionMatrix(answers, predictions, texts) },
    classes: classScores(answers, predictions, texts),
    reliability: reliability(answers, probabilities, texts),
  };
}

const textMetrics: Record<string, typeof tokenF1> = { exact_match: exactMatch, f1: tokenF1, rouge_l: rougeL };

/** Of each row of a generate task what one of its metrics says. */
export function textScores(metric: string, rows: readonly Pick<RowScore, "answer" | "prediction">[]): number[] {
  return rows.map(({ answer, prediction }) => textMetrics[metric]!(answer, prediction));
}

/** Every metric of a task's rows, as a function of the rows looked at. */
export function statisticsOf(
  task: Task,
  rows: readonly RowScore[],
  labels: readonly Label[],
): Record<string, Statistic> {
  if (task.kind === "generate") {
    return Object.fromEntries(Object.keys(textMetrics).map((name) => [name, shareOf(textScores(name, rows))]));
  }
  if (task.kind === "regress") {
    const numbers = (name: "answer" | "prediction") => Float64Array.from(rows, (row) => Number(row[name]));
    return { ...regressionStatistics(numbers("answer"), numbers("prediction")), ...intervalStatistics(rows) };
  }
  if (task.kind === "multilabel") {
    const table = setTable(rows, labels.map(textOf));
    return { ...setStatistics(table), ece: setCalibration(table.truth, table.probabilities).error };
  }
  const { answers, predictions, texts, probabilities } = columnsOf(rows, labels);
  return {
    accuracy: shareOf(rightRows(task, rows)),
    macro_f1: f1Of("macro", answers, predictions, texts),
    weighted_f1: f1Of("weighted", answers, predictions, texts),
    log_loss: meanOf(logLosses(answers, probabilities, texts)),
    brier: meanOf(brierScores(answers, probabilities, texts)),
    ece: calibrationErrorOf(answers, probabilities, texts),
    ...openStatistics(rows, rightRows(task, rows)),
  };
}

/** How many answers are given, and how many of these are right, if any is given; nothing where there is no threshold. */
function openStatistics(scores: readonly RowScore[], right: Float64Array): Record<string, Statistic> {
  if (scores.some(({ open }) => open === undefined)) return {};
  const given = scores.map(({ open }) => Number(!open));
  if (!given.includes(1)) return { answered: shareOf(given) };
  const rightOfGiven = given.map((one, row) => (one === 1 ? right[row]! : null));
  return { answered: shareOf(given), answered_accuracy: shareOf(rightOfGiven) };
}

/** Whether the right number lies within its prediction's interval; null without one. */
export function withinInterval({ answer, interval }: RowScore): boolean | null {
  if (interval === undefined) return null;
  return interval[0] <= Number(answer) && Number(answer) <= interval[1];
}

/** How many answers lie within their intervals, and how wide these are; nothing where rows have none. */
function intervalStatistics(rows: readonly RowScore[]): Record<string, Statistic> {
  const intervals = rows.flatMap(({ interval }) => (interval ? [interval] : []));
  if (intervals.length < rows.length) return {};
  const within = rows.map((row) => Number(withinInterval(row)));
  return { coverage: shareOf(within), interval_width: meanOf(intervals.map(([low, high]) => high - low)) };
}

const textOf = ({ text }: Label): string => text;

function columnsOf(rows: readonly RowScore[], labels: readonly Label[]) {
  const texts = labels.map(textOf);
  return {
    texts,
    answers: rows.map(({ answer }) => answer),
    predictions: rows.map(({ prediction }) => prediction),
    probabilities: rows.map((row) => texts.map((text) => row.probabilities![text]!)),
  };
}

/** (rows) 1 where the prediction is right: the label, the set of labels as a whole, or for generate an exact match. Numbers are not right or wrong: "usage" for regress. */
export function rightRows(task: Task, rows: readonly RowScore[]): Float64Array {
  if (task.kind === "regress")
    throw new StillroomError(
      "usage",
      `${task.name} is of kind regress: its predictions are nearer or farther, not right or wrong`,
    );
  if (task.kind === "generate") return Float64Array.from(rows, (row) => exactMatch(row.answer, row.prediction));
  return matches(
    rows.map(({ answer }) => answer),
    rows.map(({ prediction }) => prediction),
  );
}
