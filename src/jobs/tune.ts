// The public tune(): one run from a task file to an adapter in both formats, or to a whole model. Composes rooms; holds no loop and no equation.
import { freemem } from "node:os";
import type { Head } from "../adapter/index.js";
import type { Row } from "../dataset/index.js";
import { readPrompt } from "../evaluate/index.js";
import { writeRunCard } from "../export/index.js";
import { type Model, openModel } from "../model/index.js";
import { goingOn } from "../support/cancelled.js";
import type { StillroomError } from "../support/errors.js";
import { EventRun } from "../support/event-run.js";
import { hashFile } from "../support/files.js";
import {
  type HeadLoss,
  type NativeLora,
  type NativePrecision,
  type NativeWeights,
  translated,
} from "../support/native.js";
import { requireTask, type Task, type TaskKind } from "../task/index.js";
import {
  fingerprintOf,
  hashRows,
  keepFrozen,
  loraOptions,
  microBatcher,
  planLimits,
  planRun,
  RunFolder,
  type RunPlan,
  requirePatience,
  requireSameRun,
  type TuneOptions,
  type TuneSettings,
  train,
  tuneSettings,
} from "../train/index.js";
import { calibrateRun, requireFits, requireNoFit } from "./calibrate.js";
import type { Asked, Lesson } from "./lesson.js";
import type { TextRows } from "./text-rows.js";
import { duplicateWarnings, labelWarning, readTuneData, type TuneData } from "./tune-data.js";
import {
  definedOptions,
  describeAsking,
  describeRun,
  mergeOptions,
  type RunFile,
  readRunOf,
  requireOptions,
  resumeWarnings,
  type StartedRun,
  writeTrained,
} from "./tune-files.js";
import { nativeHead } from "./tune-head.js";
import { modelWithin } from "./tune-precision.js";
import { type RunEvent, resultOf, type TuneEvent, type TuneResult } from "./tune-result.js";
import { type PreparedValidation, prepareValidation } from "./validate.js";

/** A run in work: iterate over its events, await its result, or both. */
export type TuneRun = EventRun<TuneEvent, TuneResult>;

/**
 * Tunes a GGUF model for a task and leaves the result in the RUN folder: a LoRA adapter, as PEFT and as GGUF, or with method "full" or "head"
 * the whole model as a GGUF. Works on whether or not anyone listens. What a `checkpoint` event names survives a kill -9 and a power cut; `resume` goes on from there, and ends with
 * the bytes of a run that was never cut off (same threads and kernel variant).
 *
 * The result rejects, and the iterator throws, StillroomError: "usage" for a wrong option, a folder that another process works
 * in or that holds a run (without `resume`); "input" for data, a model that cannot be tuned, or a loss that is never finite;
 * "missing" without a model; "io" for the disk; "cancelled" on abort, after a checkpoint.
 *
 * @example
 * ```ts
 * import { readTask, tune } from "stillroom";
 * const run = tune(await readTask("sst2/task.yaml"), { model: "model.gguf", out: "runs/sst2", limit: 2000 });
 * for await (const event of run) if (event.type === "step") console.error(event.step, event.loss);
 * const { validation, adapter } = await run.result;
 * ```
 */
export function tune(task: Task, options: TuneOptions): TuneRun {
  return new EventRun(ending(tuneInFolder<never, TuneResult>(task, options, null)));
}

/** Tells the result as the last event. */
export async function* ending<Event, Result>(
  work: AsyncGenerator<Event, Result>,
): AsyncGenerator<Event | { type: "end"; result: Result }, Result> {
  const result = yield* work;
  yield { type: "end", result };
  return result;
}

/** What the parts of a run have in common. */
interface Job<Event> {
  task: Task;
  lesson: Lesson<Event> | null;
  /** The options of this call. */
  given: TuneOptions;
  settings: TuneSettings;
  folder: RunFolder;
  /** run.json as a run before this one left it. */
  before: RunFile | null;
  model: Model;
  signal: AbortSignal | null;
}

/** A number has no text that could be learnt in its place, and neither has a set of labels. */
const usualHeads: Partial<Record<TaskKind, HeadLoss>> = { multilabel: "sigmoid", regress: "squared" };

/** A run in its folder, from the options to the result, with another loss or without. */
export async function* tuneInFolder<Event, Result extends TuneResult>(
  task: Task,
  options: TuneOptions,
  lesson: Lesson<Event> | null,
): AsyncGenerator<RunEvent | Event, Result> {
  requireTask(task);
  const head = usualHeads[task.kind];
  const usual: Partial<TuneOptions> = head && !lesson ? { head } : {};
  const settingsOf = (given: TuneOptions) => tuneSettings({ ...usual, ...definedOptions(given) });
  const asked = settingsOf(options);
  const folder = await RunFolder.open(asked.out, asked.resume);
  const { signal } = options;
  let before: RunFile | null = null;
  try {
    before = await readRunOf(lesson ? "distill" : "tune", folder.runFile);
    if (!before) await folder.requireFree();
    // First of all: what one method asks of the other options would be said of options that nobody gave.
    if (before && options.method !== undefined)
      requireSameRun({ method: before.options.method ?? "lora" }, { method: options.method }, folder.folder, options);
    if (before) await requireOptions(folder.runFile, () => settingsOf({ out: asked.out, ...before!.options }));
    const settings = before ? settingsOf(mergeOptions(before.options, options)) : asked;
    requireFits(task, settings);
    const { threads, variant, precision } = settings;
    const model = await openModel(settings.model ?? undefined, {
      threads: threads ?? undefined,
      variant: variant ?? undefined,
      precision,
      ...(signal && { signal }),
    });
    const work = withModel({ task, lesson, given: options, settings, folder, before, model, signal: signal ?? null });
    const trained = yield* closing(model, lesson ? closing(lesson, work) : work);
    const { run, result } = trained;
    const further = lesson ? yield* lesson.finish({ folder: folder.folder, student: run.model.path, result }) : {};
    const whole = { ...result, ...further } as Result;
    await folder.writeRun({ ...run, result: whole });
    return whole;
  } catch (error) {
    throw await endOf(translated(error), folder, before);
  } finally {
    await folder.close();
  }
}

/** What a run throws: what is refused leaves no run behind, and one that was called off says how it goes on. */
async function endOf(error: StillroomError, folder: RunFolder, before: RunFile | null): Promise<StillroomError> {
  if (["usage", "input", "missing"].includes(error.code)) await folder.takeBack(before);
  return (await folder.holdsRun()) ? goingOn(error, "resume", ["resume"]) : error;
}

async function* closing<Event, Result>(
  opened: { close(): Promise<void> },
  work: AsyncGenerator<Event, Result>,
): AsyncGenerator<Event, Result> {
  try {
    return yield* work;
  } finally {
    await opened.close();
  }
}

async function* withModel<Event>(
  given: Job<Event>,
): AsyncGenerator<RunEvent | Event, { run: StartedRun; result: TuneResult }> {
  const { lesson, settings, folder, before, model, signal } = given;
  const { task, prompt: promptFile } = await readPrompt(given.task, settings.prompt ?? undefined);
  const beside = (await lesson?.bytesBeside(model.native.info, settings)) ?? { always: 0, around: 0 };
  const limitsOf = (rows: number) => planLimits(settings, model.native.info, beside.always + rows, beside.around);
  const { tokenBudget } = limitsOf(0); // what cannot be with any rows is refused before they are read
  const modelHash = await hashFile(model.info.path);
  // Asking a teacher may take longer than training: resume knows the run from here on.
  const begins = !before?.fingerprint;
  if (lesson && begins) await folder.writeAsking(describeAsking({ ...given, task }, modelHash));
  if (!before) yield* duplicateWarnings(task, signal);
  const tokenizer = (await lesson?.begin(model, settings.memory === null ? undefined : tokenBudget)) ?? model.tokenizer;
  const revise = (rows: readonly Row[]) => lesson!.revise(rows, folder.folder);
  const learning = lesson ? { tokenizer, revise, unanswered: lesson.unanswered } : {};
  const own = yield* readTuneData(task, model, settings, limitsOf, signal, learning, promptFile);
  yield* labelWarning(task, own);
  const { limits } = own;
  const { maxLength } = limits;
  const further = lesson ? yield* lesson.further({ tokenizer, maxLength, strict: settings.strict }) : null;
  const data = further ? withRows(own, further) : own;
  const once = planRun(settings, limits, data.train.length);
  const plan = keepFrozen(once, settings, model.native.info, data.train, freeBytes());
  // A head of the task's own begins at zero: its loss says nothing of the products yet.
  const within = settings.precision === "f32" || data.head ? model : yield* modelWithin(given, data.train, plan);
  const precision = within === model ? settings.precision : "f32";
  const job: Job<Event> = { ...given, task, model: within };
  try {
    const validation = await prepareValidation(job, data, plan);
    if (validation === null) requireNoFit(task, settings);
    if (begins) requirePatience(settings, plan, validation !== null);
    const run = { folder: folder.folder, student: within, rows: data.train, recut: data.recut, steps: plan.steps };
    const asked = lesson ? yield* lesson.ask(run) : null;
    return yield* training(job, { modelHash, data, plan, precision, validation, asked });
  } finally {
    if (within !== model) await within.close();
  }
}

function withRows(data: TuneData, { rows, badRows }: TextRows): TuneData {
  return { ...data, train: [...data.train, ...rows], badRows: data.badRows + badRows };
}

/** What is known before the first step. */
interface Prepared {
  /** SHA-256 of the model's file. */
  modelHash: string;
  data: TuneData;
  plan: RunPlan;
  /** Of the products: as asked, or f32 where that would be too coarse. */
  precision: NativePrecision;
  validation: PreparedValidation | null;
  asked: Asked | null;
}

async function* training<Event>(
  job: Job<Event>,
  { modelHash, data, plan, precision, validation, asked }: Prepared,
): AsyncGenerator<RunEvent, { run: StartedRun; result: TuneResult }> {
  const { task, given, settings, folder, before, model, signal } = job;
  const hashes = { model: modelHash, rows: hashRows(data.train), validation: validation?.hash ?? null };
  const fingerprint = { ...fingerprintOf({ ...settings, precision }, plan, hashes), ...asked?.fingerprint };
  const found = await folder.checkpoints.latest();
  if (found) requireSameRun(found.checkpoint.header.fingerprint, fingerprint, folder.folder, given);
  const step = found?.checkpoint.step ?? 0;
  const run = describeRun(job, data, plan, { fingerprint, modelHash, validationRows: validation?.rows ?? 0 });
  // Before run.json: what the engine refuses leaves no run behind.
  const { seed, betas, epsilon, weightDecay, clipNorm, optimizer } = settings;
  const hiddenWidth = asked?.hiddenWidth ?? null;
  const parameters = await createParameters(settings, model, { head: data.head, hiddenWidth });
  const { recompute } = plan;
  // States that are kept below the lowest trained layer would be those of weights that are not quantised yet.
  const frozenBytes = asked?.quantized ? 0 : plan.frozenBytes;
  const moments = { optimizer, beta1: betas[0], beta2: betas[1], epsilon, weightDecay, clipNorm };
  const trainer = model.native.createTrainer(parameters, {
    ...{ ...moments, recompute, seed, frozenBytes },
    ...(asked && { distillation: asked.distillation }),
  });
  // run.json first: the folder is then a run's, whenever the process is killed.
  await folder.writeRun(run);
  const rewound = await folder.rewind(step);
  yield* resumeWarnings({ found, rewound }, before, run, folder.checkpoints.folder);
  const { threads } = model;
  const { steps, memoryBytes } = plan;
  const counts = { step, steps, rows: data.train.length, validationRows: validation?.rows ?? 0 };
  yield { type: "start", run: folder.folder, ...counts, threads, memoryBytes };
  const lora = "save" in parameters ? null : parameters;
  const cutting = { tokenBudget: plan.tokenBudget, sharePrefix: settings.sharePrefix };
  const ofRows = microBatcher(data.train, cutting.tokenBudget, cutting.sharePrefix, asked?.taught);
  const work = train({
    parameters,
    trainer,
    plan,
    batchSize: settings.batchSize,
    seed,
    microBatches: (rows, step) => asked?.written?.(step, rows, lora, cutting) ?? ofRows(rows),
    fitOn: hiddenWidth === null ? 0 : fitOnWidths * model.info.width,
    folder,
    fingerprint,
    from: found?.checkpoint ?? null,
    keepBest: "save" in parameters ? "disk" : "memory",
    quantize: quantizing(parameters, plan, asked),
    validate: validation && (() => validation.run(lora)),
    metric: task.metric,
    patience: settings.patience,
    checkpointEvery: settings.checkpointEvery,
    signal,
  });
  const outcome = yield* closing(trainer, work);
  const written = await writeTrained(folder.folder, { parameters, model, head: data.head, name: task.name });
  const calibration =
    validation && !("save" in parameters)
      ? await calibrateRun(folder.folder, validation.job(parameters), settings)
      : null;
  const result = resultOf(folder.folder, data, outcome, { ...written, precision, calibration });
  await folder.writeRun({ ...run, result });
  if (result.model !== null) await writeRunCard(result.model, { ...run, result });
  return { run, result };
}

function quantizing(parameters: NativeLora | NativeWeights, { steps }: RunPlan, asked: Asked | null) {
  const { quantized } = asked ?? {};
  if (!quantized || !("quantize" in parameters)) return null;
  return { after: steps - quantized.steps, begin: () => parameters.quantize(quantized.types) };
}

/** Memory that this process could still take. */
function freeBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(freemem(), limit) : freemem();
}

/** Label tokens that a projection of hidden states is fitted on, in widths of the student: enough for it to be determined by them. */
const fitOnWidths = 2;

/** What is trained, at its first values. */
async function createParameters(
  settings: TuneSettings,
  { native }: Model,
  { head, hiddenWidth }: { head: Head | null; hiddenWidth: number | null },
): Promise<NativeLora | NativeWeights> {
  const lora = loraOptions(settings);
  const projection = hiddenWidth === null ? {} : { hiddenWidth };
  if (lora) return native.createLora({ ...lora, ...(head && { head: nativeHead(head) }), ...projection });
  const { targets, layers } = settings;
  return native.createWeights({ targets, ...(layers && { layers }), ...projection });
}
