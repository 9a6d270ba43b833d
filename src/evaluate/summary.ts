// From predictions to the numbers of an evaluation, each with its interval. Knows no model and no file.
import type { Task } from "../task/index.js";
import { bootstrapInterval, type Interval, meanOf } from "./intervals.js";
import { type ClassScore, classScores, confusionMatrix, logLosses, macroF1Of, matches } from "./metrics.js";
import type { Label, RowScore } from "./scoring.js";
import { exactMatch, tokenF1 } from "./text.js";

/** Metrics by name, with 95 % bootstrap intervals: accuracy, macro_f1, log_loss; for generate exact_match, f1. */
export type Metrics = Record<string, Interval>;

/** Counts (labels, labels): a row per answer, a column per prediction. */
export interface Confusion {
  labels: string[];
  counts: number[][];
}

export interface Summary {
  metrics: Metrics;
  /** null for generate. */
  confusion: Confusion | null;
  /** Scores of each label; null for generate. */
  classes: ClassScore[] | null;
}

/** Summarises at least one row. The same seed gives the same intervals. */
export function summarise(task: Task, rows: readonly RowScore[], labels: readonly Label[], seed: number): Summary {
  const answers = rows.map(({ answer }) => answer);
  const predictions = rows.map(({ prediction }) => prediction);
  const interval = (statistic: (rows: Int32Array) => number) => bootstrapInterval(rows.length, statistic, { seed });
  if (task.kind === "generate") {
    const overlaps = rows.map(({ answer, prediction }) => tokenF1(answer, prediction));
    const metrics = { exact_match: interval(meanOf(rightRows(task, rows))), f1: interval(meanOf(overlaps)) };
    return { metrics, confusion: null, classes: null };
  }
  const texts = labels.map(({ text }) => text);
  const probabilities = rows.map((row) => texts.map((text) => row.probabilities![text]!));
  return {
    metrics: {
      accuracy: interval(meanOf(rightRows(task, rows))),
      macro_f1: interval(macroF1Of(answers, predictions, texts)),
      log_loss: interval(meanOf(logLosses(answers, probabilities, texts))),
    },
    confusion: { labels: texts, counts: confusionMatrix(answers, predictions, texts) },
    classes: classScores(answers, predictions, texts),
  };
}

/** (rows) 1 where the prediction is right: the label, or for generate an exact match. */
export function rightRows(task: Task, rows: readonly RowScore[]): Float64Array {
  if (task.kind === "generate") return Float64Array.from(rows, (row) => exactMatch(row.answer, row.prediction));
  return matches(
    rows.map(({ answer }) => answer),
    rows.map(({ prediction }) => prediction),
  );
}
