// Validation inside a tuning run: the loss of the validation rows, and the task's metrics, with the weights as they are.
import { evaluateRows, type ScoringJob, summarise } from "../evaluate/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import type { MicroBatch, Validation } from "../train/index.js";

/** What is validated, and how. */
export interface ValidationJob extends ScoringJob {
  /** The same rows, encoded with their answers. */
  batches: readonly MicroBatch[];
  /** Of the metrics' intervals. */
  seed: number;
}

/** Loss: mean of -log p over all label tokens, end tokens included, or of a head's loss over the rows, as in training. Metrics: as eval's. */
export async function validate(job: ValidationJob): Promise<Validation> {
  let sum = 0;
  let labels = 0;
  for (const { batch } of job.batches) {
    throwIfCancelled(job.signal, "validating");
    if (job.head && job.lora) sum += await job.model.native.answerLoss(batch, job.lora);
    else sum -= (await job.model.native.score(batch, job.lora)).reduce((total, score) => total + score, 0);
    labels += batch.queryPositions.length;
  }
  const { rows } = await evaluateRows(job);
  return { loss: sum / labels, metrics: { ...summarise(job.task, rows, job.labels, job.seed).metrics } };
}
