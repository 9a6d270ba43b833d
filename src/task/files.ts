// The files that a task is made of, for jobs that must not write over them. Opens nothing.
import path from "node:path";
import type { InputFile } from "../support/inputs.js";
import { isDrawn, type Task } from "./types.js";

/**
 * The task file and the data files that it names.
 *
 * @example
 * ```ts
 * const files = taskFiles(await readTask("fruit/task.yaml")).map(({ file }) => file);
 * ```
 */
export function taskFiles(task: Task): InputFile[] {
  const files = [{ what: `the task file of ${task.name}`, file: task.file }];
  for (const [split, part] of Object.entries(task.data)) {
    if (!isDrawn(part)) files.push({ what: `the ${split} data of ${task.name}`, file: part.path });
  }
  return files;
}

/** Whether a path is that of a task file, by its ending. */
export function isTaskFile(file: string): boolean {
  return [".yaml", ".yml", ".json"].includes(path.extname(file).toLowerCase());
}
