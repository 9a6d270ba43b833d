// A prompt that can be scored, and what all prompts of a call are scored with.
import type { Calibration, Head } from "../adapter/index.js";
import type { Row } from "../dataset/index.js";
import { fitRows, type Label, type ScoringJob, type Shots, shownBefore } from "../evaluate/index.js";
import type { Model } from "../model/index.js";
import { compilePrompt, type PromptFile } from "../prompt/index.js";
import { StillroomError } from "../support/errors.js";
import type { NativeLora } from "../support/native.js";
import type { Task } from "../task/index.js";
import type { PromptSettings } from "./prompt-options.js";

/** A prompt that can be scored. */
export interface Candidate {
  content: PromptFile;
  task: Task;
  shots: Shots;
}

/** What all candidates of a call have in common. */
export interface Bench {
  model: Model;
  lora: NativeLora | null;
  head: Head | null;
  calibration: Calibration | null;
  labels: Label[];
  /** Rows that candidates are compared on, and the name of their split. */
  rows: Row[];
  split: string;
  settings: PromptSettings;
}

/** A candidate's work on rows. Awaits what its examples need. */
export async function jobOf(bench: Bench, candidate: Candidate, rows: readonly Row[]): Promise<ScoringJob> {
  const { model, lora, head, calibration, labels, settings } = bench;
  const { task, shots, content } = candidate;
  await shots.prepare(rows);
  return {
    ...{ model, lora, head, calibration, task, rows, labels, signal: settings.signal, onProgress: settings.onProgress },
    prompt: compilePrompt(task, model.template),
    ...(await shownBefore(shots, content)),
  };
}

/** Why not all rows of a candidate's work can be scored, such as a prompt that is longer than the model's context; null where all can. */
export function refusalOf(job: ScoringJob): string | null {
  try {
    const [first] = fitRows(job).refused;
    return first ? `${first.file}:${first.line}: ${first.reason}` : null;
  } catch (error) {
    if (error instanceof StillroomError && error.code === "input") return error.message;
    throw error;
  }
}
