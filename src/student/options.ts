// The options of a student: their names, defaults and limits. Opens nothing.
import type { BadRow } from "../dataset/index.js";
import type { DownloadProgress, Model } from "../model/index.js";
import { unexpected } from "../support/errors.js";
import type { NativeModelInfo } from "../support/native.js";
import { requireKnown, requirePath, requireWhole, type Task } from "../task/index.js";

/** What a progress of a student tells: how much of one phase is done. */
export interface StudentProgress {
  phase: "layers" | "channels" | "vocabulary" | "write" | "measure";
  /** From 0 to 1. */
  done: number;
}

/** What a student is made of, and how large. A size that is not given is the teacher's. */
export interface StudentOptions {
  /** Path of a GGUF, hf: URI or an open model (which stays open); default: the model in the box. */
  teacher?: string | Model | undefined;
  /** The task on whose training rows importance is measured. */
  task: Task;
  /** Layers that stay. */
  layers?: number | undefined;
  /** Channels of the feed-forward part that stay, in every layer. */
  feedForward?: number | undefined;
  /** Query heads that stay, in every layer: whole groups, each with its key-value head. */
  heads?: number | undefined;
  /**
   * Tokens that stay: a task, for those that its training and validation rows are made of; or a number, for so many at most, those of `task` that are
   * most frequent first. Control tokens and single bytes always stay, so that every text still encodes.
   */
  vocabulary?: number | Task | undefined;
  /** Type of the matrices (default "f16"); vectors are f32. */
  type?: "f16" | "f32" | undefined;
  /** The GGUF to write. */
  out: string;
  /** Most rows that are measured on, drawn evenly from the training rows (default 64). */
  limit?: number | undefined;
  /** Throw at the first bad row instead of leaving it out (default false). */
  strict?: boolean | undefined;
  /** Threads (default: physical cores). */
  threads?: number | undefined;
  onProgress?: ((progress: StudentProgress) => void) | undefined;
  onDownload?: ((progress: DownloadProgress) => void) | undefined;
  /** Called once for every bad row. */
  onBad?: ((bad: BadRow) => void) | undefined;
  signal?: AbortSignal | undefined;
}

const optionNames = [
  ..."teacher task layers feedForward heads vocabulary type out limit strict threads".split(" "),
  ..."onProgress onDownload onBad signal".split(" "),
];

/** {@link StudentOptions} with the defaults that need no teacher. */
export interface StudentSettings extends StudentOptions {
  type: "f16" | "f32";
  limit: number;
}

/** Checks what can be checked without the teacher. Throws "usage". */
export function studentSettings(options: StudentOptions): StudentSettings {
  requireKnown(options, optionNames, "makeStudent");
  for (const name of ["layers", "feedForward", "heads", "limit"] as const) requireWhole(name, options[name], 1);
  if (options.type !== undefined && options.type !== "f16" && options.type !== "f32") {
    throw unexpected("f16 or f32", "type", options.type);
  }
  requirePath("out", options.out);
  if (typeof options.vocabulary !== "object") requireWhole("vocabulary", options.vocabulary, 1);
  if (options.task === undefined) throw unexpected("a task", "task", options.task);
  return { ...options, type: options.type ?? "f16", limit: options.limit ?? 64 };
}

/** What of the teacher stays, in numbers. */
export interface StudentSize {
  layers: number;
  feedForward: number;
  /** Key-value heads, each with its query heads. */
  groups: number;
}

/** The sizes that options ask of this teacher. Throws "usage" for one that it does not have. */
export function studentSize(options: StudentOptions, teacher: NativeModelInfo): StudentSize {
  const most = (name: "layers" | "feedForward" | "heads" | "vocabulary", of: number): number => {
    const given = options[name];
    const value = typeof given === "number" ? given : of;
    if (value > of) throw unexpected(`a whole number up to the teacher's ${of}`, name, value);
    return value;
  };
  const group = teacher.heads / teacher.keyValueHeads;
  const heads = most("heads", teacher.heads);
  most("vocabulary", teacher.vocabulary);
  if (heads % group !== 0) {
    throw unexpected(`a multiple of the ${group} query heads of a key-value head`, "heads", heads);
  }
  return {
    layers: most("layers", teacher.layers),
    feedForward: most("feedForward", teacher.feedForward),
    groups: heads / group,
  };
}
