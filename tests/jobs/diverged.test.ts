// Training that diverges: the error names the run and the step, not the sound file that it began with, and what helps.
import { expect, test } from "vitest";
import { distill, tune } from "../../src/jobs/index.js";
import { readTask } from "../../src/task/index.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { runFolder } from "./runs.js";
import { writeToyTask } from "./toy-task.js";

const task = await readTask(writeToyTask().file);
const [model, student] = [writeTextToy(), writeTextToy({}, { ...textToy, layers: 1 })];
const common = { steps: 3, batchSize: 8, evaluateEvery: 1, threads: 1 };

test.each([
  ["lora", 1e30],
  ["full", 1e15],
  ["distill", 1e15],
] as const)("%s: the run and its step are named", async (method, learningRate) => {
  const out = runFolder();
  const { result } =
    method === "distill"
      ? distill(task, { ...common, learningRate, teacher: model, student, out, quantize: "none" })
      : tune(task, { ...common, learningRate, model, out, method, ...(method === "lora" && { rank: 4 }) });
  await expect(result).rejects.toMatchObject({
    code: "input",
    message: expect.stringMatching(
      /^the run (.*) gives no numbers after step [12]: its training diverged; begin again with a smaller learningRate$/,
    ),
    options: ["learningRate"],
  });
  await expect(result).rejects.toThrow(`the run ${out} gives`);
});
