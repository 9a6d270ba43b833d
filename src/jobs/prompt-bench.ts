// A prompt that can be scored, and what all prompts of a call are scored with.
import type { Calibration, Head } from "../adapter/index.js";
import { type BadRow, badRowText, placeOf, type Row } from "../dataset/index.js";
import { fitRows, type Label, type ScoringJob, type Shots, shownBefore } from "../evaluate/index.js";
import type { Model } from "../model/index.js";
import { compilePrompt, type PromptFile } from "../prompt/index.js";
import { StillroomError } from "../support/errors.js";
import type { NativeLora } from "../support/native.js";
import { counted } from "../support/words.js";
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
  const { shots, content } = candidate;
  await shots.prepare(rows);
  return { ...bareJob(bench, candidate.task, rows), ...(await shownBefore(shots, content)) };
}

/** The same without examples. */
function bareJob(bench: Bench, task: Task, rows: readonly Row[]): ScoringJob {
  const { model, lora, head, calibration, labels, settings } = bench;
  return {
    ...{ model, lora, head, calibration, task, rows, labels, signal: settings.signal, onProgress: settings.onProgress },
    ...{ prompt: compilePrompt(task, model.template), examples: [] },
  };
}

/** Which rows of a job can be scored. */
interface Fit {
  rows: Row[];
  refused: BadRow[];
  /** Why not all can, with the numbers of a prompt that is longer than the model's context; null where all can. */
  why: string | null;
}

export function fitOf(job: ScoringJob): Fit {
  try {
    const { fitting, refused } = fitRows(job);
    const [first] = refused;
    return { rows: fitting.map(({ row }) => row), refused, why: first ? badRowText(first) : null };
  } catch (error) {
    if (error instanceof StillroomError && error.code === "input") return { rows: [], refused: [], why: error.message };
    throw error;
  }
}

/** The rows that can be asked about without an example; why the others cannot, of which no prompt is at fault. Throws "input" where none can. */
function askable(bench: Bench, tasks: readonly Task[], rows: readonly Row[]): Pick<Fit, "rows" | "refused"> {
  const fits = [...new Set(tasks)].map((task) => fitOf(bareJob(bench, task, rows)));
  const known = new Set(fits.flatMap((fit) => fit.rows));
  const [{ refused, why }] = fits as [Fit];
  if (known.size === 0 && rows.length > 0) throw new StillroomError("input", `no row can be asked about: ${why}`);
  const places = new Set([...known].map(placeOf));
  return { rows: rows.filter((row) => known.has(row)), refused: refused.filter((bad) => !places.has(placeOf(bad))) };
}

/** A prompt that leaves out more than a tenth of the rows does not fit them, nor does one that leaves out all. */
const leastShare = 0.9;
export const fitsEnough = (fitting: number, rows: number, share = leastShare): boolean =>
  fitting >= Math.max(1, share * rows);

/** Rows that all candidates can be scored on. */
export interface SharedRows {
  rows: Row[];
  /** Rows that were left out for all. */
  left: BadRow[];
  /** Of each candidate why it does not fit the rows; null where it does. */
  refusals: (string | null)[];
}

/**
 * The bench's rows without those that no prompt can ask about, and without the few that one of the candidates cannot. A candidate is refused that fits less than a share
 * of them, and none at all.
 */
export async function sharedRows(bench: Bench, candidates: readonly Candidate[], share?: number): Promise<SharedRows> {
  const asked = askable(
    bench,
    candidates.map(({ task }) => task),
    bench.rows,
  );
  const left = new Map(asked.refused.map((bad) => [placeOf(bad), bad]));
  const refusals: SharedRows["refusals"] = [];
  let { rows } = asked;
  for (const candidate of candidates) {
    const fit = fitOf(await jobOf(bench, candidate, asked.rows));
    const own = new Set(fit.rows);
    const both = rows.filter((row) => own.has(row));
    const without = asked.rows.length - own.size;
    if (both.length === 0 || !fitsEnough(own.size, asked.rows.length, share)) {
      const some = `${without} of ${counted(asked.rows.length, "row")} do not fit, the first ${fit.why}`;
      refusals.push(own.size === 0 ? fit.why : some);
      continue;
    }
    refusals.push(null);
    rows = both;
    for (const bad of fit.refused) if (!left.has(placeOf(bad))) left.set(placeOf(bad), bad);
  }
  return { rows, left: [...left.values()], refusals };
}
