// The options of prompt(): their names, defaults and limits.
import type { BadRow, SplitName } from "../dataset/index.js";
import type { ScoringProgress } from "../evaluate/index.js";
import type { DownloadProgress, Model } from "../model/index.js";
import { type Selection, selections, whyUncalibrated } from "../prompt/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import type { NativePrecision } from "../support/native.js";
import { requireKnown, requirePath, requireWhole, type Task } from "../task/index.js";

/** Which prompts there are, and what is done with them. */
export interface PromptOptions {
  /** Path, hf: URI or an open model (which stays open); default: the model in the box. */
  model?: string | Model | undefined;
  /** As of openModel, where the model is not open yet (default "f32"). */
  precision?: NativePrecision | undefined;
  /** A RUN folder, a PEFT folder or a GGUF LoRA. */
  adapter?: string | undefined;
  /** Answered training rows before each question; several numbers make several prompts (default [4]). */
  shots?: readonly number[] | undefined;
  /** How they are chosen (default ["random"]). */
  select?: readonly Selection[] | undefined;
  /** Instructions in place of the task's (default: the task's alone). */
  instructions?: readonly string[] | undefined;
  /** Contextual calibration: with it, or, where prompts are compared, with and without (default false). */
  calibrate?: boolean | undefined;
  /** A prompt file, in place of all these. */
  prompt?: string | undefined;
  /** Of the training rows, so many, drawn by the seed, are there to be examples (default 1000). */
  pool?: number | undefined;
  /** Rows that prompts are compared on: "validation" where the task has it (default), else training rows beyond the pool; "test" is for the last look. */
  split?: Extract<SplitName, "validation" | "test"> | undefined;
  /** So many of them, drawn by the seed (default 200). */
  limit?: number | undefined;
  /** Of "search": prompts that it may score (default 2000). They are of training rows beyond the pool, so that the rows compared on stay unseen. */
  budget?: number | undefined;
  /** Default 0. */
  seed?: number | undefined;
  /** Throw at the first bad row instead of leaving it out (default false). */
  strict?: boolean | undefined;
  /** Answer this: the text of the template's one field, or a JSON object of its fields. */
  try?: string | undefined;
  /** Lay out `try`, or else the first row that prompts are compared on. */
  show?: boolean | undefined;
  /** Score all prompts on the same rows. */
  compare?: boolean | undefined;
  /** Write the prompt, of several the best, as a prompt file. */
  save?: string | undefined;
  threads?: number | undefined;
  /** Called for every bad row of the files that are read, and for every row that prompts are not compared on. */
  onBad?: ((bad: BadRow) => void) | undefined;
  onProgress?: ((progress: ScoringProgress) => void) | undefined;
  onDownload?: ((progress: DownloadProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

const names = [
  ..."model precision adapter shots select instructions calibrate prompt pool split limit budget seed strict".split(
    " ",
  ),
  ..."try show compare save threads onBad onProgress onDownload signal".split(" "),
];

export type PromptSettings = PromptOptions & {
  shots: readonly number[];
  select: readonly Selection[];
  pool: number;
  limit: number;
  budget: number;
  seed: number;
};

/** Checks options and fills in defaults. Throws "usage". */
export function promptSettings(task: Task, options: PromptOptions): PromptSettings {
  requireKnown(options, names, "prompt");
  for (const name of ["pool", "limit", "budget"] as const) requireWhole(name, options[name], 1);
  requireWhole("seed", options.seed, 0);
  if (options.save !== undefined) requirePath("save", options.save);
  if (options.split !== undefined && !["validation", "test"].includes(options.split))
    throw unexpected("validation or test", "split", options.split);
  const { shots = [4], select = ["random"], instructions = [], compare, save, show } = options;
  for (const [name, list] of Object.entries({ shots, select, instructions }))
    if (!Array.isArray(list)) throw unexpected("a list", name, list);
  for (const count of shots) requireWhole("shots", count, 0);
  for (const name of select)
    if (!selections.includes(name)) throw unexpected(`one of ${selections.join(", ")}`, "select", name);
  if (shots.length === 0 || select.length === 0)
    throw unexpected("at least one", "shots and select", { shots, select });
  const uncalibrated = options.calibrate ? whyUncalibrated(task) : null;
  if (uncalibrated !== null) throw new StillroomError("usage", uncalibrated, { options: ["calibrate"] });
  const own = (["shots", "select", "instructions", "calibrate", "pool"] as const).find(
    (name) => options[name] !== undefined,
  );
  if (options.prompt !== undefined && own)
    throw new StillroomError("usage", `expected prompt or ${own}, received both: a prompt file says it`, {
      options: ["prompt", own],
    });
  if (options.try === undefined && !show && !compare && save === undefined)
    throw new StillroomError("usage", "expected what to do with the prompt: try, show, compare or save", {
      options: ["try", "show", "compare", "save"],
    });
  if (!compare && shots.length * select.length * Math.max(1, instructions.length) > 1)
    throw new StillroomError("usage", "expected one prompt, received several; compare finds the best", {
      options: ["compare"],
    });
  const { pool = 1000, limit = 200, budget = 2000, seed = 0 } = options;
  return { ...options, shots, select, pool, limit, budget, seed };
}
