// The public distill(): a run of tune whose loss is a teacher's, then export and the table. Composes tune, teach and export; holds no loop and no equation.
import path from "node:path";
import { readTexts } from "../dataset/index.js";
import { type GivenPrompt, readPrompt } from "../evaluate/index.js";
import type { Gate } from "../export/index.js";
import { resolveModel } from "../model/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { EventRun } from "../support/event-run.js";
import { type NativeDistillation, native } from "../support/native.js";
import { requirePath, type Task } from "../task/index.js";
import { Teacher, type TeacherCache, TokenMap } from "../teach/index.js";
import { askingBytes, hiddenBytes, type TuneOptions, textBytes } from "../train/index.js";
import {
  bytesRounded,
  notQuantized,
  type QuantizingOptions,
  quantizedSteps,
  quantizedTypes,
  quantizeStudent,
  quantizingOptions,
  quantizingSettings,
  requireQuantizable,
} from "./distill-quantize.js";
import { type ComparedModel, type Contender, compareModels } from "./distill-table.js";
import type { Lesson } from "./lesson.js";
import { writingSteps } from "./on-policy.js";
import { requireTexts, type TeachEvent, type TeachingOptions, teachInto, teachingSettings } from "./teach.js";
import {
  type AnsweredRows,
  type AnswerOptions,
  answerOptions,
  answerSettings,
  teacherAnswers,
} from "./teacher-answers.js";
import { readTextRows } from "./text-rows.js";
import { ending, tuneInFolder } from "./tune.js";
import { recutWarning } from "./tune-data.js";
import { readRunFile } from "./tune-files.js";
import type { RunEvent, TuneResult } from "./tune-result.js";

/** What distill() takes beside the options of {@link tune}. */
export interface DistillationOptions extends TeachingOptions, QuantizingOptions, AnswerOptions {
  /** The student: path of a GGUF, or an hf: URI. Its tokens are the teacher's, or those of it that `student --vocab` kept; or the teacher's are such a part of its own. */
  student: string;
  /** The folder of the teacher's cache, as of teach: used where it fits, made or completed where it is not whole (default: `teacher` in the RUN folder). */
  cache?: string | undefined;
  /** KL(teacher || student) (default), KL(student || teacher), or the generalised Jensen-Shannon divergence. */
  loss?: NativeDistillation["loss"] | undefined;
  /** Of "jsd": the teacher's share of the mixture, above 0 and below 1 (default 0.5). */
  beta?: number | undefined;
  /** Share of the labels' own cross-entropy in the loss, from 0 to 1 (default 0.5; with onPolicy 0, and no other). */
  labelWeight?: number | undefined;
  /**
   * Weight, at least 0 (default), of the distance of the student's hidden states from the teacher's, ‖P h − t‖² / ‖t‖², with a projection P that is learnt beside
   * the student and left behind with it. The cache then keeps the teacher's states, as of teach with `hidden`.
   */
  hiddenWeight?: number | undefined;
  /** Share of the steps, from 0 (default) to 1, in which the student answers the rows itself, and the teacher, which stays open, is asked about its tokens. */
  onPolicy?: number | undefined;
}

/** Options of {@link distill}: those of tune, and the teacher's. */
export type DistillOptions = Omit<TuneOptions, "model"> & DistillationOptions;

/** What distill() tells while it works. */
export type DistillEvent =
  | RunEvent
  | TeachEvent
  | { type: "phase"; phase: "quantize" | "compare" }
  | { type: "end"; result: DistillResult };

/** The result of distill(), in the fields of `stillroom distill --json`. */
export interface DistillResult extends TuneResult {
  /** The teacher's cache; null where all steps are on-policy. */
  cache: string | null;
  /** Texts of no task, or pieces of them, that were learnt beside the task's rows in each epoch. */
  texts: number;
  /** Rows of the task that were learnt in the teacher's tokens, of which the student has more and would cut them otherwise; 0 where the teacher has all of its tokens. */
  recut_rows: number;
  /** With the teacher's own answers: of how many rows they were learnt; else null. */
  answers: AnsweredRows | null;
  /** The quantised student; null with "none". */
  quantized: string | null;
  /** As export's; null with "none" and where the task has no held-out rows. */
  gate: Gate | null;
  /** Name of the task's metric. */
  metric: string;
  /** Teacher (not one that llama.cpp runs with an adapter), student and quantised student; empty where the task has no held-out rows. */
  comparison: ComparedModel[];
}

/**
 * Trains a student on a teacher's answers to the rows of a task: all of its weights, or an adapter with method "lora". The RUN folder, resume,
 * early stopping and the memory limit are those of {@link tune}; the teacher is asked once, before the first step, and its cache serves every epoch.
 * Then the student is quantised and passes export's gate, and teacher, student and quantised student answer the same held-out rows.
 *
 * The result rejects, and the iterator throws, StillroomError as tune's; besides "input" for a student whose tokens are not the teacher's and for a cache
 * that does not fit, "gate" for a student that quantising harms (the run and its model are kept; cause: the ExportResult, with metric and comparison).
 *
 * @example
 * ```ts
 * import { distill, readTask } from "stillroom";
 * const task = await readTask("sst2/task.yaml");
 * const run = distill(task, { teacher: "model.gguf", teacherAdapter: "runs/sst2", student: "small.gguf", out: "runs/small", epochs: 3 });
 * for await (const event of run) if (event.type === "teach") console.error(event.rows, event.totalRows);
 * console.log((await run.result).comparison);
 * ```
 */
export function distill(task: Task, options: DistillOptions): EventRun<DistillEvent, DistillResult> {
  return new EventRun(ending(distilling(task, options)));
}

const optionNames = [
  ..."student teacher teacherAdapter teacherPrecision cache topK tail loss beta temperature labelWeight hiddenWeight onPolicy answers answerScore samples sampleTemperature sampleTopP texts quantize size quantizeAware checkLimit".split(
    " ",
  ),
];

async function* distilling(
  task: Task,
  options: DistillOptions,
): AsyncGenerator<Exclude<DistillEvent, { type: "end" }>, DistillResult> {
  const { own, rest } = part(options);
  requireTexts(task);
  const before = rest.resume ? await readRunFile(path.join(path.resolve(rest.out), "run.json")) : null;
  const merged = { ...before?.distillation, ...own } as Partial<DistillationOptions>;
  const { student, ...lessons } = await distillationSettings(merged, rest.signal);
  if (own.beta !== undefined && lessons.loss !== "jsd") throw unexpected('loss "jsd"', "beta", own.beta);
  // A run that goes on has its prompt and its method.
  const { task: asked, prompt } = await readPrompt(task, rest.prompt ?? before?.options.prompt ?? undefined);
  const method = rest.method ?? (before ? undefined : "full");
  return yield* tuneInFolder<TeachEvent | { type: "phase"; phase: "quantize" | "compare" }, DistillResult>(
    task,
    { ...rest, method, model: student },
    // Seed, threads and variant too are those that it was begun with.
    lessonOf(asked, { ...lessons, student, prompt }, { ...before?.options, ...rest }),
  );
}

/** The options of distillation, and those of tune. Undefined ones are left out. */
function part(options: DistillOptions) {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const chosen = (own: boolean) => Object.fromEntries(given.filter(([name]) => optionNames.includes(name) === own));
  const rest = chosen(false) as Omit<TuneOptions, "model">;
  if ("model" in rest) throw new StillroomError("usage", "distill has no option model: give the student as student");
  if (rest.head !== undefined) {
    const message = "expected no head: a head of the task's own learns from rows, not from a teacher";
    throw new StillroomError("usage", message, { options: ["head"] });
  }
  return { own: chosen(true) as Partial<DistillationOptions>, rest };
}

async function distillationSettings(options: Partial<DistillationOptions>, signal: AbortSignal | undefined) {
  const { student, cache, loss = "forward_kl", beta = 0.5, onPolicy = 0, hiddenWeight = 0 } = options;
  const { labelWeight = onPolicy > 0 ? 0 : 0.5 } = options;
  if (student === undefined) {
    const message = "expected a path for student, received none; stillroom student makes one of a teacher";
    throw new StillroomError("usage", message, { options: ["student"] });
  }
  requirePath("student", student);
  if (cache !== undefined) requirePath("cache", cache);
  if (!["forward_kl", "reverse_kl", "jsd"].includes(loss)) {
    throw unexpected("one of forward_kl, reverse_kl, jsd", "loss", loss);
  }
  const { tail = loss === "forward_kl" ? "sample" : "bucket" } = options;
  if (tail === "sample" && loss !== "forward_kl") throw unexpected(`bucket with loss ${loss}`, "tail", tail);
  if (!(beta > 0 && beta < 1)) throw unexpected("a number above 0 and below 1", "beta", beta);
  if (!(labelWeight >= 0 && labelWeight <= 1)) throw unexpected("a number from 0 to 1", "labelWeight", labelWeight);
  if (!(hiddenWeight >= 0 && Number.isFinite(hiddenWeight)))
    throw unexpected("a number of at least 0", "hiddenWeight", hiddenWeight);
  if (!(onPolicy >= 0 && onPolicy <= 1)) throw unexpected("a number from 0 to 1", "onPolicy", onPolicy);
  // What the student writes is no label.
  if (onPolicy > 0 && labelWeight !== 0) throw unexpected("0 together with onPolicy", "labelWeight", labelWeight);
  return {
    ...{ student, cache, loss, beta, labelWeight, hiddenWeight, onPolicy },
    answering: answerSettings(options),
    quantizing: quantizingSettings(options),
    asking: { ...(await teachingSettings({ ...options, tail }, signal)), hidden: hiddenWeight > 0 },
  };
}

type Settings = Awaited<ReturnType<typeof distillationSettings>> & { prompt: GivenPrompt };

function lessonOf(
  task: Task,
  settings: Settings,
  { seed = 0, threads, variant, signal, ...run }: Omit<TuneOptions, "model">,
): Lesson<TeachEvent | { type: "phase"; phase: "quantize" | "compare" }> {
  const { asking, loss, beta, labelWeight, hiddenWeight, onPolicy, answering, quantizing, prompt } = settings;
  requireQuantizable(quantizing.quantizeAware, run);
  if (asking.hidden && run.targets?.length === 1 && run.targets[0] === "head") {
    const message = "hiddenWeight moves what lies below the head, and targets is the head alone: leave it out";
    throw new StillroomError("usage", message, { options: ["hiddenWeight", "targets"] });
  }
  const { teacher: teacherFile, adapter, topK, tail, temperature, precision } = asking;
  let opened: { teacher: Teacher; tokens: TokenMap } | null = null;
  let cache: TeacherCache | null = null;
  let cacheFolder: string | null = null;
  let tokenBudget: number | undefined;
  let recutRows = 0;
  let answered: AnsweredRows | null = null;
  // How many of the rows are of texts: the last ones.
  let texts = 0;
  // Of a teacher that llama.cpp runs with an adapter: it can be asked about tokens, and gives no answers of its own.
  let answersItself = true;
  return {
    options: {
      ...{ student: settings.student, teacher: teacherFile, topK, tail, temperature, teacherPrecision: precision },
      ...{ loss, labelWeight, hiddenWeight, onPolicy, ...answerOptions(answering), ...quantizingOptions(quantizing) },
      ...(loss === "jsd" && { beta }),
      ...(adapter !== null && { teacherAdapter: adapter }),
      ...(settings.cache !== undefined && { cache: settings.cache }),
      ...(asking.texts !== null && { texts: asking.texts }),
    },
    async bytesBeside(student, trained) {
      const asked = await native().inspect(await resolveModel(teacherFile, { signal }));
      const hidden = asking.hidden ? hiddenBytes(asked.width, student, trained) : 0;
      const texts = asking.texts === null ? [] : (await readTexts(asking.texts, { signal })).texts;
      const always = bytesRounded(student, quantizing) + hidden + textBytes(texts);
      const asks = askingBytes(asked, trained);
      return onPolicy > 0 ? { always: always + asks, around: 0 } : { always, around: asks };
    },
    async begin(student, budget) {
      tokenBudget = budget;
      const teacher = await Teacher.open({ ...asking, threads, variant, signal });
      try {
        const tokens = TokenMap.between(student, teacher.model);
        opened = { teacher, tokens };
        return tokens.reading(student.tokenizer, teacher.model.tokenizer);
      } finally {
        if (!opened) await teacher.close();
      }
    },
    unanswered: answering.answers === "teacher",
    async revise(rows, folder) {
      if (answering.answers === "data") return rows;
      const file = path.join(folder, "answers.json");
      const asked = { file, signal: signal ?? null, prompt, ...answering, seed, tokenBudget };
      const { rows: learnt, counts } = await teacherAnswers(task, opened!.teacher, rows, asked);
      answered = counts;
      return learnt;
    },
    async *further({ tokenizer, maxLength, strict }) {
      const found = yield* readTextRows(asking.texts, tokenizer, { maxLength, strict, signal: signal ?? null });
      texts = found.rows.length;
      return found;
    },
    async *ask({ folder, student, rows, recut, steps }) {
      const last = quantizedSteps(quantizing, steps);
      const { teacher, tokens } = opened!;
      recutRows = recut.rows;
      yield* recutWarning(task, recut, { student: student.info.vocabulary, teacher: teacher.model.info.vocabulary });
      answersItself = adapter === null || teacher.model.tunable;
      const common = { teacher, signal: signal ?? null };
      if (onPolicy < 1) {
        cacheFolder = path.resolve(settings.cache ?? path.join(folder, "teacher"));
        cache = yield* teachInto(cacheFolder, {
          task,
          rows: tokens.rowsOfTeacher(rows),
          texts,
          tokenBudget,
          ...common,
        });
      }
      const beside = path.join(folder, "quantized.gguf");
      const quantized = await quantizedTypes(student, quantizing, { beside, steps: last, targets: run.targets });
      const facts = teacher.facts(task, { rows: "", texts: null });
      if (onPolicy === 0) await teacher.close();
      return {
        distillation: { loss, beta, temperature, labelWeight, hiddenWeight },
        hiddenWidth: asking.hidden ? teacher.model.info.width : null,
        fingerprint: {
          ...{ teacher: facts.teacher, teacherAdapter: facts.adapter, template: facts.template },
          ...{ topK, tail, temperature, teacherPrecision: facts.precision, teacherEngine: facts.engine },
          ...{ loss, labelWeight, onPolicy, ...(loss === "jsd" && { beta }), ...(asking.hidden && { hiddenWeight }) },
          ...(quantized && { quantize: quantizing.quantize, quantizeAware: quantizing.quantizeAware }),
        },
        taught: cache && ((indices) => tokens.ofStudent(cache!.read(indices, asking.hidden))),
        written: onPolicy > 0 ? writingSteps({ student, tokens, rows, texts, share: onPolicy, seed, ...common }) : null,
        quantized,
      };
    },
    async close() {
      await cache?.close();
      await opened?.teacher.close();
    },
    async *finish({ folder, student, result }) {
      const trained = result.model ?? student;
      const own = result.adapter === null ? null : folder;
      const contenders: Contender[] = [
        ...(answersItself ? [{ name: "teacher" as const, model: teacherFile, adapter }] : []),
        { name: "student", model: trained, adapter: own },
      ];
      const out = path.join(folder, "quantized.gguf");
      if (quantizing.quantize !== null || quantizing.size !== null) yield { type: "phase", phase: "quantize" };
      const labelled = answered === null || answered.labelled > 0;
      const model = { model: trained, adapter: own, out, seed, labelled, threads, signal, prompt: prompt?.file };
      const { exported, refused } = await quantizeStudent(task, quantizing, model);
      if (exported) contenders.push({ name: "quantized", model: out, adapter: null });
      yield { type: "phase", phase: "compare" };
      const opening = { threads, variant, ...(signal && { signal }) };
      const limit = quantizing.checkLimit;
      const comparison = await compareModels(task, contenders, { limit, seed, opening, prompt, tokenBudget });
      const quantized = exported && out;
      const gate = exported?.gate ?? null;
      if (refused) throw notQuantized(refused, trained, { metric: task.metric, comparison });
      return {
        cache: cacheFolder,
        texts,
        recut_rows: recutRows,
        answers: answered,
        quantized,
        gate,
        metric: task.metric,
        comparison,
      };
    },
  };
}
