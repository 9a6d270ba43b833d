// The rows that an evaluation needs: those to score, the labels, the examples of a few-shot prompt. Knows no model.
import { type BadRow, badRowText, labelsOf, type Row, readRows, type SplitName, sampleRows } from "../dataset/index.js";
import type { Model } from "../model/index.js";
import { chooseExamples, exampleRows, type PromptFile, readPromptFile, withPrompt } from "../prompt/index.js";
import { StillroomError } from "../support/errors.js";
import { counted } from "../support/words.js";
import { hasLabels, requirePath, type Task } from "../task/index.js";
import type { Label, ScoringJob } from "./scoring.js";
import { fixedShots, Neighbours, type Shots, similarShots } from "./shots.js";

/** A prompt file that was read; undefined without one. */
export type GivenPrompt = { file: string; content: PromptFile } | undefined;

export interface JobRowsOptions {
  split: SplitName;
  shots: number;
  seed: number;
  /** In place of shots: the examples are this file's. */
  prompt?: GivenPrompt;
  /** Whose embeddings choose the examples of such a file, where each row has its own. */
  model?: Model | undefined;
  limit?: number | undefined;
  strict?: boolean | undefined;
  onBad?: ((bad: BadRow) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface JobRows {
  rows: Row[];
  bad: BadRow[];
  /** Empty for generate. */
  labels: Label[];
  /** Made ready for the rows. Those that `shots` draws are never among the rows; a file's are not shown to themselves. */
  shots: Shots;
}

/** The task with the texts of a prompt file, and that file; the task as it is without one. Throws "usage" for what is no path, and what readPromptFile throws. */
export async function readPrompt(task: Task, file: string | undefined): Promise<{ task: Task; prompt: GivenPrompt }> {
  if (file === undefined) return { task, prompt: undefined };
  requirePath("prompt", file);
  const content = await readPromptFile(file, task);
  return { task: withPrompt(task, content), prompt: { file, content } };
}

/** Throws "usage" for shots beside a prompt file, which says how many. */
export function requireOnePrompt({ shots, prompt }: { shots?: number | undefined; prompt?: unknown }): void {
  if (prompt === undefined) return;
  requirePath("prompt", prompt);
  if (shots !== undefined)
    throw new StillroomError("usage", "expected shots or prompt, received both: a prompt file says how many", {
      options: ["shots", "prompt"],
    });
}

/** Reads them. Training rows are read only where labels or examples come from them. Throws what readRows throws. */
export async function readJobRows(task: Task, options: JobRowsOptions): Promise<JobRows> {
  const { split, shots, limit } = options;
  const reading = { strict: options.strict ?? false, ...(options.signal && { signal: options.signal }) };
  const { rows, bad } = await readRows(task, split, {
    ...reading,
    // Examples may have to be taken out of the same split.
    ...(limit !== undefined && { limit: split === "train" ? limit + shots : limit }),
    ...(options.onBad && { onBad: options.onBad }),
  });
  if (rows.length === 0) {
    const skipped = bad.length > 0 ? `, ${bad.length} bad (the first: ${badRowText(bad[0]!)})` : "";
    throw new StillroomError("input", `expected rows in the ${split} data of ${task.name}, received none${skipped}`);
  }
  const {
    taken,
    labels,
    shots: examples,
  } = await readPromptParts(task, options, async () => {
    // Without training rows they are those of the whole split, not of the rows that a limit leaves.
    return limit === undefined ? rows : (await readRows(task, split, reading)).rows;
  });
  const scored = rows.filter(({ index }) => !taken.has(index)).slice(0, limit);
  await examples.prepare(scored);
  return { rows: scored, bad, labels, shots: examples };
}

/**
 * The labels and the examples of a job, and which rows of its split are examples. whole: the rows of the split, asked for where labels come from nowhere
 * else. Throws what readRows throws.
 */
export async function readPromptParts(
  task: Task,
  { split, shots, seed, prompt, model, strict, signal }: Omit<JobRowsOptions, "limit" | "onBad">,
  whole: () => Promise<readonly Row[]>,
): Promise<Pick<JobRows, "labels" | "shots"> & { taken: ReadonlySet<number> }> {
  const fromValues = hasLabels(task.kind) && !task.answer.labels;
  const reading = { strict: strict ?? false, ...(signal && { signal }) };
  const similar = prompt?.content.select === "similar";
  const train =
    (shots > 0 || fromValues || similar) && task.data.train ? (await readRows(task, "train", reading)).rows : [];
  const known = train.length > 0 ? train : fromValues ? await whole() : [];
  const labels = labelsOf(task, known);
  if (prompt !== undefined) {
    return { labels, taken: new Set(), shots: shotsOf(task, prompt, { train, model, signal }) };
  }
  const classes = task.kind === "classify" && labels.length > 0 ? { labels } : {};
  const examples = shots === 0 ? [] : chooseExamples(train, { shots, seed, ...classes });
  if (examples.length < shots) throw tooFewExamples(task, examples.length, shots);
  const taken = new Set(split === "train" ? examples.map(({ index }) => index) : []);
  return { labels, shots: fixedShots(task, examples), taken };
}

/** What of a job of scoring stands before its rows: shots that were made ready for them, and what their prompt file calibrates behind. */
export async function shownBefore(
  shots: Shots,
  content: PromptFile | undefined,
): Promise<Pick<ScoringJob, "examples" | "calibrateBehind">> {
  return { examples: shots.of, calibrateBehind: content?.calibrate ? await shots.sets() : undefined };
}

/** What a prompt file puts before rows, made ready for them; no examples without a file. Throws what readRows throws. */
export async function readShots(
  task: Task,
  rows: readonly Row[],
  { prompt, model, strict, signal }: Pick<JobRowsOptions, "prompt" | "model" | "strict" | "signal">,
): ReturnType<typeof shownBefore> {
  if (prompt === undefined) return shownBefore(fixedShots(task, []), undefined);
  const similar = prompt.content.select === "similar" && task.data.train !== undefined;
  const train = similar
    ? (await readRows(task, "train", { strict: strict ?? false, ...(signal && { signal }) })).rows
    : [];
  const shots = shotsOf(task, prompt, { train, model, signal });
  await shots.prepare(rows);
  return shownBefore(shots, prompt.content);
}

function shotsOf(
  task: Task,
  { file, content }: NonNullable<GivenPrompt>,
  { train, model, signal }: { train: readonly Row[]; model: Model | undefined; signal: AbortSignal | undefined },
): Shots {
  const { examples, pool, seed, shots } = content;
  if (examples !== null) return fixedShots(task, exampleRows(file, task, examples));
  if (train.length < shots || !model) {
    throw new StillroomError(
      "input",
      `${file} takes ${shots} of the training rows of ${task.name}, which has ${train.length}`,
    );
  }
  return similarShots(new Neighbours(model, task, sampleRows(train, pool, seed), signal), shots);
}

/** What is said where more examples are asked for than there are rows; use: what the other training rows are needed for. */
export function tooFewExamples(task: Task, rows: number, shots: number, use = ""): StillroomError {
  const have = `${task.name} has ${counted(rows, "training row")} for examples${use && ` (others ${use})`}`;
  const message = `${have}, ${shots} were asked for: ask for no more with shots, or give more rows as data.train`;
  return new StillroomError("input", message, { options: ["shots"] });
}
