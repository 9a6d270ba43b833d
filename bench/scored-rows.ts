// The rows of the trials that score labels: a classify task's, and the bad ones told. Runs nothing.
import { type BadRow, type Dataset, readRows, type SplitName } from "../src/dataset/index.js";
import { StillroomError, unexpected } from "../src/support/errors.js";
import { readTask, type Task } from "../src/task/index.js";
import type { TrialSession } from "./tune.js";

/** What a trial on a task's rows is given besides its options. */
export interface RowSession extends TrialSession {
  onBad: (bad: BadRow) => void;
}

/** Reads a task whose answers are labels. Throws "input" for another kind. */
export async function readClassifyTask(file: string, data: string | undefined): Promise<Task> {
  const task = await readTask(file, data === undefined ? {} : { data });
  if (task.kind === "classify") return task;
  const { code, message } = unexpected("classify", "kind", task.kind, "input");
  throw new StillroomError(code, `${file}: ${message}; this trial scores labels, bench decode times free text`);
}

/** Training rows, all of them, and test rows up to a limit. */
export async function labelledRows(
  task: Task,
  limit: number | undefined,
  { signal, onBad }: RowSession,
): Promise<{ train: Dataset; test: Dataset; errors: number }> {
  const read = (split: SplitName, most?: number) => readRows(task, split, { limit: most, onBad, signal });
  const [train, test] = [await read("train"), await read("test", limit)];
  return { train, test, errors: train.bad.length + test.bad.length };
}
