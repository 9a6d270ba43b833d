// From a teacher to a smaller model of the same kind: measure what matters on a task's rows, write what stays, measure what that is worth.
// Owns the order of the steps and the temporary file; what stays is chosen in choose.ts, the file is written natively.
import { rm, stat } from "node:fs/promises";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { type Row, readRows } from "../dataset/index.js";
import { answerBatches, requireSpace } from "../export/index.js";
import { Model, openModel } from "../model/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import { makeFolder, placeFile, temporaryName } from "../support/files.js";
import { requireNoInput } from "../support/inputs.js";
import { type NativeBatch, type NativeModel, type NativeStudentParts, native, rethrow } from "../support/native.js";
import { taskFiles } from "../task/index.js";
import { chooseLayers, largest, measurings } from "./choose.js";
import {
  type StudentOptions,
  type StudentSettings,
  type StudentSize,
  studentSettings,
  studentSize,
} from "./options.js";

/** The result of {@link makeStudent}, in the fields of `stillroom student --json`. */
export interface StudentResult {
  /** Absolute path of the GGUF. */
  out: string;
  /** Path of the teacher. */
  teacher: string;
  task: string;
  /** Type of the matrices. */
  type: "f16" | "f32";
  bytes: number;
  parameters: number;
  teacher_parameters: number;
  /** The teacher's layers that stay, from 0. */
  layers: number[];
  feed_forward: number;
  heads: number;
  key_value_heads: number;
  /** Rows measured on; bad rows, left out. */
  rows: number;
  errors: number;
  /** Mean over the answer tokens of these rows, in nats; the student's before any training. */
  loss: { teacher: number; student: number };
  seconds: number;
}

/**
 * Makes a student of a teacher: fewer layers (those that the task's loss rises least without are left out), narrower feed-forward parts and fewer heads (those
 * that add least to the residual stream go). Its weights are the teacher's, dequantised; it is to be trained before it is of use (`tune` with method
 * "full", or `distill`).
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
  const settings = studentSettings(options);
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
  const { task, type } = settings;
  const out = path.resolve(settings.out);
  const size = studentSize(settings, teacher.info);
  await requireNoInput(out, [{ what: "the teacher", file: teacher.info.path }, ...taskFiles(task)]);
  await makeFolder(path.dirname(out));
  await requireSpace(path.dirname(out), teacher.info.parameters * (type === "f16" ? 2 : 4));
  const { rows, errors } = await measuredRows(settings);
  const batches = answerBatches(teacher, task, rows, true);
  if (batches.length === 0) {
    throw new StillroomError(
      "input",
      `none of the training rows of ${task.name} fits the context of ${teacher.info.path}`,
    );
  }
  const measuring = new Measuring(teacher, batches, settings);
  const parts = await measuring.parts(size);
  throwIfCancelled(settings.signal, "making a student");
  settings.onProgress?.({ phase: "write", done: 0 });
  const temporary = temporaryName(out);
  let made: Pick<StudentResult, "loss" | "parameters">;
  try {
    await native().writeStudent(teacher.info.path, parts, type === "f16", temporary);
    made = await measuring.student(temporary);
    await placeFile(temporary, out);
  } finally {
    await rm(temporary, { force: true });
  }
  return {
    ...{ out, teacher: teacher.info.path, task: task.name, type, bytes: (await stat(out)).size },
    ...{ parameters: made.parameters, teacher_parameters: teacher.info.parameters, loss: made.loss },
    ...{ layers: [...parts.layers], feed_forward: size.feedForward, key_value_heads: size.groups },
    heads: (size.groups * teacher.info.heads) / teacher.info.keyValueHeads,
    ...{ rows: rows.length, errors, seconds: (performance.now() - started) / 1000 },
  };
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

/** What is measured on the teacher, always on the same batches. */
class Measuring {
  constructor(
    readonly teacher: Model,
    readonly batches: readonly NativeBatch[],
    readonly settings: StudentSettings,
  ) {}

  async parts(size: StudentSize): Promise<NativeStudentParts> {
    const { info } = this.teacher;
    const layers = await this.#layers(size.layers);
    const whole = size.feedForward === info.feedForward && size.groups === info.keyValueHeads;
    const energies = whole ? null : await this.#energies();
    const chosen = (of: Float64Array | undefined, width: number, keep: number) =>
      layers.map((layer) =>
        of ? largest(of.subarray(layer * width, (layer + 1) * width), keep) : Int32Array.from(Array(width).keys()),
      );
    return {
      layers: Int32Array.from(layers),
      feedForward: chosen(energies?.feedForward, info.feedForward, size.feedForward),
      groups: chosen(energies?.groups, info.keyValueHeads, size.groups),
    };
  }

  /** What the file of a student is worth beside its teacher, once it is open. */
  async student(file: string): Promise<Pick<StudentResult, "loss" | "parameters">> {
    const student = await openModel(file, { threads: this.teacher.threads, signal: this.settings.signal });
    try {
      const progress = (from: number) => (done: number) =>
        this.settings.onProgress?.({ phase: "measure", done: from + done / 2 });
      const loss = {
        teacher: await this.loss(this.teacher.native, progress(0)),
        student: await this.loss(student.native, progress(0.5)),
      };
      return { loss, parameters: student.info.parameters };
    } finally {
      await student.close();
    }
  }

  /** Mean over the answer tokens, in nats. */
  async loss(model: NativeModel, progress?: (done: number) => void): Promise<number> {
    let [sum, count] = [0, 0];
    for (const [index, batch] of this.batches.entries()) {
      throwIfCancelled(this.settings.signal, "making a student");
      const found = await model.score(batch, null);
      sum -= found.reduce((total, value) => total + value, 0);
      count += found.length;
      progress?.((index + 1) / this.batches.length);
    }
    return sum / count;
  }

  async #layers(keep: number): Promise<number[]> {
    const { info, threads } = this.teacher;
    const most = measurings(info.layers, keep);
    let measured = 0;
    return chooseLayers(info.layers, keep, async (kept) => {
      // The weights are mapped from the file: opening costs little.
      const layers = Int32Array.from(kept);
      const part = await native().openModel(info.path, { threads, variant: null, layers });
      try {
        return await this.loss(part, (done) =>
          this.settings.onProgress?.({ phase: "layers", done: (measured + done) / most }),
        );
      } finally {
        measured++;
        await part.close();
      }
    });
  }

  async #energies(): Promise<{ feedForward: Float64Array; groups: Float64Array }> {
    const importance = native().createImportance();
    for (const [index, batch] of this.batches.entries()) {
      throwIfCancelled(this.settings.signal, "making a student");
      await this.teacher.native.collectImportance(batch, importance);
      this.settings.onProgress?.({ phase: "channels", done: (index + 1) / this.batches.length });
    }
    return this.teacher.native.energies(importance);
  }
}
