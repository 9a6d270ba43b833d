// The rows that an evaluation needs: those to score, the labels, the examples of a few-shot prompt. Knows no model.
import { type BadRow, labelsOf, type Row, readRows, type SplitName } from "../dataset/index.js";
import { chooseExamples } from "../prompt/index.js";
import { StillroomError } from "../support/errors.js";
import { counted } from "../support/words.js";
import type { Task } from "../task/index.js";
import type { Label } from "./scoring.js";

export interface JobRowsOptions {
  split: SplitName;
  shots: number;
  seed: number;
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
  /** `shots` training rows; never among the rows. */
  examples: Row[];
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
    const skipped =
      bad.length > 0 ? `, ${bad.length} bad (the first: ${bad[0]!.file}:${bad[0]!.line}: ${bad[0]!.reason})` : "";
    throw new StillroomError("input", `expected rows in the ${split} data of ${task.name}, received none${skipped}`);
  }
  const { taken, ...parts } = await readPromptParts(task, options, async () => {
    // Without training rows they are those of the whole split, not of the rows that a limit leaves.
    return limit === undefined ? rows : (await readRows(task, split, reading)).rows;
  });
  return { rows: rows.filter(({ index }) => !taken.has(index)).slice(0, limit), bad, ...parts };
}

/**
 * The labels and the examples of a job, and which rows of its split are examples. whole: the rows of the split, asked for where labels come from nowhere
 * else. Throws what readRows throws.
 */
export async function readPromptParts(
  task: Task,
  { split, shots, seed, strict, signal }: Omit<JobRowsOptions, "limit" | "onBad">,
  whole: () => Promise<readonly Row[]>,
): Promise<Pick<JobRows, "labels" | "examples"> & { taken: ReadonlySet<number> }> {
  const fromValues = task.kind === "classify" && !task.answer.labels;
  const reading = { strict: strict ?? false, ...(signal && { signal }) };
  const train = (shots > 0 || fromValues) && task.data.train ? (await readRows(task, "train", reading)).rows : [];
  const known = train.length > 0 ? train : fromValues ? await whole() : [];
  const labels = task.kind === "classify" ? labelsOf(task, known) : [];
  const examples = shots === 0 ? [] : chooseExamples(train, { shots, seed, ...(labels.length > 0 && { labels }) });
  if (examples.length < shots) {
    throw new StillroomError(
      "input",
      `${task.name} has ${counted(examples.length, "training row")} for examples, ${shots} were asked for`,
    );
  }
  return { labels, examples, taken: new Set(split === "train" ? examples.map(({ index }) => index) : []) };
}
