// How the rungs of a ladder are made: its prompt, what is tuned, and its students, taught by a teacher's words or, of a task that a head answers, by its numbers and the
// rows. Each is a job that others can call alone; measures nothing.
import { stat } from "node:fs/promises";
import path from "node:path";
import { type BadRow, readRows } from "../dataset/index.js";
import { evaluateRows, numberText, type ScoringProgress, withPredictor } from "../evaluate/index.js";
import { exportModel } from "../export/index.js";
import { makeStudent, type StudentProgress } from "../student/index.js";
import { StillroomError } from "../support/errors.js";
import { writeFileAtomic } from "../support/files.js";
import type { Task } from "../task/index.js";
import { distillUncompared } from "./distill.js";
import type { LadderSettings } from "./ladder-options.js";
import { prompt } from "./prompt.js";
import { tune } from "./tune.js";

/** Rows that prompts are chosen by. */
const promptRows = 100;

/** What is climbed. */
export interface Making {
  task: Task;
  settings: LadderSettings;
  /** The folder of all that is made. */
  out: string;
  model: string;
}

/** The best of the ways to choose examples, on few validation rows; its file is the rung's. Gives how many bad rows it left out, and tells each. */
export async function choosePrompt(
  { task, settings, model }: Making,
  save: string,
  onBad: (bad: BadRow) => void,
): Promise<number> {
  const { shots, limit, seed, threads, precision, strict, signal, onEvent } = settings;
  const { errors } = await prompt(task, {
    ...{ model, shots: [shots], select: ["random", "similar", "diverse"], compare: true, save },
    ...{ limit: promptRows, pool: limit, seed, threads, precision, strict, signal, onBad },
    onProgress: (progress) => onEvent?.({ type: "scoring", rung: "few-shot", progress }),
  });
  return errors;
}

/** Gives the bad rows that it left out. */
export async function tuneModel({ task, settings, model }: Making, out: string): Promise<number> {
  const { epochs, learningRate, limit, seed, threads, precision, strict, signal, onEvent } = settings;
  const common = { limit, seed, threads, precision, strict, signal, resume: true };
  const work = tune(task, { model, out, epochs, learningRate, ...common });
  for await (const event of work) onEvent?.({ type: "tune", rung: "tuned", event });
  return (await work.result).bad_rows;
}

/** A student as it is cut out of its teacher, before it has learnt. */
async function cutStudent({ task, settings, out, model }: Making, layers: number): Promise<string> {
  const student = path.join(out, "student.gguf");
  if (await stat(student).catch(() => null)) return student;
  const { threads, signal, onEvent } = settings;
  const onProgress = (progress: StudentProgress) => onEvent?.({ type: "student", rung: "student", progress });
  await makeStudent({ teacher: model, task, layers, out: student, threads, signal, onProgress });
  return student;
}

/** The student, all of whose weights learn what the teacher says, and if that does it no harm the quantised one; else the gate's sentence on it. */
export async function distilStudent(
  making: Making,
  { out, teacherAdapter, layers }: { out: string; teacherAdapter: string; layers: number },
): Promise<string | null> {
  const { studentEpochs, studentLearningRate, quantize, checkLimit, limit, seed, threads, precision, signal, onEvent } =
    making.settings;
  const student = await cutStudent(making, layers);
  // All weights of the student are trained, which is exact only.
  const common = { limit, seed, threads, signal, resume: true };
  const teacher = { teacher: making.model, teacherAdapter, teacherPrecision: precision };
  const work = distillUncompared(making.task, {
    ...{ ...teacher, student, quantize, checkLimit, out },
    ...{ epochs: studentEpochs, learningRate: studentLearningRate, ...common },
  });
  return harmOf(async () => {
    for await (const event of work) onEvent?.({ type: "distill", rung: "student", event });
  });
}

/** The gate's sentence where work ends at it; else null. */
async function harmOf(work: () => Promise<unknown>): Promise<string | null> {
  try {
    await work();
    return null;
  } catch (error) {
    if (error instanceof StillroomError && error.code === "gate") return error.message;
    throw error;
  }
}

/** The student of a task that a head answers: an adapter and a head of its own over the cut model. */
export async function tuneStudent(
  making: Making,
  { out, teacherAdapter, layers }: { out: string; teacherAdapter: string; layers: number },
): Promise<void> {
  const { studentEpochs: epochs, studentLearningRate: learningRate, ...settings } = making.settings;
  const { limit, seed, threads, precision, signal, onEvent } = settings;
  const model = await cutStudent(making, layers);
  const task = making.task.kind === "regress" ? await taughtTask(making, teacherAdapter) : making.task;
  const work = tune(task, { model, out, epochs, learningRate, limit, seed, threads, precision, signal, resume: true });
  for await (const event of work) onEvent?.({ type: "tune", rung: "student", event });
}

/**
 * The task with training rows whose numbers lie half-way between their own and the tuned model's. The gradient of the squared error from these is the mean of those from
 * either: half of the loss is the teacher's, as in a distillation. Validation rows stay as they are.
 */
async function taughtTask({ task, settings, out, model }: Making, adapter: string): Promise<Task> {
  const { limit, threads, precision, signal, seed, onEvent } = settings;
  // No test rows: what is drawn from the file of the training rows was left out when these were read.
  const data: Task["data"] = {};
  for (const split of ["train", "validation"] as const) {
    if (task.data[split] === undefined) continue;
    const file = path.join(out, `taught-${split}.jsonl`);
    data[split] = { path: file, format: "jsonl", columns: {} };
    if (await stat(file).catch(() => null)) continue;
    const said = new Map<number, string>();
    if (split === "train") {
      const onProgress = (progress: ScoringProgress) => onEvent?.({ type: "scoring", rung: "student", progress });
      const asking = { model, adapter, split, limit, threads, precision, signal, seed };
      await withPredictor(task, asking, async ({ job }) => {
        const scores = await evaluateRows({ ...job, onProgress });
        for (const { index, prediction } of scores.rows) said.set(index, prediction);
      });
    }
    const { rows } = await readRows(task, split, { limit: split === "train" ? limit : undefined, signal });
    const lines = rows.flatMap(({ index, answer, fields }) => {
      const told = split === "train" ? said.get(index) : answer;
      if (told === undefined) return [];
      const number = numberText((Number(answer) + Number(told)) / 2);
      return `${JSON.stringify({ ...fields, [task.answer.field]: number })}\n`;
    });
    await writeFileAtomic(file, lines.join(""));
  }
  return { ...task, data };
}

/** The cut model in fewer bits, if that does no harm to what the adapter and the head that learnt over it answer; else the gate's sentence on it. */
export async function quantiseUnder(
  { task, settings }: Making,
  { model, under, out }: { model: string; under: string; out: string },
): Promise<string | null> {
  if (await stat(out).catch(() => null)) return null;
  const { quantize, checkLimit: limit, seed, threads, signal } = settings;
  return harmOf(() => exportModel({ model, under, quantize, out, check: task, limit, seed, threads, signal }));
}
