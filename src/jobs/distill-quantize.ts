// How a run of distill ends in a quantised student: its options, the types that the last steps see, and the export. Knows no loss.
import { rm } from "node:fs/promises";
import { cardFile, type ExportResult, exportModel, quantizedBytes, requireSize, requireType } from "../export/index.js";
import type { Model } from "../model/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { temporaryName } from "../support/files.js";
import { type NativeModelInfo, type NativeTensorType, native } from "../support/native.js";
import { requireWhole, type Task } from "../task/index.js";
import type { TuneOptions } from "../train/index.js";
import type { ComparedModel } from "./distill-table.js";
import type { Asked } from "./lesson.js";

/** The part of {@link DistillOptions} that is about quantising. */
export interface QuantizingOptions {
  /** What the student is quantised to at the end, one of llama.cpp's types (default "Q4_K_M"), or "none". */
  quantize?: string | undefined;
  /** In place of quantize: most bytes of the quantised student, as of exportModel. */
  size?: number | undefined;
  /**
   * How many of the last steps train the student as it will be quantised: each forward and backward pass sees the weights rounded to the types of `quantize`,
   * without an importance matrix, and so does the export. Below 1 a share of the steps, from 1 on a number of steps (default 0). Whole weights only.
   */
  quantizeAware?: number | undefined;
  /** Most held-out rows of the gate and of the table at the end (default 500). */
  checkLimit?: number | undefined;
}

/** Checked, with defaults; quantize is null for "none" and with a size. */
export interface QuantizingSettings {
  quantize: string | null;
  size: number | null;
  quantizeAware: number;
  checkLimit: number;
}

const refuse = (message: string, ...options: string[]) => new StillroomError("usage", message, { options });

/** Checks the options. Throws "usage". */
export function quantizingSettings(options: QuantizingOptions): QuantizingSettings {
  const { quantize, size, quantizeAware = 0, checkLimit = 500 } = options;
  requireWhole("checkLimit", checkLimit, 1);
  requireWhole("size", size, 1);
  if (size !== undefined && quantize !== undefined)
    throw refuse("size chooses the types itself: leave out quantize", "size", "quantize");
  const type = quantize === "none" || size !== undefined ? null : requireType(quantize ?? "Q4_K_M", "quantize");
  const count = quantizeAware < 1 || Number.isInteger(quantizeAware);
  if (!(quantizeAware >= 0) || !count)
    throw unexpected("a share below 1, or a number of steps", "quantizeAware", quantizeAware);
  if (quantizeAware > 0 && type === null)
    throw refuse(
      "quantizeAware needs to know the types before the end: give quantize a type",
      "quantizeAware",
      "quantize",
    );
  return { quantize: type, size: size ?? null, quantizeAware, checkLimit };
}

/** Throws "usage" where the run's other options leave nothing to be trained so. */
export function requireQuantizable(
  aware: number,
  { method, patience }: Pick<TuneOptions, "method" | "patience">,
): void {
  if (aware === 0) return;
  if (method !== undefined && method !== "full")
    throw refuse(`quantizeAware trains whole weights: it needs method full, not ${method}`, "quantizeAware", "method");
  if (patience !== undefined && patience !== null)
    throw refuse(
      "patience may end a run before the steps that quantizeAware is about: leave it out",
      "patience",
      "quantizeAware",
    );
}

/**
 * Before anything is learnt: throws "usage" for a size or a type that no weights of the student can be given. labelled: whether training rows have labels.
 */
export async function requireReachable(
  student: Model,
  { quantize, size }: QuantizingSettings,
  { task, beside, labelled }: { task: Task; beside: string; labelled: boolean },
): Promise<void> {
  if (size !== null) {
    if (!labelled && !task.data.validation) {
      const message = `size measures on validation rows or labelled training rows, and ${task.name} has none: give quantize a type`;
      throw refuse(message, "size", "quantize");
    }
    await requireSize(student, size, beside);
  }
  // Some types need an importance matrix, which is of labelled rows.
  if (quantize !== null && !labelled) await typesWithin(student, quantize, beside);
}

/** What llama.cpp's quantiser makes of a student's matrices without an importance matrix. */
async function typesWithin(student: Model, type: string, beside: string): Promise<NativeTensorType[]> {
  const file = temporaryName(beside);
  try {
    await native().quantize(student.info.path, file, { type, importance: null, threads: student.threads });
    return await native().tensorTypes(file);
  } finally {
    await rm(file, { force: true });
  }
}

/** How many of a run's steps, the last ones, see rounded weights. Throws "usage" for more than there are. */
export function quantizedSteps({ quantizeAware }: Pick<QuantizingSettings, "quantizeAware">, steps: number): number {
  if (quantizeAware > steps) throw unexpected(`at most the ${steps} steps of the run`, "quantizeAware", quantizeAware);
  return quantizeAware < 1 ? Math.ceil(quantizeAware * steps) : quantizeAware;
}

/** The options that repeat a run, for run.json. */
export function quantizingOptions({
  quantize,
  size,
  quantizeAware,
  checkLimit,
}: QuantizingSettings): QuantizingOptions {
  return {
    ...(size === null ? { quantize: quantize ?? "none" } : { size }),
    ...(quantizeAware > 0 && { quantizeAware }),
    checkLimit,
  };
}

/** Bytes of the rounded weights in training, from above. */
export function bytesRounded(student: NativeModelInfo, { quantize, quantizeAware }: QuantizingSettings): number {
  return quantizeAware > 0 && quantize !== null ? quantizedBytes(student, quantize) : 0;
}

/** What the last steps see of a student; null where they see its weights as they are. Throws "usage" for targets that part its embeddings and head. */
export async function quantizedTypes(
  student: Model,
  { quantize, quantizeAware }: QuantizingSettings,
  { beside, steps, targets = [] }: { beside: string; steps: number; targets?: readonly string[] | undefined },
): Promise<Asked["quantized"]> {
  if (quantizeAware === 0 || quantize === null) return null;
  if (student.info.tiedEmbeddings && targets.includes("head") !== targets.includes("embeddings")) {
    const message =
      "the student's head is its embeddings: with quantizeAware give targets both of head and embeddings, or neither";
    throw refuse(message, "targets", "quantizeAware");
  }
  return { types: await typesWithin(student, quantize, beside), steps };
}

/** Writes the quantised student beside its run, through export's gate. labelled: whether training rows have labels, to be measured on. Gives what was exported, null where none is asked for or the gate refused it, and the gate's error. */
export async function quantizeStudent(
  task: Task,
  { quantize, size, quantizeAware, checkLimit }: QuantizingSettings,
  given: { model: string; adapter: string | null; out: string; seed: number; labelled: boolean } & Pick<
    TuneOptions,
    "threads" | "signal" | "prompt"
  >,
): Promise<{ exported: ExportResult | null; refused: StillroomError | null }> {
  // A finished run that ends anew, with another type or without, leaves nothing of the end before.
  await Promise.all([given.out, cardFile(given.out)].map((file) => rm(file, { force: true })));
  if (quantize === null && size === null) return { exported: null, refused: null };
  const { adapter, prompt, labelled, ...rest } = given;
  const measured = quantizeAware === 0 && labelled;
  const heldOut = task.data.validation !== undefined || task.data.test !== undefined;
  const work = exportModel({
    ...{ ...rest, limit: checkLimit },
    ...(size === null ? { quantize: quantize! } : { size }),
    // What was trained is the rounded model, rounded without a matrix; the weights that it is rounded from are none to be near to.
    ...(quantizeAware > 0 && { bounds: { mergedQuantizedKl: null } }),
    ...(measured && { imatrix: task }),
    ...(adapter !== null && { adapter }),
    ...(heldOut && { check: task }),
    // Without a task nothing is asked.
    ...((heldOut || measured) && { prompt }),
  });
  try {
    return { exported: await work, refused: null };
  } catch (error) {
    if (error instanceof StillroomError && error.code === "gate") return { exported: null, refused: error };
    throw error;
  }
}

/** The gate's error, with what is to be done with a student that is kept and what was measured of it. */
export function notQuantized(
  { message, cause }: StillroomError,
  student: string,
  measured: { metric: string; comparison: ComparedModel[] },
): StillroomError {
  const remedy = `the student is kept: stillroom export takes ${student}`;
  // Neither is there.
  const { out: _, card: __, ...exported } = cause as ExportResult;
  return new StillroomError("gate", `${message}; ${remedy}`, { cause: { ...exported, ...measured } });
}
