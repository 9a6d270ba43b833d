// Job files for the peers' long runs: the rows, order, rates and first weights that `stillroom tune` has on a task with the same
// options, and the test rows as `stillroom eval` scores them. Runs nothing.
import path from "node:path";
import { labelsOf, readRows } from "../src/dataset/index.js";
import { openModel } from "../src/index.js";
import type { Model } from "../src/model/index.js";
import { type CompiledPrompt, compilePrompt } from "../src/prompt/index.js";
import { unexpected } from "../src/support/errors.js";
import { readTask, type Task } from "../src/task/index.js";
import { encodeAnswer, encodePrompt } from "../src/tokens/index.js";
import { encodeRows, loraOptions, planLimits, planRun, type TuneSettings, tuneSettings } from "../src/train/index.js";
import { RowOrder } from "../src/train/order.js";
import { learningRateAt } from "../src/train/schedule.js";
import { jobRow, type TuneJob, writeFirstAdapter, writeJob } from "./job.js";

export interface ReferenceOptions {
  out: string;
  data?: string;
  model?: string;
  limit?: number;
  epochs?: number;
  rank?: number;
  seed: number;
  threads?: number;
}

/** Writes OUT/tune.json (for pytorch_tune.py), OUT/eval.json (for pytorch_eval.py) and OUT/first-adapter. */
export async function writeReference(
  taskFile: string,
  options: ReferenceOptions,
): Promise<{ tune: string; eval: string | null; reason: string | null; rows: number; steps: number }> {
  const { data, limit, epochs, rank, seed, threads } = options;
  const out = path.resolve(options.out);
  const task = await readTask(taskFile, data === undefined ? {} : { data });
  const settings = tuneSettings({ out, limit, epochs, rank, seed });
  const model = await openModel(options.model, { threads });
  try {
    const tune = await tuneJob(task, model, settings, out);
    const reason = nothingToScore(task);
    const files = { tune: await writeJob(path.join(out, "tune.json"), tune), eval: null as string | null, reason };
    if (reason === null) {
      files.eval = await writeJob(path.join(out, "eval.json"), await evalJob(task, model, settings, out));
    }
    return { ...files, rows: tune.rows.length, steps: tune.steps.length };
  } finally {
    await model.close();
  }
}

/** Why there is no eval.json; null: there is one. */
function nothingToScore(task: Task): string | null {
  if (task.kind !== "classify") return "only a task of kind classify has labels to score";
  return task.data.test ? null : "no test rows to score";
}

async function tuneJob(task: Task, model: Model, settings: TuneSettings, out: string): Promise<TuneJob> {
  const limits = planLimits(settings, model.info);
  const { rows } = await readRows(task, "train", { limit: settings.limit ?? undefined });
  const { maxLength, tokenBudget, recompute } = limits;
  const encoding = { tokenizer: model.tokenizer, maxLength, onLong: settings.onLong, signal: null };
  const fitted = await encodeRows(rows, { ...encoding, prompt: compilePrompt(task, model.template) });
  const plan = planRun(settings, limits, fitted.rows.length);
  const order = new RowOrder(fitted.rows.length, settings.batchSize, settings.seed);
  const { seed, betas, epsilon, weightDecay, clipNorm, batchSize, sharePrefix } = settings;
  return {
    model: path.resolve(model.info.path),
    threads: model.threads,
    rows: fitted.rows.map(jobRow),
    precision: "f32",
    untimed: 0,
    steps: Array.from({ length: plan.steps }, (_, index) => ({
      rows: [...order.step(index + 1)],
      learningRate: learningRateAt(plan.schedule, index + 1),
    })),
    optimizer: { beta1: betas[0], beta2: betas[1], epsilon, weightDecay, clipNorm },
    adapter: await writeFirstAdapter(path.join(out, "first-adapter"), model, loraOptions(settings)!),
    out: path.join(out, "trained-adapter"),
    ours: { tokenBudget, sharePrefix, recompute, seed },
    peer: { microBatchRows: batchSize, logits: "all" },
  };
}

/** Test rows with the tokens of every label, and the adapter that pytorch_tune.py leaves. */
async function evalJob(task: Task, model: Model, settings: TuneSettings, out: string): Promise<object> {
  const prompt: CompiledPrompt = compilePrompt(task, model.template);
  const train = await readRows(task, "train", { limit: settings.limit ?? undefined });
  const labels = labelsOf(task, train.rows);
  const choices = labels.map(({ text }) => [...encodeAnswer(model.tokenizer, prompt.renderAnswer(text))]);
  const { rows } = await readRows(task, "test");
  return {
    model: path.resolve(model.info.path),
    threads: model.threads,
    adapter: path.join(out, "trained-adapter"),
    batchRows: 16,
    predictions: path.join(out, "predictions.jsonl"),
    rows: rows.map((row) => {
      const answer = labels.findIndex(({ text }) => text === row.answer);
      if (answer < 0)
        throw unexpected("one of the labels", `the answer of ${row.file}:${row.line}`, row.answer, "input");
      return { prompt: [...encodePrompt(model.tokenizer, prompt.render(row, []))], choices, answer };
    }),
  };
}
