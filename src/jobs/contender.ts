// What stands in a comparison: a model, a model with an adapter, a run, or a predictions file; from the words that name it to what is
// opened, and whether it can be. Scores nothing.
import { existsSync } from "node:fs";
import path from "node:path";
import { type EvaluateOptions, requireHead, withPredictor } from "../evaluate/index.js";
import { StillroomError } from "../support/errors.js";
import { isFolder } from "../support/files.js";
import type { Task } from "../task/index.js";
import { readRunFile } from "./tune-files.js";

/** What all sides of a comparison are asked with. */
export type AskingOptions = Pick<
  EvaluateOptions,
  | "precision"
  | "shots"
  | "prompt"
  | "split"
  | "limit"
  | "seed"
  | "strict"
  | "threads"
  | "onDownload"
  | "onBad"
  | "signal"
>;

/** One side of a comparison. */
export interface Contender {
  /** As given. */
  name: string;
  /** Of predictions that were written before; null for a model. */
  predictions: string | null;
  /** A path or an hf: URI; null for predictions. */
  model: string | null;
  adapter: string | null;
  /** Distinct rows that a run trained on; null where no run tells. */
  trainedRows: number | null;
}

/**
 * A predictions file ends in .jsonl; a folder is a run of tune, with the model that it names; MODEL+ADAPTER is a model with an adapter;
 * all else is a model. Throws "missing" and "input".
 */
export async function contenderOf(name: string): Promise<Contender> {
  const none = { name, predictions: null, model: null, adapter: null, trainedRows: null };
  if (name.endsWith(".jsonl")) return { ...none, predictions: name };
  if (isFolder(name)) return ofRun(name);
  const plus = name.lastIndexOf("+");
  if (plus > 0 && !existsSync(name)) return { ...none, model: name.slice(0, plus), adapter: name.slice(plus + 1) };
  return { ...none, model: name };
}

async function ofRun(folder: string): Promise<Contender> {
  const run = await readRunFile(path.join(folder, "run.json"));
  if (run === null) {
    throw new StillroomError(
      "input",
      `expected the folder of a run of tune (with run.json), received ${folder}; an adapter alone is named MODEL+${folder}`,
    );
  }
  const whole = path.join(folder, "model.gguf");
  const own = existsSync(whole);
  return {
    name: folder,
    predictions: null,
    model: own ? whole : run.model.path,
    adapter: own ? null : folder,
    trainedRows: run.data?.rows ?? null,
  };
}

/** What a model of a comparison is opened with. */
export function openingOf({ model, adapter }: Contender, options: AskingOptions): EvaluateOptions {
  return { ...options, model: model!, adapter: adapter ?? undefined };
}

/**
 * Opens a model of a comparison as it will be opened when its turn comes, and closes it: a damaged file, an adapter of another model and a head
 * for another question are told before others are asked. Throws what evaluate throws before it scores.
 */
export async function requireOpens(task: Task, contender: Contender, options: AskingOptions): Promise<void> {
  const opening = { ...openingOf(contender, options), onBad: undefined };
  await withPredictor(task, opening, async ({ job }) => requireHead(job.head, job));
}
