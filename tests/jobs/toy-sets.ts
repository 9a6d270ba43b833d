// A task that a toy can learn and whose answers are sets of labels: texts of letters that are all of one half of the alphabet, and all at even or all at odd places.
import { writeFileSync } from "node:fs";
import path from "node:path";
import { Random } from "../../src/support/random.js";

/** Rows of JSON Lines. */
export function setLines(count: number, seed: number): string[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const [late, odd] = [random.below(2), random.below(2)];
    const letter = () => String.fromCharCode(97 + 12 * late + 2 * random.below(6) + odd);
    const text = Array.from({ length: 3 + random.below(5) }, letter).join("");
    return JSON.stringify({ text, is: [...(odd ? ["odd"] : []), ...(late ? ["late"] : [])], half: late });
  });
}

export const setTask = [
  ...["name: letters", "kind: multilabel", "data:"],
  ...["  train: train.jsonl", "  test: test.jsonl", "  validation: validation.jsonl"],
  ...["prompt:", '  template: "{{ text }}"', "answer:", "  field: is", ""],
].join("\n");

/** Writes task.yaml, train.jsonl, validation.jsonl and test.jsonl. @returns the task file */
export function writeSetTask(folder: string, test = 40): string {
  for (const [name, count, seed] of [
    ["train", 160, 1],
    ["validation", 60, 2],
    ["test", test, 3],
  ] as const)
    writeFileSync(path.join(folder, `${name}.jsonl`), `${setLines(count, seed).join("\n")}\n`);
  const file = path.join(folder, "task.yaml");
  writeFileSync(file, setTask);
  return file;
}
