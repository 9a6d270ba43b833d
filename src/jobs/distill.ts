// The public distill(): a run of tune whose loss is a teacher's, then export and the table. Composes tune, teach and export; holds no loop and no equation.
import path from "node:path";
import { readTexts } from "../dataset/index.js";
import { openBatch } from "../decode/index.js";
import { readPrompt } from "../evaluate/index.js";
import type { Gate } from "../export/index.js";
import { isModelUri, resolveModel } from "../model/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { EventRun } from "../support/event-run.js";
import { requireUnheld } from "../support/lock.js";
import { native } from "../support/native.js";
import type { Task } from "../task/index.js";
import { Teacher, type TeacherCache, TokenMap } from "../teach/index.js";
import { askingBytes, hiddenBytes, RunFolder, requireSameRun, type TuneOptions, textBytes } from "../train/index.js";
import {
  type DistillationOptions,
  type DistillationSettings,
  type DistillOptions,
  distillationSettings,
  optionParts,
} from "./distill-options.js";
import {
  bytesRounded,
  notQuantized,
  quantizedSteps,
  quantizedTypes,
  quantizeStudent,
  quantizingOptions,
  requireQuantizable,
  requireReachable,
} from "./distill-quantize.js";
import { type ComparedModel, type Contender, compareModels } from "./distill-table.js";
import type { Lesson } from "./lesson.js";
import { writingBytes, writingSteps } from "./on-policy.js";
import { requireTexts, type TeachEvent, teachInto } from "./teach.js";
import { type AnsweredRows, answerOptions, teacherAnswers } from "./teacher-answers.js";
import { readTextRows } from "./text-rows.js";
import { ending, tuneInFolder } from "./tune.js";
import { recutWarning } from "./tune-data.js";
import { readRunOf, requireOptions } from "./tune-files.js";
import type { RunEvent, TuneResult } from "./tune-result.js";

/** What distill() tells while it works. */
export type DistillEvent = RunEvent | LessonEvent | { type: "end"; result: DistillResult };

/** What it tells beside what tune() does. */
type LessonEvent = TeachEvent | { type: "phase"; phase: "quantize" | "compare" };

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
 * that does not fit, "gate" for a student that quantising harms (the run and its model are kept; cause: the ExportResult without out and card, with metric and comparison).
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
  return new EventRun(ending(distilling(task, options, true)));
}

/** {@link distill} without its table, as comparison is empty: for a ladder, whose rungs ask the same models about the same rows. */
export function distillUncompared(task: Task, options: DistillOptions): EventRun<DistillEvent, DistillResult> {
  return new EventRun(ending(distilling(task, options, false)));
}

async function* distilling(
  task: Task,
  options: DistillOptions,
  compared: boolean,
): AsyncGenerator<Exclude<DistillEvent, { type: "end" }>, DistillResult> {
  const { own, rest } = optionParts(options);
  requireTexts(task);
  const file = path.join(path.resolve(rest.out), "run.json");
  const before = rest.resume ? await readRunOf("distill", file) : null;
  if (rest.resume && !before && own.student === undefined) await requireUnused(path.resolve(rest.out));
  if (before?.distillation) {
    const lesson = before.distillation as Partial<DistillationOptions>;
    await requireOptions(file, () => distillationSettings(lesson, rest.signal));
    requireSameLesson(before.distillation, own, rest);
  }
  const merged = { ...before?.distillation, ...own } as Partial<DistillationOptions>;
  // Each stands in place of the other: what is given now counts.
  if (own.size !== undefined) merged.quantize = own.quantize;
  if (own.quantize !== undefined) merged.size = own.size;
  const { student, ...lessons } = await distillationSettings(merged, rest.signal);
  if (own.beta !== undefined && lessons.loss !== "jsd") throw unexpected('loss "jsd"', "beta", own.beta);
  if (lessons.cache !== undefined) await requireUnheld(lessons.cache);
  // A run that goes on has its prompt and its method.
  const { task: asked, prompt } = await readPrompt(task, rest.prompt ?? before?.options.prompt ?? undefined);
  const method = rest.method ?? (before ? undefined : "full");
  return yield* tuneInFolder<LessonEvent, DistillResult>(
    task,
    { ...rest, method, model: student },
    // Seed, threads and variant too are those that it was begun with.
    lessonOf(
      asked,
      { ...lessons, student, prompt, compared },
      { ...before?.options, ...rest },
      Boolean(before?.fingerprint),
    ),
  );
}

/** Throws "usage" for a folder that another process works in: it may be just beginning the run that is to be gone on with. */
async function requireUnused(folder: string): Promise<void> {
  await (await RunFolder.open(folder, true)).close();
}

/** Throws "usage" for another loss, or another share of on-policy steps, than a run was begun with: first of all, since it would be judged by options of that run. */
function requireSameLesson(
  before: Record<string, unknown>,
  own: Partial<DistillationOptions>,
  rest: Omit<TuneOptions, "model">,
): void {
  const judged = (["loss", "tail", "onPolicy", "labelWeight"] as const).filter((name) => own[name] !== undefined);
  const pick = (from: Record<string, unknown>) => Object.fromEntries(judged.map((name) => [name, from[name]]));
  requireSameRun(pick(before), pick({ ...own }), path.resolve(rest.out), rest);
}

/** What helps where a run's own cache is of something else than its options say. resumed: the run has had its teacher's answers. */
const ownCacheHelp = (folder: string, resumed: boolean): string =>
  resumed
    ? "resume the run as it was begun, or begin another one, in another folder"
    : `give what it was made with, or remove ${folder}, and the teacher is asked anew`;

/** As a run.json has it: good from any folder. */
const placed = (file: string): string => (isModelUri(file) ? file : path.resolve(file));

/** resumed: the run has had its teacher's answers. */
function lessonOf(
  task: Task,
  settings: DistillationSettings & { compared: boolean },
  { seed = 0, threads, variant, signal, ...run }: Omit<TuneOptions, "model">,
  resumed: boolean,
): Lesson<LessonEvent> {
  const { asking, loss, beta, labelWeight, hiddenWeight, onPolicy, onPolicyPrecision, answering, quantizing, prompt } =
    settings;
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
  const labelled = () => answered === null || answered.labelled > 0;
  return {
    options: {
      ...{ student: placed(settings.student), teacher: placed(teacherFile) },
      ...{ topK, tail, temperature, teacherPrecision: precision },
      ...{ loss, labelWeight, hiddenWeight, onPolicy, ...answerOptions(answering), ...quantizingOptions(quantizing) },
      ...(loss === "jsd" && { beta }),
      ...(onPolicyPrecision !== undefined && { onPolicyPrecision }),
      ...(adapter !== null && { teacherAdapter: placed(adapter) }),
      ...(settings.cache !== undefined && { cache: placed(settings.cache) }),
      ...(asking.texts !== null && { texts: placed(asking.texts) }),
    },
    async bytesBeside(student, trained) {
      const asked = await native().inspect(await resolveModel(teacherFile, { signal }));
      const hidden = asking.hidden ? hiddenBytes(asked.width, student, trained) : 0;
      const texts = asking.texts === null ? [] : (await readTexts(asking.texts, { signal })).texts;
      const written = onPolicy > 0 ? writingBytes(student, onPolicyPrecision) : 0;
      const always = bytesRounded(student, quantizing) + hidden + textBytes(texts) + written;
      const asks = askingBytes(asked, trained);
      return onPolicy > 0 ? { always: always + asks, around: 0 } : { always, around: asks };
    },
    async begin(student, budget) {
      tokenBudget = budget;
      // A precision that the processor lacks is told before anything is asked.
      if (onPolicyPrecision) await (await openBatch(student, { precision: onPolicyPrecision })).close();
      const teacher = await Teacher.open({ ...asking, threads, variant, signal });
      try {
        const tokens = await TokenMap.between(student, teacher.model);
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
      const beside = path.join(folder, "quantized.gguf");
      await requireReachable(student, quantizing, { task, beside, labelled: labelled() });
      const quantized = await quantizedTypes(student, quantizing, { beside, steps: last, targets: run.targets });
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
          own: settings.cache === undefined ? ownCacheHelp(cacheFolder, resumed) : null,
          ...common,
        });
      }
      const facts = teacher.facts(task, { rows: "", texts: null });
      if (onPolicy === 0) await teacher.close();
      return {
        distillation: { loss, beta, temperature, labelWeight, hiddenWeight },
        hiddenWidth: asking.hidden ? teacher.model.info.width : null,
        fingerprint: {
          ...{ teacher: facts.teacher, teacherAdapter: facts.adapter, template: facts.template },
          ...{ topK, tail, temperature, teacherPrecision: facts.precision, teacherEngine: facts.engine },
          ...{ loss, labelWeight, onPolicy, ...(loss === "jsd" && { beta }), ...(asking.hidden && { hiddenWeight }) },
          ...(onPolicyPrecision !== undefined && { onPolicyPrecision }),
          ...(quantized && { quantize: quantizing.quantize, quantizeAware: quantizing.quantizeAware }),
        },
        taught: cache && ((indices) => tokens.ofStudent(cache!.read(indices, asking.hidden))),
        written:
          onPolicy > 0
            ? writingSteps({
                ...{ student, tokens, rows, texts, share: onPolicy, seed, precision: onPolicyPrecision },
                ...common,
              })
            : null,
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
      const { exported, refused } = await quantizeStudent(task, quantizing, {
        ...{ model: trained, adapter: own, out, labelled: labelled() },
        ...{ seed, threads, signal, prompt: prompt?.file },
      });
      if (exported) contenders.push({ name: "quantized", model: out, adapter: null });
      const opening = { threads, variant, ...(signal && { signal }) };
      const limit = quantizing.checkLimit;
      let comparison: DistillResult["comparison"] = [];
      if (settings.compared) {
        yield { type: "phase", phase: "compare" };
        comparison = await compareModels(task, contenders, { limit, seed, opening, prompt, tokenBudget });
      }
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
