// The gate of an export: run-time adapter, merged and quantised model on the same held-out rows. Says which step lost what;
// writes nothing.
import { loadCalibration, loadHead } from "../adapter/index.js";
import { type BadRow, labelsOf, type Row, readRows } from "../dataset/index.js";
import { type Estimate, evaluateRows, noGoodRow, type RowScores, readShots, summarise } from "../evaluate/index.js";
import type { Model } from "../model/index.js";
import { compilePrompt } from "../prompt/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import type { NativeBatch, NativeLora } from "../support/native.js";
import { counted } from "../support/words.js";
import { hasLabels, type Task } from "../task/index.js";
import { changeBetween, digits, doubtOf, harmOf, type MetricChange } from "./drop.js";
import type { ExportSettings } from "./options.js";
import { answerBatches } from "./rows.js";

/** What the gate found, in the fields of `stillroom export --json`. */
export interface Gate {
  passed: boolean;
  /** One sentence for each bound that a step went past. */
  failures: string[];
  /** One sentence for each step that the rows are too few or too alike to judge. */
  doubts: string[];
  split: "validation" | "test";
  rows: number;
  /** Bad rows, left out. */
  errors: number;
  /** Positions whose next-token distributions were compared: the answers' tokens; 0 under a head, which says none. */
  positions: number;
  /** Mean over the positions, in nats; adapter_merged is null without an adapter, merged_quantized without positions. */
  kl: { adapter_merged: number | null; merged_quantized: number | null };
  /** Share of positions where the merged and the quantised model have the same most likely token; null without positions. */
  top1_agreement: number | null;
  /** The same of the run-time adapter and the merged model; null without an adapter. */
  top1_agreement_merged: number | null;
  /** The task's metric of the three; adapter is null without one, and merged is then the model as it was given. */
  metric: { name: string; adapter: Estimate | null; merged: Estimate; quantized: Estimate };
  /** What each step did to it; adapter_merged is null without an adapter. */
  changes: { adapter_merged: MetricChange | null; merged_quantized: MetricChange };
  /** What applied; merged_quantized_kl is null where quantising had none. */
  bounds: { adapter_merged_kl: number; merged_quantized_kl: number | null; metric_drop: number };
}

/** The models that the gate compares; merged is the base where there is no adapter. */
export interface GateModels {
  base: Model;
  lora: NativeLora | null;
  merged: Model;
  quantized: Model;
  /** What the two are run under; null for nothing. */
  under: { merged: NativeLora; quantized: NativeLora } | null;
}

/** Compares the models on a task's rows. Throws "input" for a task without held-out rows, "cancelled" on abort. */
export async function runGate(task: Task, models: GateModels, settings: ExportSettings): Promise<Gate> {
  const { rows, bad, split, labels } = await heldOut(task, settings);
  const [head, calibration] = [await loadHead(settings.under), await loadCalibration(settings.under)];
  const parts = models.lora ? 5 : head ? 2 : 3;
  let part = 0;
  const progress = (done: number) => settings.onProgress?.({ phase: "check", done: (part + done) / parts });
  // The same examples for all three, as the base finds them.
  const shown = await readShots(task, rows, { ...settings, model: models.base });
  const batches = head ? [] : answerBatches(models.base, task, rows, true, shown.examples);
  const distance = async (...ends: Ends): Promise<Distance> => {
    const found = await compareBatches(batches, ends, settings.signal, progress);
    part++;
    return found;
  };
  const metric = async (model: Model, lora: NativeLora | null): Promise<Measured> => {
    const scores = await evaluateRows({
      ...{ model, lora, head, calibration, task, rows, labels, ...shown },
      prompt: compilePrompt(task, model.template),
      onProgress: ({ rows: done, totalRows }) => progress(done / totalRows),
      signal: settings.signal,
    });
    part++;
    return { value: summarise(task, scores.rows, labels, settings.seed).metrics[task.metric]!, scores };
  };
  const { base, lora, merged, quantized } = models;
  const under = models.under ?? { merged: null, quantized: null };
  const merging = lora ? await distance([base, lora], [merged, null]) : null;
  const quantizing = head ? null : await distance([merged, under.merged], [quantized, under.quantized]);
  const adapter = lora ? await metric(base, lora) : null;
  const before = await metric(merged, under.merged);
  const after = await metric(quantized, under.quantized);
  // Of one tokenizer and one context length: the same rows fit all three.
  const change = (one: Measured, other: Measured) =>
    changeBetween(task, one.scores.rows, other.scores.rows, {
      ...{ labels, seed: settings.seed, drop: settings.bounds.metricDrop },
    });
  const found = {
    split,
    rows: after.scores.rows.length,
    errors: bad.length + after.scores.refused.length,
    positions: quantizing?.positions ?? 0,
    kl: { adapter_merged: merging?.kl ?? null, merged_quantized: quantizing?.kl ?? null },
    top1_agreement: quantizing?.agreement ?? null,
    top1_agreement_merged: merging?.agreement ?? null,
    metric: { name: task.metric, adapter: adapter?.value ?? null, merged: before.value, quantized: after.value },
    changes: { adapter_merged: adapter && change(adapter, before), merged_quantized: change(before, after) },
  };
  const failures = judge(found, settings);
  const { adapterMergedKl, mergedQuantizedKl, metricDrop } = settings.bounds;
  const bounds = {
    adapter_merged_kl: adapterMergedKl,
    merged_quantized_kl: mergedQuantizedKl,
    metric_drop: metricDrop,
  };
  return { passed: failures.length === 0, failures, doubts: doubtsOf(found), ...found, bounds };
}

/** A failed gate in a sentence: on how many rows, what was lost, and what may help. weighed: an importance matrix was used. */
export function refusalOf(
  { failures, rows, split }: Pick<Gate, "failures" | "rows" | "split">,
  weighed: boolean,
): string {
  const finer = weighed ? "a finer type, " : "a finer type, an importance matrix, ";
  const quantising = failures.some((failure) => failure.startsWith("quantising"));
  const remedy = `${quantising ? finer : ""}more rows or another bound may pass`;
  return `on ${counted(rows, `${split} row`)} ${failures.join("; ")}; ${remedy}`;
}

/** Two models, each with what it is run under. */
type Ends = [from: [Model, NativeLora | null], to: [Model, NativeLora | null]];

interface Measured {
  value: Estimate;
  scores: RowScores;
}

interface Distance {
  kl: number;
  agreement: number;
  positions: number;
}

async function compareBatches(
  batches: readonly NativeBatch[],
  [[from, lora], [to, toLora]]: Ends,
  signal: AbortSignal | undefined,
  progress: (done: number) => void,
): Promise<Distance> {
  const sum = { kl: 0, agreements: 0, positions: 0 };
  for (const [index, batch] of batches.entries()) {
    throwIfCancelled(signal, "comparing the exported model");
    const { klSum, agreements, positions } = await from.native.compare(batch, lora, to.native, toLora);
    sum.kl += klSum;
    sum.agreements += agreements;
    sum.positions += positions;
    progress((index + 1) / batches.length);
  }
  // A KL is never negative; the sum of rounded terms may be, by 1e-9.
  return {
    kl: Math.max(0, sum.kl / sum.positions),
    agreement: sum.agreements / sum.positions,
    positions: sum.positions,
  };
}

/** One sentence for each bound that a step went past; NaN is past every bound. */
export function judge(
  found: Pick<Gate, "kl" | "metric" | "changes">,
  { bounds }: Pick<ExportSettings, "bounds">,
): string[] {
  const failures: string[] = [];
  const { adapter_merged: merging, merged_quantized: quantizing } = found.kl;
  if (merging !== null && !(merging <= bounds.adapterMergedKl)) {
    failures.push(
      `merging moved the answers by a KL of ${digits(merging)} nats, the bound is ${bounds.adapterMergedKl}`,
    );
  }
  if (quantizing !== null && bounds.mergedQuantizedKl !== null && !(quantizing <= bounds.mergedQuantizedKl)) {
    failures.push(
      `quantising moved the answers by a KL of ${digits(quantizing)} nats, the bound is ${bounds.mergedQuantizedKl}`,
    );
  }
  for (const { step, values, change } of stepsOf(found)) {
    const harm = harmOf(found.metric.name, values, change);
    if (harm !== null) failures.push(`${step} took ${harm}`);
  }
  return failures;
}

/** One sentence for each step that the rows do not judge. */
function doubtsOf(found: Pick<Gate, "metric" | "changes" | "rows">): string[] {
  return stepsOf(found).flatMap(({ step, values, change }) => {
    const doubt = doubtOf(found.metric.name, values, change, found.rows);
    return doubt === null ? [] : [`${step}: ${doubt}`];
  });
}

interface ExportStep {
  step: "merging" | "quantising";
  /** The metric before and after it. */
  values: [number, number];
  change: MetricChange;
}

/** The steps that an export took. */
function stepsOf({ metric, changes }: Pick<Gate, "metric" | "changes">): ExportStep[] {
  const { adapter, merged, quantized } = metric;
  const steps: ExportStep[] = [];
  if (adapter && changes.adapter_merged)
    steps.push({ step: "merging", values: [adapter.value, merged.value], change: changes.adapter_merged });
  steps.push({ step: "quantising", values: [merged.value, quantized.value], change: changes.merged_quantized });
  return steps;
}

export async function heldOut(task: Task, { limit, strict, onBad, signal }: ExportSettings) {
  const split = task.data.validation ? "validation" : "test";
  if (!task.data[split]) {
    throw new StillroomError(
      "input",
      `the task ${task.name} has neither validation nor test rows to check an export with`,
    );
  }
  const options = { strict: strict ?? false, ...(onBad && { onBad }), ...(signal && { signal }) };
  const { rows, bad }: { rows: Row[]; bad: BadRow[] } = await readRows(task, split, { ...options, limit });
  if (rows.length === 0) throw noGoodRow(task, split, bad);
  if (task.answer.labels || !hasLabels(task.kind)) return { rows, bad, split, labels: labelsOf(task, rows) } as const;
  // Without training rows they are the values of the whole split, whose bad rows are told already.
  const { rows: all } = task.data.train
    ? await readRows(task, "train", options)
    : await readRows(task, split, { ...options, onBad: undefined });
  return { rows, bad, split, labels: labelsOf(task, all) } as const;
}
