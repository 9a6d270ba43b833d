// The loop over optimiser steps: accumulate, update, validate, keep the best, checkpoint. Knows no file but through the run
// folder, no model but through the trainer, and no metric but by name.
import { performance } from "node:perf_hooks";
import { StillroomError } from "../support/errors.js";
import type { NativeBatch, NativeParameters, NativeTrainer } from "../support/native.js";
import { BestInMemory, BestOnDisk, type BestWeights } from "./best.js";
import type { Checkpoint, Fingerprint } from "./checkpoint.js";
import type { StepEvent, TrainEvent } from "./events.js";
import { RowOrder } from "./order.js";
import type { RunPlan } from "./plan.js";
import { noProgress, type Progress, type Validation, validationValue } from "./progress.js";
import type { RunFolder } from "./run-folder.js";
import { learningRateAt } from "./schedule.js";

/** A part of a step's rows that goes through the model at once. */
export interface MicroBatch {
  batch: NativeBatch;
  rows: number;
  /** Tokens of the rows, as if each were alone. */
  tokens: number;
}

/** What the loop works on. */
export interface TrainJob {
  /** What the trainer trains; at the end, the best validated step's weights, or the last step's where nothing was validated. */
  parameters: NativeParameters;
  trainer: NativeTrainer;
  plan: RunPlan;
  batchSize: number;
  seed: number;
  /** Cuts the rows of a step, by index, into micro-batches; from the same weights the same ones. Throws "cancelled" when the signal says so. */
  microBatches(rows: Int32Array, step: number): MicroBatch[] | Promise<MicroBatch[]>;
  /** Of a run that matches hidden states: label tokens of the first steps' rows that its projection is fitted on before any step; 0: there is none. */
  fitOn: number;
  folder: RunFolder;
  fingerprint: Fingerprint;
  /** Where to go on from. */
  from: Checkpoint | null;
  /** Where the best step's weights lie until the end. */
  keepBest: "memory" | "disk";
  /** Steps after which the parameters are trained as they will be quantised, and what begins that; null: never. Steps before that are no best ones. */
  quantize: { after: number; begin(): Promise<void> } | null;
  /** Validates the parameters as they are, with a loss that is no number where they give none; null: never. Throws "cancelled" when the signal says so. */
  validate: (() => Promise<Validation>) | null;
  /** Name of the task's metric, which chooses the best step. */
  metric: string;
  patience: number | null;
  checkpointEvery: number | null;
  signal: AbortSignal | null;
}

/** What the loop leaves behind. */
export interface TrainOutcome {
  /** Steps done; fewer than planned when it stopped early. */
  step: number;
  progress: Progress;
  /** The step whose weights the parameters are. */
  bestStep: number;
}

interface Sums {
  loss: number;
  /** Of the distances of hidden states. */
  hidden: number;
  labels: number;
  rows: number;
  tokens: number;
  skippedRows: number;
}

/** After so many steps in a row without one finite micro-batch, the weights or the data are beyond help. */
const hopeless = 20;
/** Where checkpointEvery is not given: not more often than this … */
const leastSecondsBetween = 60;
/** … nor so often that checkpoints take more than one part in so many of the time. */
const shareOfTime = 50;

/**
 * Trains to the last planned step, or until patience ends. On abort: finishes the micro-batch, leaves the step's gradients
 * behind, writes a checkpoint of the last whole step, throws "cancelled".
 */
export async function* train(job: TrainJob): AsyncGenerator<TrainEvent, TrainOutcome> {
  return yield* new Training(job).run();
}

class Training {
  #step = 0;
  #progress: Progress;
  readonly #best: BestWeights;
  readonly #order: RowOrder;
  readonly #here = { steps: 0, tokens: 0, seconds: 0 };
  #clock = performance.now();
  #saved = { step: 0, at: performance.now(), seconds: 0 };

  constructor(readonly job: TrainJob) {
    this.#order = new RowOrder(job.plan.rows, job.batchSize, job.seed);
    this.#progress = noProgress();
    const { parameters, folder } = job;
    this.#best =
      job.keepBest === "memory" ? new BestInMemory(parameters) : new BestOnDisk(parameters, folder.checkpoints);
  }

  /** When it is cancelled, makes the last whole step durable first. */
  async *run(): AsyncGenerator<TrainEvent, TrainOutcome> {
    try {
      return yield* this.#course();
    } catch (error) {
      if (!(error instanceof StillroomError && error.code === "cancelled")) throw error;
      if (this.#saved.step < this.#step) yield await this.#checkpoint();
      throw this.#cancelled(error);
    }
  }

  async *#course(): AsyncGenerator<TrainEvent, TrainOutcome> {
    if (this.job.from) await this.#restore(this.job.from);
    else if (this.job.fitOn > 0) await this.#fit(this.job.fitOn);
    if (this.job.quantize && this.#step > this.job.quantize.after) await this.job.quantize.begin();
    yield* this.#validateIfDue();
    while (!this.#finished()) {
      if (this.#step === this.job.quantize?.after) await this.#quantize();
      yield* this.#oneStep();
      yield* this.#validateIfDue();
      if (this.#checkpointDue()) yield await this.#checkpoint();
    }
    if (this.#saved.step < this.#step) yield await this.#checkpoint();
    if (this.#progress.loss.last === null) throw this.#neverFinite();
    const bestStep = this.#progress.best?.step ?? this.#step;
    if (bestStep !== this.#step) await this.#best.putBack(bestStep);
    return { step: this.#step, progress: this.#progress, bestStep };
  }

  async #restore(from: Checkpoint): Promise<void> {
    const { parameters, trainer } = this.job;
    this.#step = from.step;
    this.#progress = structuredClone(from.header.progress);
    await from.restore({ parameters, optimizer: trainer.state });
    if (this.#progress.best) await this.#best.resume(from);
    this.#saved.step = from.step;
  }

  /** The first values of a projection, from the rows of the first steps as they are before any. */
  async #fit(least: number): Promise<void> {
    const { plan, trainer } = this.job;
    let labels = 0;
    for (let step = 1; labels < least && step <= plan.steps; step++) {
      for (const { batch } of await this.job.microBatches(this.#order.step(step), step)) {
        this.#throwIfAborted();
        await trainer.observe(batch);
        labels += batch.queryTokens.length;
      }
    }
    await trainer.fit();
  }

  /** What was best before was another model. */
  async #quantize(): Promise<void> {
    await this.job.quantize!.begin();
    this.#progress.best = null;
    this.#progress.sinceBest = 0;
  }

  #finished(): boolean {
    const { patience, plan } = this.job;
    return this.#step >= plan.steps || (patience !== null && this.#progress.sinceBest >= patience);
  }

  async *#oneStep(): AsyncGenerator<TrainEvent, void> {
    const step = this.#step + 1;
    const started = performance.now();
    const sums = await this.#accumulate(step);
    const learningRate = learningRateAt(this.job.plan.schedule, step);
    const gradientNorm = await this.#update(sums, learningRate);
    const seconds = (performance.now() - started) / 1000;
    const loss = sums.labels > 0 ? sums.loss / sums.labels : null;
    this.#step = step;
    this.#count(sums, loss, seconds);
    if (sums.skippedRows > 0) {
      const message = `step ${step}: ${sums.skippedRows} of ${sums.rows} rows left out: their loss or gradient is not finite`;
      yield { type: "warning", kind: "not-finite", message };
    }
    const skipped = sums.skippedRows > 0 ? { skipped: true, skipped_rows: sums.skippedRows } : {};
    const { tokens } = sums;
    const memoryBytes = process.memoryUsage.rss();
    const sizes = { learning_rate: learningRate, tokens, seconds, gradient_norm: gradientNorm };
    const hidden = this.job.fitOn > 0 && loss !== null ? { hidden_distance: sums.hidden / sums.labels } : {};
    const line = { step, loss, ...hidden, ...sizes, memory_bytes: memoryBytes, ...skipped };
    await this.job.folder.metrics.append(line);
    yield this.#stepEvent({ loss, learningRate, tokens, memoryBytes });
    if (this.#progress.skippedInRow >= hopeless) throw this.#neverFinite();
  }

  /** Sums of the step's finite micro-batches. The abort is looked for between micro-batches, not after the last. */
  async #accumulate(step: number): Promise<Sums> {
    const sums: Sums = { loss: 0, hidden: 0, labels: 0, rows: 0, tokens: 0, skippedRows: 0 };
    for (const [index, micro] of (await this.job.microBatches(this.#order.step(step), step)).entries()) {
      this.#throwIfAborted();
      const { lossSum, count, finite, hiddenSum } = await this.job.trainer.accumulate(micro.batch, step, index);
      sums.rows += micro.rows;
      sums.tokens += micro.tokens;
      sums.skippedRows += finite ? 0 : micro.rows;
      sums.loss += finite ? lossSum : 0;
      sums.hidden += finite ? hiddenSum : 0;
      sums.labels += finite ? count : 0;
    }
    return sums;
  }

  #throwIfAborted(): void {
    if (!this.job.signal?.aborted) return;
    this.job.trainer.discard();
    throw this.#cancelled();
  }

  /** cause: what said so, where that was not the loop: a validation, or the student while it wrote. */
  #cancelled(cause?: StillroomError): StillroomError {
    const message = `cancelled after step ${this.#step} of ${this.job.plan.steps}; resume goes on from there`;
    return new StillroomError("cancelled", message, { cause, options: ["resume"] });
  }

  /** One optimiser step over the mean of all label tokens; null, and no step, when none was finite. */
  async #update(sums: Sums, learningRate: number): Promise<number | null> {
    if (sums.labels === 0) {
      this.job.trainer.discard();
      return null;
    }
    const { gradientNorm } = await this.job.trainer.update({ learningRate, divisor: sums.labels });
    if (Number.isFinite(gradientNorm)) return gradientNorm;
    throw new StillroomError(
      "input",
      `step ${this.#step + 1}: the sum of the gradients is not finite: the training diverged; begin again with a smaller learningRate`,
      { options: ["learningRate"] },
    );
  }

  #count(sums: Sums, loss: number | null, seconds: number): void {
    const progress = this.#progress;
    progress.rows += sums.rows;
    progress.tokens += sums.tokens;
    progress.stepSeconds += seconds;
    progress.loss = { first: progress.loss.first ?? loss, last: loss ?? progress.loss.last };
    progress.skipped += sums.skippedRows > 0 ? 1 : 0;
    progress.skippedInRow = loss === null ? progress.skippedInRow + 1 : 0;
    this.#here.steps += 1;
    this.#here.tokens += sums.tokens;
    this.#here.seconds += seconds;
    this.#elapse();
  }

  #elapse(): void {
    const now = performance.now();
    this.#progress.seconds += (now - this.#clock) / 1000;
    this.#clock = now;
    const peak = process.resourceUsage().maxRSS * 1024;
    this.#progress.peakMemoryBytes = Math.max(this.#progress.peakMemoryBytes, peak);
  }

  #stepEvent(made: Pick<StepEvent, "loss" | "learningRate" | "tokens" | "memoryBytes">): StepEvent {
    const { steps } = this.job.plan;
    const here = this.#here;
    return {
      type: "step",
      step: this.#step,
      steps,
      ...made,
      tokensPerSecond: here.tokens / here.seconds,
      secondsLeft: ((steps - this.#step) * here.seconds) / here.steps,
    };
  }

  /** Validates after every evaluateEvery-th and after the last step, once: a resume repeats one that was cut off. */
  async *#validateIfDue(): AsyncGenerator<TrainEvent, void> {
    const { validate, plan, metric, folder, fingerprint } = this.job;
    const step = this.#step;
    const progress = this.#progress;
    if (!validate || step === 0 || progress.validated === step) return;
    if (step % plan.evaluateEvery !== 0 && step < plan.steps) return;
    const validation = await validate();
    if (!Number.isFinite(validation.loss)) throw this.#noNumbers();
    const value = validationValue(validation, metric);
    // A metric that counts rows ties easily: then the lower loss decides.
    const before = progress.best;
    const tied = before !== null && value === before.value && validation.loss < before.validation.loss;
    const best = before === null || value > before.value || tied;
    progress.validated = step;
    progress.sinceBest = best ? 0 : progress.sinceBest + 1;
    if (best) {
      progress.best = { step, value, validation };
      // The last step's weights stay where they are.
      if (step < plan.steps) await this.#best.keep({ step, fingerprint, progress });
    }
    this.#elapse();
    await folder.validations.append({ step, ...validation });
    yield { type: "validation", step, validation, best };
  }

  #checkpointDue(): boolean {
    const { checkpointEvery } = this.job;
    if (checkpointEvery !== null) return this.#step % checkpointEvery === 0;
    const since = (performance.now() - this.#saved.at) / 1000;
    return since >= Math.max(leastSecondsBetween, shareOfTime * this.#saved.seconds);
  }

  async #checkpoint(): Promise<TrainEvent> {
    const started = performance.now();
    const { folder, fingerprint, parameters, trainer } = this.job;
    this.#elapse();
    await folder.sync();
    const isBest = this.#progress.best?.step === this.#step;
    const best = isBest ? null : this.#best.inCheckpoint;
    const state = {
      step: this.#step,
      fingerprint,
      progress: this.#progress,
      parameters,
      optimizer: trainer.state,
      best,
    };
    const { file, bytes } = await folder.checkpoints.write(state);
    this.#elapse();
    const at = performance.now();
    const seconds = (at - started) / 1000;
    this.#saved = { step: this.#step, at, seconds };
    return { type: "checkpoint", step: this.#step, file, bytes, seconds };
  }

  /** Of a validation. Where no step had any either, it was not the training. */
  #noNumbers(): StillroomError {
    if (this.#progress.loss.last === null) return this.#neverFinite();
    const run = `the run ${this.job.folder.folder} gives no numbers after step ${this.#step}`;
    const message = `${run}: its training diverged; begin again with a smaller learningRate`;
    return new StillroomError("input", message, { options: ["learningRate"] });
  }

  #neverFinite(): StillroomError {
    const count = this.#progress.skippedInRow;
    return new StillroomError(
      "input",
      `the loss of every row of the last ${count} steps is not finite; lower learningRate, or look for what these rows hold`,
      { options: ["learningRate"] },
    );
  }
}
