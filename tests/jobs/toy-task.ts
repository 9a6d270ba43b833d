// A task that a toy can learn: is the text all in the first or the second half of the alphabet?
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Random } from "../../src/support/random.js";

export interface ToyTask {
  folder: string;
  /** The task file. */
  file: string;
}

/** Writes task.yaml, train.jsonl and test.jsonl. extra: lines that stand in front of the training rows as they are. */
export function writeToyTask(
  options: { rows?: number; validation?: boolean | "train.jsonl"; extra?: string[] } = {},
): ToyTask {
  const { rows = 60, validation = true, extra = [] } = options;
  const folder = mkdtempSync(path.join(tmpdir(), "stillroom-toy-task-"));
  const random = new Random(5);
  const line = () => {
    const late = random.below(2);
    const text = Array.from({ length: 3 + random.below(6) }, () =>
      String.fromCharCode(97 + 13 * late + random.below(13)),
    ).join("");
    return JSON.stringify({ text, half: late ? "late" : "early" });
  };
  const lines = (count: number) => Array.from({ length: count }, line);
  writeFileSync(path.join(folder, "train.jsonl"), `${[...extra, ...lines(rows)].join("\n")}\n`);
  writeFileSync(path.join(folder, "test.jsonl"), `${lines(20).join("\n")}\n`);
  const file = path.join(folder, "task.yaml");
  writeFileSync(
    file,
    [
      "name: halves",
      "kind: classify",
      "data:",
      "  train: { path: train.jsonl }",
      "  test: { path: test.jsonl }",
      ...(validation === "train.jsonl" ? ["  validation: { path: train.jsonl }"] : []),
      ...(validation === true ? ["  validation: { from: train, fraction: 0.2, stratify: half, seed: 1 }"] : []),
      "prompt:",
      '  template: "{{ text }}:"',
      "answer:",
      "  field: half",
      "  labels: { early: early, late: late }",
      "metric: accuracy",
      "",
    ].join("\n"),
  );
  return { folder, file };
}
