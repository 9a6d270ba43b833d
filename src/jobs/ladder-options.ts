// The options of a ladder: their names, defaults and limits, and which of them its rungs depend on.
import type { BadRow } from "../dataset/index.js";
import type { ScoringProgress } from "../evaluate/index.js";
import { requireType } from "../export/index.js";
import type { StudentProgress } from "../student/index.js";
import { unexpected } from "../support/errors.js";
import type { NativePrecision } from "../support/native.js";
import { requireKnown, requirePath, requireWhole, type Task } from "../task/index.js";
import type { DistillEvent } from "./distill.js";
import type { LadderRung, RungName } from "./ladder.js";
import { taskWords } from "./tune-files.js";
import type { TuneEvent } from "./tune-result.js";

/** What a ladder tells while it works: a rung begins, what its work says, and what it came to. */
export type LadderEvent =
  | { type: "begin"; rung: RungName }
  | { type: "bad"; rung: RungName; bad: BadRow }
  | { type: "scoring"; rung: RungName; progress: ScoringProgress }
  | { type: "swaps"; rung: RungName; progress: ScoringProgress }
  | { type: "tune"; rung: RungName; event: TuneEvent }
  | { type: "student"; rung: RungName; progress: StudentProgress }
  | { type: "distill"; rung: RungName; event: DistillEvent }
  | { type: "end"; rung: LadderRung };

/** How far a ladder goes, and on what. */
export interface LadderOptions {
  /** Path of a GGUF, or an hf: URI; default: the model in the box. */
  model?: string | undefined;
  /** The folder of all that is made; a ladder that was cut off goes on from what lies there. */
  out: string;
  /** Examples of the prompted rung (default 4). */
  shots?: number | undefined;
  /** Layers of the student (default: a third of the model's, rounded up). */
  layers?: number | undefined;
  /** What the student is quantised to (default "Q4_K_M"). */
  quantize?: string | undefined;
  /** Most training rows (default: all). */
  limit?: number | undefined;
  /** Most test rows of each rung (default 500). */
  checkLimit?: number | undefined;
  /** Passes over the training rows when tuning (default 1). */
  epochs?: number | undefined;
  /** Passes when distilling (default 3). */
  studentEpochs?: number | undefined;
  /** Highest learning rate when tuning (default 2e-4). */
  learningRate?: number | undefined;
  /** Highest learning rate when distilling (default 3e-4: much of the student was cut away). */
  studentLearningRate?: number | undefined;
  /** Default 0. */
  seed?: number | undefined;
  /** Threads (default: physical cores). */
  threads?: number | undefined;
  /** As of openModel, for all but the student's training, which is exact (default "f32"). */
  precision?: NativePrecision | undefined;
  /** Throw at the first bad row instead of leaving it out (default false). */
  strict?: boolean | undefined;
  onEvent?: ((event: LadderEvent) => void) | undefined;
  signal?: AbortSignal | undefined;
}

const names = [
  ..."model out shots layers quantize limit checkLimit epochs studentEpochs learningRate studentLearningRate".split(
    " ",
  ),
  ..."seed threads precision strict onEvent signal".split(" "),
];

type Filled = "shots" | "checkLimit" | "studentEpochs" | "studentLearningRate" | "seed";
export type LadderSettings = Omit<LadderOptions, Filled> & Record<Filled, number>;

/** Checks options and fills in defaults; what the rungs check themselves is left to them. Throws "usage". */
export function ladderSettings(options: LadderOptions): LadderSettings {
  requireKnown(options, names, "ladder");
  requirePath("out", options.out);
  for (const name of ["shots", "layers", "limit", "checkLimit"] as const) requireWhole(name, options[name], 1);
  for (const name of ["epochs", "studentEpochs", "learningRate", "studentLearningRate"] as const) {
    const value = options[name];
    if (value !== undefined && !(value > 0)) throw unexpected("a number above 0", name, value);
  }
  if (options.quantize !== undefined) requireType(options.quantize, "quantize");
  const { shots = 4, checkLimit = 500, studentEpochs = 3, studentLearningRate = 3e-4, seed = 0 } = options;
  return { ...options, shots, checkLimit, studentEpochs, studentLearningRate, seed };
}

/** What a ladder's rungs depend on; one that goes on must have the same. */
export function ladderIdentity(task: Task, model: string, settings: LadderSettings): Record<string, unknown> {
  const { onEvent: _event, signal: _signal, out: _out, threads: _threads, strict: _strict, ...options } = settings;
  // Bounds decide nothing: a ladder holds none.
  const { bounds: _bounds, ...audit } = task.audit ?? {};
  return JSON.parse(JSON.stringify({ task: { ...taskWords(task), audit }, ...options, model }));
}
