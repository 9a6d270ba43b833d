// What distillation adds to a run of tune: another loss, whose teacher is asked before the first step. The interface between the two.
import type { Row } from "../dataset/index.js";
import type { Model } from "../model/index.js";
import type {
  NativeDistillation,
  NativeModelInfo,
  NativeTaught,
  NativeTensorType,
  NativeTokenizer,
} from "../support/native.js";
import type { Encoded } from "../tokens/index.js";
import type { Fingerprint, FittedRows, TuneSettings } from "../train/index.js";
import type { WriteStep } from "./on-policy.js";
import type { TextRows } from "./text-rows.js";
import type { Warning } from "./tune-data.js";
import type { TuneResult } from "./tune-result.js";

/** A teacher that was asked. */
export interface Asked {
  distillation: NativeDistillation;
  /** Width of the teacher's hidden states where they are matched; else null. */
  hiddenWidth: number | null;
  /** What decides the run's bytes beside the fingerprint of tune. */
  fingerprint: Fingerprint;
  /** What the teacher said about training rows, by index; null where only what the student writes is asked about. */
  taught: ((rows: Int32Array) => NativeTaught) | null;
  /** Steps on the student's own answers; null for none. */
  written: WriteStep | null;
  /** The types in which the last steps see the student's matrices, and how many steps; null for none. */
  quantized: { types: NativeTensorType[]; steps: number } | null;
}

/** Another loss for a run. Event: what it tells beside the events of tune. */
export interface Lesson<Event> {
  /** Options that repeat it, for run.json. */
  readonly options: Record<string, unknown>;
  /** Most bytes that it holds beside what a run of tune does: in training, too, and before and after that alone. */
  bytesBeside(student: NativeModelInfo, settings: TuneSettings): Promise<{ always: number; around: number }>;
  /**
   * Opens the teacher. Gives what cuts the training rows into tokens that it has, too. Throws "input" where that cannot be. tokenBudget: most tokens that it is asked
   * about at once (default: as many as are fast).
   */
  begin(student: Model, tokenBudget: number | undefined): Promise<NativeTokenizer>;
  /** Whether training rows without an answer can be learnt. */
  readonly unanswered: boolean;
  /** The training rows as they are to be learnt. */
  revise(rows: readonly Row[], folder: string): Promise<readonly Row[]>;
  /** Rows beside the task's that are to be learnt: they follow those. */
  further(run: { tokenizer: NativeTokenizer; maxLength: number; strict: boolean }): AsyncGenerator<Warning, TextRows>;
  /**
   * Asks the teacher about the training rows, the further ones included, before anything is trained. steps: of the run.
   */
  ask(run: {
    folder: string;
    student: Model;
    rows: readonly Encoded[];
    recut: FittedRows["recut"];
    steps: number;
  }): AsyncGenerator<Event, Asked>;
  /** Ends what begin opened. Idempotent. */
  close(): Promise<void>;
  /** What follows training, with student and teacher closed; gives fields for the result. */
  finish(run: { folder: string; student: string; result: TuneResult }): AsyncGenerator<Event, Record<string, unknown>>;
}
