// Validation inside a tuning run: which rows, their loss, and the task's metrics, with the weights as they are.
import { sampleRows } from "../dataset/index.js";
import { evaluateRows, type ScoringJob, summarise } from "../evaluate/index.js";
import type { Model } from "../model/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import type { NativeLora } from "../support/native.js";
import type { Task } from "../task/index.js";
import {
  encodeRows,
  hashRows,
  type MicroBatch,
  microBatcher,
  type RunPlan,
  type TuneSettings,
  type Validation,
} from "../train/index.js";
import type { TuneData } from "./tune-data.js";

/** What is validated, and how. */
interface ValidationJob extends ScoringJob {
  /** The same rows, encoded with their answers. */
  batches: readonly MicroBatch[];
  /** Of the metrics' intervals. */
  seed: number;
}

/** Loss: mean of -log p over all label tokens, end tokens included, or of a head's loss over the rows, as in training. Metrics: as eval's; none where the loss is no number. */
async function validate(job: ValidationJob): Promise<Validation> {
  let sum = 0;
  let labels = 0;
  for (const { batch } of job.batches) {
    throwIfCancelled(job.signal, "validating");
    if (job.head && job.lora) sum += await job.model.native.answerLoss(batch, job.lora);
    else sum -= (await job.model.native.score(batch, job.lora)).reduce((total, score) => total + score, 0);
    labels += batch.queryPositions.length;
  }
  const loss = sum / labels;
  // Weights that give no numbers answer nothing: the run says so, which knows where they come from.
  if (!Number.isFinite(loss)) return { loss, metrics: {} };
  const { rows } = await evaluateRows(job);
  return { loss, metrics: { ...summarise(job.task, rows, job.labels, job.seed).metrics } };
}

/** Validation rows, and the work on them with an adapter as it is (null: the model's own weights). */
export interface PreparedValidation {
  rows: number;
  hash: string;
  job: (lora: NativeLora | null) => ScoringJob;
  run: (lora: NativeLora | null) => Promise<Validation>;
}

/** The validation of a run, ready to be called with the adapter as it is (null: the model's own weights); null where the task has no validation rows. */
export async function prepareValidation(
  { task, settings, model, signal }: { task: Task; settings: TuneSettings; model: Model; signal: AbortSignal | null },
  { validation, prompt, examples, labels, head, targetOf }: TuneData,
  plan: RunPlan,
): Promise<PreparedValidation | null> {
  if (validation === null || validation.length === 0) return null;
  const rows = sampleRows(validation, plan.validationLimit, settings.seed);
  const { maxLength, tokenBudget } = plan;
  const encoding = {
    tokenizer: model.tokenizer,
    prompt,
    maxLength,
    onLong: "truncate" as const,
    signal,
    targetOf,
    examples,
  };
  const encoded = (await encodeRows(rows, encoding)).rows;
  const batches = microBatcher(encoded, tokenBudget, settings.sharePrefix)(Int32Array.from(encoded.keys()));
  const job = { model, task, rows, prompt, examples, labels, head, tokenBudget, batches, seed: settings.seed };
  const jobOf = (lora: NativeLora | null) => ({ ...job, lora, signal: signal ?? undefined });
  return { rows: rows.length, hash: hashRows(encoded), job: jobOf, run: (lora) => validate(jobOf(lora)) };
}
