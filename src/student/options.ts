// The options of a student: their names, defaults and limits. Opens nothing.
import type { BadRow } from "../dataset/index.js";
import { type GivenPrompt, readPrompt } from "../evaluate/index.js";
import type { DownloadProgress, Model } from "../model/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import type { NativeModelInfo } from "../support/native.js";
import { requireKnown, requirePath, requireTask, requireWhole, type Task } from "../task/index.js";
import { type HeadCounts, hasNewHeads } from "./choose.js";

/** What a progress of a student tells: how much of one phase is done. */
export interface StudentProgress {
  phase: "layers" | "channels" | "vocabulary" | "write" | "measure";
  /** From 0 to 1. */
  done: number;
}

/**
 * What a student is made of, and how large. A size that is not given is the teacher's; none is above the teacher's, unless a width is given. Then the student
 * is a fresh one of that size: what the teacher has not is drawn by the seed.
 */
export interface StudentOptions {
  /** Path of a GGUF, hf: URI or an open model (which stays open); default: the model in the box. */
  teacher?: string | Model | undefined;
  /** The task on whose training rows importance is measured. */
  task: Task;
  /** A prompt file, in place of the prompts of task and vocabulary: what the student will read before its rows. */
  prompt?: string | undefined;
  /** Layers that stay. */
  layers?: number | undefined;
  /** Channels of the residual stream. */
  width?: number | undefined;
  /** Channels of the feed-forward part that stay, in every layer (with a width in the teacher's proportion to it, in whole 256s, below that 32s). */
  feedForward?: number | undefined;
  /** Query heads that stay, in every layer. */
  heads?: number | undefined;
  /** Key-value heads that stay, each read by as many query heads (default: by as many as the teacher's where that goes up, else one each). */
  keyValueHeads?: number | undefined;
  /** Of values that the teacher has not (default 0). */
  seed?: number | undefined;
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
  ..."teacher task prompt layers width feedForward heads keyValueHeads vocabulary seed type out limit strict threads".split(
    " ",
  ),
  ..."onProgress onDownload onBad signal".split(" "),
];

/** {@link StudentOptions} with the defaults that need no teacher. */
export interface StudentSettings extends Omit<StudentOptions, "prompt"> {
  /** The prompt file; the tasks have its texts. */
  prompt: GivenPrompt;
  type: "f16" | "f32";
  limit: number;
}

/** Checks what can be checked without the teacher. Throws "usage", and what readPrompt throws. */
export async function studentSettings(options: StudentOptions): Promise<StudentSettings> {
  requireKnown(options, optionNames, "makeStudent");
  for (const name of ["layers", "width", "feedForward", "heads", "keyValueHeads", "limit"] as const) {
    requireWhole(name, options[name], 1);
  }
  requireWhole("seed", options.seed, 0);
  if (options.type !== undefined && options.type !== "f16" && options.type !== "f32") {
    throw unexpected("f16 or f32", "type", options.type);
  }
  requirePath("out", options.out);
  if (typeof options.vocabulary !== "object") requireWhole("vocabulary", options.vocabulary, 1);
  requireTask(options.task);
  const { task, prompt } = await readPrompt(options.task, options.prompt);
  const { vocabulary } = options;
  const texts = typeof vocabulary === "object" ? (await readPrompt(vocabulary, options.prompt)).task : vocabulary;
  const own = { task, prompt, vocabulary: texts };
  return { ...options, ...own, type: options.type ?? "f16", limit: options.limit ?? 64 };
}

/** How large a student is. */
export interface StudentSize extends HeadCounts {
  layers: number;
  width: number;
  feedForward: number;
}

/** Beyond it a size is a slip of the finger. */
const largestSize = 1 << 16;

/** The sizes that options ask of this teacher. Throws "usage" for one that it does not have, without a width, and for a seed where nothing is drawn by it. */
export function studentSize(options: Omit<StudentOptions, "prompt">, teacher: NativeModelInfo): StudentSize {
  const fresh = options.width !== undefined;
  const most = (name: "layers" | "width" | "feedForward" | "heads" | "vocabulary", of: number, usual = of): number => {
    const given = options[name];
    const value = typeof given === "number" ? given : usual;
    const free = fresh && name !== "vocabulary";
    if (free && value > largestSize) throw unexpected(`a whole number up to ${largestSize}`, name, value);
    if (!free && value > of) throw unexpected(`a whole number up to the teacher's ${of}`, name, value);
    return value;
  };
  const width = most("width", teacher.width);
  const heads = most("heads", teacher.heads);
  most("vocabulary", teacher.vocabulary);
  const group = teacher.heads / teacher.keyValueHeads;
  const keyValueHeads = options.keyValueHeads ?? (heads % group === 0 ? heads / group : heads);
  if (heads % keyValueHeads !== 0) {
    throw unexpected(`a number that divides the ${heads} query heads`, "keyValueHeads", keyValueHeads);
  }
  const proportion = (teacher.feedForward * width) / teacher.width;
  const whole = proportion < 256 ? 32 : 256;
  const usual = fresh ? Math.max(whole, Math.round(proportion / whole) * whole) : teacher.feedForward;
  if (options.seed !== undefined && !fresh && !hasNewHeads({ heads, keyValueHeads }, teacher)) {
    const message = "seed is of what a student has and its teacher has not, and this one has nothing of that kind";
    throw new StillroomError("usage", `${message}: leave seed out, or give width`, { options: ["seed", "width"] });
  }
  return {
    ...{ layers: most("layers", teacher.layers), width, heads, keyValueHeads },
    feedForward: most("feedForward", teacher.feedForward, usual),
  };
}
