// Prompt files: what is written is read, and what is not a prompt file costs an error that names the field.
import { mkdtempSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, it, test } from "vitest";
import { exampleRows, type PromptFile, readPromptFile, withPrompt, writePromptFile } from "../../src/prompt/index.js";
import type { Task } from "../../src/task/index.js";
import { taskOf } from "./rows.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-prompt-file-"));
const task = { ...taskOf({}), answer: { field: "label", labels: { "0": "no", "1": "yes" } } };
const good: PromptFile = {
  ...{ format: "stillroom-prompt", version: 1, task: "test", instruction: "Say.", template: "T: {{ text }}" },
  ...{ separator: "\n", chat: false, shots: 1, select: "random", seed: 3, pool: 10, calibrate: null, measured: null },
  examples: [{ fields: { text: "fine" }, value: "1" }],
};

function written(change: object): string {
  const file = path.join(folder, "changed.json");
  writeFileSync(file, JSON.stringify({ ...good, ...change }));
  return file;
}

test("what was written is read, and stands in the task's place", async () => {
  const file = path.join(folder, "good.json");
  await writePromptFile(file, good);
  const read = await readPromptFile(file, task);
  expect(read).toEqual(good);
  expect(withPrompt(task, read).prompt).toEqual({
    ...{ instruction: "Say.", template: "T: {{ text }}", separator: "\n", chat: false },
  });
  const [row] = exampleRows(file, task, read.examples!);
  expect(row).toMatchObject({ file, line: 1, answer: "yes", value: "1", fields: { text: "fine" } });
});

it.each<[string, object, RegExp]>([
  ["another task's", { task: "other" }, /is a prompt of the task other, not of test$/],
  ["another version", { version: 2 }, /is not a prompt file of this version/],
  ["an unknown field", { shot: 1 }, /unknown field shot$/],
  ["a wrong type", { chat: "no" }, /expected true or false for chat in .*changed\.json, received "no"/],
  ["another way of choosing", { select: "best" }, /expected one of random, similar, diverse, search for select/],
  ["a template that is none", { template: "{{ te" }, /expected a Jinja template for template in .*changed\.json: /],
  ["a template that prints the answer", { template: "{{ label }}" }, /changed\.json: template prints label, which is/],
  ["fewer examples than shots", { shots: 2 }, /expected 1, as many as examples, for shots in .*, received 2/],
  ["no examples where they are fixed", { examples: null }, /for examples in .*, received null/],
  ["examples where each row has its own", { select: "similar" }, /with select similar null, for examples/],
  ["an example without a value", { examples: [{ fields: {} }] }, /expected a list of fields and value for examples/],
])("refuses %s", async (_name, change, message) => {
  await expect(readPromptFile(written(change), task)).rejects.toMatchObject({
    code: "input",
    message: expect.stringMatching(message),
  });
});

it("refuses what is not there, an answer that is no label, and calibration without labels", async () => {
  await expect(readPromptFile(path.join(folder, "none.json"), task)).rejects.toMatchObject({ code: "missing" });
  const made = (of: Task, value: string) => exampleRows("p.json", of, [{ fields: {}, value }]);
  expect(() => made(task, "2")).toThrow(/^examples\.0 in p\.json: label "2" is none of 0, 1$/);
  // Numbers between those that a model may be asked for are answers too.
  const numbers = { ...task, kind: "regress" as const };
  expect(made(numbers, "0.5")).toMatchObject([{ answer: "0.5", value: "0.5" }]);
  expect(() => made(numbers, "much")).toThrow(
    /^examples\.0 in p\.json: label "much" is no number; write it such as 1\.5/,
  );
  const free = { ...taskOf({}), kind: "generate" as const };
  await expect(readPromptFile(written({ calibrate: "contextual" }), free)).rejects.toThrow(/not for kind generate/);
});
