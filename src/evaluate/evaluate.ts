// One task, one model, one split: reads the rows, scores them, sums up. Owns the models it opens; the numbers come from
// summary.ts, the predictions from scoring.ts, the comparison from against.ts.
import { performance } from "node:perf_hooks";
import { adapterFiles, loadAdapter, loadCalibration, loadHead } from "../adapter/index.js";
import { type BadRow, badRowError, type SplitName } from "../dataset/index.js";
import { type DownloadProgress, Model, openModel } from "../model/index.js";
import { compilePrompt } from "../prompt/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { requireWritable } from "../support/files.js";
import { type InputFile, requireNoInput } from "../support/inputs.js";
import { type NativePrecision, rethrow } from "../support/native.js";
import { requireKnown, requireTask, requireWhole, type Task, taskFiles } from "../task/index.js";
import { type Against, compareWith, openSecond, writePredictions } from "./against.js";
import type { ReliabilityBin } from "./calibration.js";
import type { ClassScore } from "./metrics.js";
import { readJobRows, readPrompt, requireOnePrompt, shownBefore } from "./rows.js";
import { evaluateRows, noGoodRow, requireHead, type ScoringJob, type ScoringProgress } from "./scoring.js";
import { requireSlices, type SliceTable, sliceTable } from "./slices.js";
import { type Confusion, type Metrics, summarise } from "./summary.js";

/** What is evaluated, and how. */
export interface EvaluateOptions {
  /** Path, hf: URI or an open model (which stays open); default: the model in the box. */
  model?: string | Model | undefined;
  /** As of openModel, where the model is not open yet (default "f32"). */
  precision?: NativePrecision | undefined;
  /** A RUN folder, a PEFT folder or a GGUF LoRA. */
  adapter?: string | undefined;
  /** Answered training rows before each prompt, balanced over the labels (default 0). */
  shots?: number | undefined;
  /** Calibrate answers as the adapter's run says (default true). */
  calibration?: boolean | undefined;
  /** A prompt file, in place of the task's own prompt and of shots. */
  prompt?: string | undefined;
  /** Default "test". */
  split?: SplitName | undefined;
  /** Only so many rows of the split. */
  limit?: number | undefined;
  /** Of the choice of examples and of the intervals (default 0). */
  seed?: number | undefined;
  /** Throw at the first bad row instead of counting it (default false). */
  strict?: boolean | undefined;
  /** Threads of the native engine (default: physical cores). */
  threads?: number | undefined;
  /** Most tokens that go through the model at once (default 2048). */
  tokenBudget?: number | undefined;
  /** A JSONL file to write: index, answer, prediction, probabilities of each row. */
  predictions?: string | undefined;
  /** The second of a comparison on the same rows: a predictions file (.jsonl), or a model (path or hf: URI, same prompt). */
  against?: string | undefined;
  /** A column whose values part the rows: the metrics of each part, besides those of all. */
  slice?: readonly string[] | undefined;
  onProgress?: ((progress: ScoringProgress) => void) | undefined;
  onDownload?: ((progress: DownloadProgress) => void) | undefined;
  /** Called once for every bad row. */
  onBad?: ((bad: BadRow) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** The result of {@link evaluate}, in the fields of `stillroom eval --json`. Intervals are 95 %. */
export interface Evaluation {
  task: string;
  /** Path of the GGUF. */
  model: string;
  adapter: string | null;
  split: SplitName;
  shots: number;
  /** The prompt file; null without one. */
  prompt: string | null;
  /** Rows scored. */
  rows: number;
  /** Bad rows, left out. */
  errors: number;
  /** The first 100 bad rows. */
  bad_rows: BadRow[];
  metrics: Metrics;
  confusion: Confusion | null;
  classes: ClassScore[] | null;
  /** The bins of a reliability diagram that hold rows; null but for classify and multilabel. */
  reliability: ReliabilityBin[] | null;
  /** One of each column of slice; null without it. */
  slices: SliceTable[] | null;
  against: Against | null;
  rows_per_second: number;
  /** Tokens of the prompts, each as if it were alone, and of the answers scored or generated, by second. */
  tokens_per_second: number;
  peak_memory_bytes: number;
  /** From reading the rows to the last prediction and interval; opening the model not counted. */
  seconds: number;
}

const optionNames = [
  ..."model adapter calibration precision shots prompt split limit seed strict threads tokenBudget predictions against".split(
    " ",
  ),
  ..."slice onProgress onDownload onBad signal".split(" "),
];
const badRowsShown = 100;

/**
 * Scores a split of a task with a model: exact label probabilities for classify, greedy answers for generate, and whatever the adapter's own head gives.
 *
 * @throws StillroomError "usage" for a wrong option, "missing" or "input" for the model, the adapter and the data, "input" when
 * no row is left, "io" for the predictions file, "cancelled" on abort
 *
 * @example
 * ```ts
 * import { evaluate, readTask } from "stillroom";
 * const task = await readTask("sst2/task.yaml");
 * const { metrics, rows } = await evaluate(task, { model: "model.gguf", adapter: "runs/sst2", shots: 0, limit: 200 });
 * console.log(rows, metrics.accuracy?.value, metrics.accuracy?.low, metrics.accuracy?.high);
 * ```
 */
export async function evaluate(task: Task, options: EvaluateOptions = {}): Promise<Evaluation> {
  requireTask(task);
  // Before a model is opened.
  if (options.adapter === undefined) requireHead(null, { task, labels: [] });
  return withPredictor(task, options, (predictor) => evaluateWith(predictor, options));
}

/** A model, with adapter and prompt, before the rows of a split. */
export interface Predictor {
  model: Model;
  /** What is to be scored; with other rows or another model in it, those. */
  job: ScoringJob;
  /** The same for another model, without the adapter. */
  jobFor(other: Model): ScoringJob;
  split: SplitName;
  shots: number;
  seed: number;
  /** Bad rows met so far. */
  bad: BadRow[];
  /** Of performance.now(), before the rows were read. */
  started: number;
}

/** Opens what evaluate would score with, and closes it after the work. Throws what evaluate throws before it scores. */
export async function withPredictor<T>(
  task: Task,
  options: EvaluateOptions,
  work: (predictor: Predictor) => Promise<T>,
): Promise<T> {
  checkOptions(options);
  const given = options.model;
  const model = given instanceof Model ? given : await openModel(given, options);
  try {
    return await work(await predictorOf(model, task, options));
  } catch (error) {
    return rethrow(error);
  } finally {
    if (model !== given) await model.close();
  }
}

async function predictorOf(model: Model, given: Task, options: EvaluateOptions): Promise<Predictor> {
  const lora = options.adapter === undefined ? null : await loadAdapter(model.native, options.adapter);
  const head = await loadHead(options.adapter);
  const calibration = options.calibration === false ? null : await loadCalibration(options.adapter);
  const started = performance.now();
  const { split = "test", seed = 0 } = options;
  const { task, prompt } = await readPrompt(given, options.prompt);
  const reading = { ...options, shots: options.shots ?? 0, split, seed, prompt, model };
  const { rows, bad, labels, shots } = await readJobRows(task, reading);
  const shown = await shownBefore(shots, prompt?.content);
  const jobFor = (other: Model): ScoringJob => ({
    ...{ task, rows, labels, tokenBudget: options.tokenBudget, signal: options.signal },
    ...shown,
    model: other,
    ...(other === model ? { lora, head, calibration } : { lora: null }),
    prompt: compilePrompt(task, other.template),
    onProgress: options.onProgress,
  });
  return { model, job: jobFor(model), jobFor, split, shots: shots.count, seed, bad, started };
}

function checkOptions(options: EvaluateOptions): void {
  requireKnown(options, optionNames, "evaluate");
  requireWhole("shots", options.shots, 0);
  requireOnePrompt(options);
  requireWhole("limit", options.limit, 1);
  requireWhole("seed", options.seed, 0);
  requireWhole("tokenBudget", options.tokenBudget, 1);
  const { split, slice } = options;
  const isName = (column: unknown) => typeof column === "string" && column.trim() !== "";
  if (slice !== undefined && !(Array.isArray(slice) && slice.length > 0 && slice.every(isName)))
    throw unexpected("names of columns", "slice", slice);
  if (split !== undefined && !["train", "validation", "test"].includes(split)) {
    throw unexpected("train, validation or test", "split", split);
  }
}

/** What evaluate does with what it opened; the options are those that it was opened with. */
export async function evaluateWith(predictor: Predictor, options: EvaluateOptions): Promise<Evaluation> {
  const { model, job, jobFor, split, shots, seed, bad, started } = predictor;
  const { task, rows, labels } = job;
  const columns = [...new Set(options.slice)];
  for (const column of columns) requireSlices(column, rows);
  if (task.kind === "regress" && options.against !== undefined)
    throw new StillroomError(
      "usage",
      "against counts right and wrong answers, and numbers are neither: compare tests the difference of their errors",
      {
        options: ["against"],
      },
    );
  if (task.kind === "multilabel" && options.against !== undefined && !options.against.endsWith(".jsonl"))
    throw new StillroomError(
      "usage",
      "against takes models without an adapter, and a set of labels needs a head: give a predictions file, or two runs to compare",
      { options: ["against"] },
    );
  // What the work would fail of at its end is looked at before it.
  if (options.predictions !== undefined) {
    await requireNoInput(options.predictions, inputsOf(model, task, options));
    await requireWritable(options.predictions);
  }
  const second = options.against === undefined ? null : await openSecond(options.against, jobFor, model, options);
  try {
    const scores = await evaluateRows(job);
    for (const refused of scores.refused) report(refused, bad, options);
    if (scores.rows.length === 0) throw noGoodRow(task, split, bad);
    const summary = summarise(task, scores.rows, labels, seed);
    if (options.predictions !== undefined) await writePredictions(options.predictions, scores.rows);
    const comparison = { task, labels, seed, first: scores.rows };
    const against = second && compareWith(options.against!, await second.answers(), comparison);
    return {
      task: task.name,
      model: model.info.path,
      adapter: options.adapter ?? null,
      split,
      shots,
      prompt: options.prompt ?? null,
      rows: scores.rows.length,
      errors: bad.length,
      bad_rows: bad.slice(0, badRowsShown),
      ...summary,
      slices:
        columns.length === 0
          ? null
          : columns.map((column) => sliceTable(column, rows, scores.rows, { task, labels, seed })),
      against,
      rows_per_second: scores.rows.length / scores.seconds,
      tokens_per_second: scores.tokens / scores.seconds,
      peak_memory_bytes: process.resourceUsage().maxRSS * 1024,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await second?.close();
  }
}

/** What an evaluation reads. */
function inputsOf(model: Model, task: Task, { adapter, against, prompt }: EvaluateOptions): InputFile[] {
  return [
    ...taskFiles(task),
    { what: "the model that is evaluated", file: model.info.path },
    ...(adapter === undefined ? [] : adapterFiles(adapter)),
    ...(prompt === undefined ? [] : [{ what: "the prompt file", file: prompt }]),
    ...(against === undefined ? [] : [{ what: "what is compared with", file: against }]),
  ];
}

function report(refused: BadRow, bad: BadRow[], { strict, onBad }: EvaluateOptions): void {
  if (strict) throw badRowError(refused);
  bad.push(refused);
  onBad?.(refused);
}
