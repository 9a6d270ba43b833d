// What predicted sets of labels are worth: scikit-learn's multilabel metrics, as functions of the rows looked at. Knows sets and probabilities; no model and no task.
import { labelsOfSet } from "../dataset/index.js";
import { endsOf, estimates, shareOf } from "./estimates.js";
import { meanOf, type Statistic } from "./intervals.js";
import { type ClassScore, ratio, surprise } from "./metrics.js";
import type { RowScore } from "./scoring.js";

/** (rows, labels): 1 where the label is in the right answer, 1 where it is in the predicted one, and its probability. */
interface SetTable {
  labels: readonly string[];
  truth: Uint8Array[];
  predicted: Uint8Array[];
  probabilities: Float64Array[];
}

/** The table of predictions. Throws "input" where an answer or a prediction is no set. */
export function setTable(rows: readonly RowScore[], labels: readonly string[]): SetTable {
  const flags = (text: string) => {
    const own = new Set(labelsOfSet(text));
    return Uint8Array.from(labels, (label) => Number(own.has(label)));
  };
  return {
    labels,
    truth: rows.map(({ answer }) => flags(answer)),
    predicted: rows.map(({ prediction }) => flags(prediction)),
    probabilities: rows.map(({ probabilities }) => Float64Array.from(labels, (label) => probabilities![label]!)),
  };
}

/**
 * Every metric, as a function of the rows looked at. micro_f1 and macro_f1 are scikit-learn's f1_score, 0 where nothing is to be found and nothing was given;
 * macro_f1 is the mean over the labels that occur among the answers or the predictions (zero_division=nan), average_precision that of
 * average_precision_score over those that occur among the answers. subset_accuracy is the share of rows whose set is right as a whole, hamming_loss the share of
 * wrong ones among all decisions for or against a label, log_loss and brier are means over these.
 */
export function setStatistics(table: SetTable): Record<string, Statistic> {
  const { truth, predicted, probabilities, labels } = table;
  const perRow = (of: (right: number, given: number, p: number) => number) =>
    truth.map((own, row) => {
      const sum = own.reduce(
        (all, right, label) => all + of(right, predicted[row]![label]!, probabilities[row]![label]!),
        0,
      );
      return sum / labels.length;
    });
  const wrong = perRow((right, given) => Number(right !== given));
  const precisions = averagePrecisions(table);
  return {
    micro_f1: (rows) => {
      const { hits, seen } = countsOf(table, rows);
      return ratio(2 * sumOf(hits), sumOf(seen));
    },
    macro_f1: (rows) => {
      const { hits, seen } = countsOf(table, rows);
      return meanOfKnown(hits.map((count, label) => (2 * count) / seen[label]!));
    },
    subset_accuracy: shareOf(wrong.map((share) => Number(share === 0))),
    hamming_loss: shareOf(wrong),
    average_precision: (rows) => meanOfKnown(precisions(rows)),
    log_loss: meanOf(perRow((right, _, p) => surprise(right ? p : 1 - p))),
    brier: meanOf(perRow((right, _, p) => (p - right) ** 2)),
  };
}

/** Each label by itself, its F1 with a 95 % interval where there is one. The same seed gives the same intervals. */
export function labelScores(table: SetTable, seed: number): ClassScore[] {
  const { labels, truth, predicted } = table;
  const all = Int32Array.from(truth.keys());
  const precisions = averagePrecisions(table)(all);
  const f1Of =
    (label: number): Statistic =>
    (rows) => {
      let [hits, seen] = [0, 0];
      for (const row of rows) {
        const [right, given] = [truth[row]![label]!, predicted[row]![label]!];
        hits += right & given;
        seen += right + given;
      }
      return ratio(2 * hits, seen);
    };
  const statistics = Object.fromEntries(labels.map((_, label) => [label, f1Of(label)]));
  const f1 = estimates(truth.length, statistics, seed);
  const { hits, seen, support } = countsOf(table, all);
  return labels.map((name, label) => ({
    label: name,
    precision: ratio(hits[label]!, seen[label]! - support[label]!),
    recall: ratio(hits[label]!, support[label]!),
    f1: f1[label]!.value,
    support: support[label]!,
    f1_interval: endsOf(f1[label]!),
    average_precision: support[label] === 0 ? null : precisions[label]!,
  }));
}

/** By label: how often it was right and given, how often in the answer, and how often in either, counted twice where in both. */
function countsOf({ labels, truth, predicted }: SetTable, rows: Int32Array) {
  const zeros = () => new Float64Array(labels.length);
  const [hits, support, seen] = [zeros(), zeros(), zeros()];
  for (const row of rows) {
    const [own, given] = [truth[row]!, predicted[row]!];
    for (let label = 0; label < labels.length; label++) {
      hits[label]! += own[label]! & given[label]!;
      support[label]! += own[label]!;
      seen[label]! += own[label]! + given[label]!;
    }
  }
  return { hits, support, seen };
}

/**
 * By label, the sum over thresholds of the precision there times the recall that it adds; NaN for a label that no row looked at has. The order of the
 * probabilities is found once.
 */
function averagePrecisions({ labels, truth, probabilities }: SetTable): (rows: Int32Array) => Float64Array {
  const orders = labels.map((_, label) => {
    const p = Float64Array.from(probabilities, (given) => given[label]!);
    const order = Int32Array.from(truth.keys()).sort((a, b) => p[b]! - p[a]!);
    return { order, last: Uint8Array.from(order, (row, place) => Number(p[order[place + 1]!] !== p[row])) };
  });
  return (rows) => {
    const times = new Int32Array(truth.length);
    for (const row of rows) times[row]!++;
    return Float64Array.from(orders, ({ order, last }, label) => {
      let [given, hits, before, sum] = [0, 0, 0, 0];
      for (let place = 0; place < order.length; place++) {
        const row = order[place]!;
        given += times[row]!;
        hits += times[row]! * truth[row]![label]!;
        if (last[place] === 0 || hits === before) continue;
        sum += ((hits - before) * hits) / given;
        before = hits;
      }
      return sum / hits;
    });
  };
}

function sumOf(counts: Float64Array): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** The mean of what is a number, and not 0 / 0; 0 where nothing is. */
function meanOfKnown(values: Float64Array): number {
  const known = values.filter((value) => !Number.isNaN(value));
  return ratio(sumOf(known), known.length);
}
