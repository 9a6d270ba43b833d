// Files and tasks for the tests of this room.
import { mkdtemp, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { Source, Task } from "../../src/task/index.js";

/** Writes a file into a new temporary folder and gives its path. */
export async function fileOf(name: string, content: string | Uint8Array): Promise<string> {
  const file = path.join(await mkdtemp(path.join(os.tmpdir(), "stillroom-data-")), name);
  await writeFile(file, content);
  return file;
}

export function sourceOf(file: string, columns: Record<string, string> = {}): Source {
  return { path: file, format: path.extname(file).slice(1) as Source["format"], columns };
}

/** A task that prints `text` and answers `label`. */
export function taskOf(data: Task["data"], changes: Partial<Task> = {}): Task {
  return {
    name: "test",
    kind: "classify",
    file: "/test/task.yaml",
    data,
    prompt: { template: "{{ text }}", separator: "\n\n", chat: false },
    answer: { field: "label" },
    metric: "accuracy",
    maxTokens: 64,
    ...changes,
  };
}
