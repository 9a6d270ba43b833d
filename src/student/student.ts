// From a teacher to a smaller model of the same kind: measure what matters on a task's rows, write what stays, measure what that is worth.
// Owns the order of the steps and the temporary file; the measuring is in measure.ts, the file is written natively.
import { rm, stat } from "node:fs/promises";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { type Row, readRows } from "../dataset/index.js";
import { readShots } from "../evaluate/index.js";
import { requireSpace } from "../export/index.js";
import { boxedModels, Model, notTunable, openModel } from "../model/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { makeFolder, placeFile, requireWritable, temporaryName } from "../support/files.js";
import { requireNoInput, requireSameKind } from "../support/inputs.js";
import { native, rethrow } from "../support/native.js";
import { taskFiles } from "../task/index.js";
import { type Measured, Measuring } from "./measure.js";
import { type StudentOptions, type StudentSettings, studentSettings, studentSize } from "./options.js";

/** The result of {@link makeStudent}, in the fields of `stillroom student --json`. */
export interface StudentResult extends Measured {
  /** Absolute path of the GGUF. */
  out: string;
  /** Path of the teacher. */
  teacher: string;
  task: string;
  /** Type of the matrices. */
  type: "f16" | "f32";
  bytes: number;
  teacher_parameters: number;
  /** The teacher's layers that stay, from 0; -1 for each new one. */
  layers: number[];
  width: number;
  feed_forward: number;
  heads: number;
  key_value_heads: number;
  /** Rows measured on; bad rows, left out. */
  rows: number;
  errors: number;
  seconds: number;
}

/**
 * Makes a student of a teacher: fewer layers (those that the task's loss rises least without are left out), narrower feed-forward parts and fewer heads (those
 * that add least to the residual stream go), and a vocabulary of what a task's texts need; with a width, a fresh model of any size that takes from the teacher what fits. Its weights are the teacher's, dequantised; it is to be trained before it is of use (`tune` with method
 * "full", or `distill`; for a task of kind multilabel `tune` with its head).
 *
 * @throws StillroomError "usage" for a size that the teacher does not have, "input" for a teacher that the native engine cannot open or a task without
 * training rows, "io" for the disk, "cancelled" on abort
 *
 * @example
 * ```ts
 * import { makeStudent, readTask } from "stillroom";
 * const task = await readTask("sst2/task.yaml");
 * const { layers, loss } = await makeStudent({ teacher: "tuned.gguf", task, layers: 10, feedForward: 768, out: "student.gguf" });
 * console.log(layers, loss.teacher, loss.student);
 * ```
 */
export async function makeStudent(options: StudentOptions): Promise<StudentResult> {
  const settings = await studentSettings(options);
  const given = options.teacher;
  const teacher = given instanceof Model ? given : await openModel(given, options);
  try {
    return await make(teacher, settings);
  } catch (error) {
    return rethrow(error);
  } finally {
    if (teacher !== given) await teacher.close();
  }
}

async function make(teacher: Model, settings: StudentSettings): Promise<StudentResult> {
  const started = performance.now();
  const { task, type, prompt } = settings;
  const out = path.resolve(settings.out);
  if (!teacher.tunable) throw notTunable(teacher.info);
  const size = studentSize(settings, teacher.info);
  const tasks = typeof settings.vocabulary === "object" ? [task, settings.vocabulary] : [task];
  await requireNoInput(out, [
    { what: "the teacher", file: teacher.info.path },
    ...tasks.flatMap(taskFiles),
    ...(prompt === undefined ? [] : [{ what: "the prompt file", file: prompt.file }]),
    ...(await boxedModels()),
  ]);
  await requireSameKind(out, "GGUF", "GGUF");
  await requireVocabulary(settings, teacher);
  await makeFolder(path.dirname(out));
  await requireWritable(out);
  await requireSpace(path.dirname(out), teacher.info.parameters * (type === "f16" ? 2 : 4));
  const { rows, errors } = await measuredRows(settings);
  const { examples } = await readShots(task, rows, { ...settings, model: teacher });
  const measuring = new Measuring(teacher, rows, examples, settings);
  const parts = await measuring.parts(size);
  throwIfCancelled(settings.signal, "making a student");
  settings.onProgress?.({ phase: "write", done: 0 });
  const temporary = temporaryName(out);
  let made: Measured;
  try {
    await native().writeStudent(teacher.info.path, parts, type === "f16", temporary);
    made = await measuring.student(temporary);
    await placeFile(temporary, out);
  } finally {
    await rm(temporary, { force: true });
  }
  return {
    ...{ out, teacher: teacher.info.path, task: task.name, type, bytes: (await stat(out)).size },
    ...{ ...made, teacher_parameters: teacher.info.parameters },
    ...{ layers: [...parts.layers], feed_forward: size.feedForward },
    ...{ width: size.width, heads: size.heads, key_value_heads: size.keyValueHeads },
    ...{ rows: rows.length, errors, seconds: (performance.now() - started) / 1000 },
  };
}

/** Throws "input" for a tokenizer that cannot be trimmed, and "usage" for fewer tokens than always stay. */
async function requireVocabulary({ vocabulary }: StudentSettings, { info }: Model): Promise<void> {
  if (vocabulary === undefined) return;
  await native().requireVocabulary(info.path, typeof vocabulary === "number" ? vocabulary : info.vocabulary);
}

/** Rows from the whole of the training data: files are often sorted by label. */
async function measuredRows(settings: StudentSettings): Promise<{ rows: Row[]; errors: number }> {
  const { task, limit, strict, onBad, signal } = settings;
  const { rows, bad } = await readRows(task, "train", {
    strict: strict ?? false,
    ...(onBad && { onBad }),
    ...(signal && { signal }),
  });
  const count = Math.min(limit, rows.length);
  const chosen = Array.from({ length: count }, (_, index) => rows[Math.floor((index * rows.length) / count)]!);
  return { rows: chosen, errors: bad.length };
}
