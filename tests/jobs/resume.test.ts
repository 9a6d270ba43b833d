// What a resumed run tells of what it finds damaged or gone, and the bytes that it comes to all the same.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, beforeEach, expect, test } from "vitest";
import { tune } from "../../src/jobs/index.js";
import { readTask, type Task } from "../../src/task/index.js";
import { writeTextToy } from "../support/text_toy.js";
import { cutAfter, runFolder, sha, stepsOf } from "./runs.js";
import { writeToyTask } from "./toy-task.js";

let model: string;
let task: Task;
/** Of a run that nothing disturbed. */
let bytes: string;
let out: string;
const small = (folder: string) => ({ model, out: folder, steps: 12, batchSize: 8, rank: 4, threads: 1 });
const bytesOf = (run: string) => sha(path.join(run, "adapter.gguf"));
beforeAll(async () => {
  model = writeTextToy();
  task = await readTask(writeToyTask().file);
  const whole = runFolder();
  await tune(task, small(whole)).result;
  bytes = bytesOf(whole);
});
beforeEach(() => {
  out = runFolder();
});

async function resumed(): Promise<string[]> {
  const warnings: string[] = [];
  for await (const event of tune(task, { out, resume: true }))
    if (event.type === "warning") warnings.push(`${event.kind}: ${event.message}`);
  expect(bytesOf(out)).toBe(bytes);
  return warnings;
}

test("a damaged newest checkpoint is told, and costs only the steps since the one before", async () => {
  await tune(task, { ...small(out), checkpointEvery: 5 }).result;
  writeFileSync(path.join(out, "checkpoints/step-000000012.checkpoint"), "torn");
  expect(await resumed()).toEqual([
    expect.stringMatching(/^checkpoint: .*step-000000012.checkpoint is damaged.*from step 10$/),
  ]);
});

test("damaged lines before the checkpoint are named and left out, in both files", async () => {
  await tune(task, { ...small(out), evaluateEvery: 3 }).result;
  const files = ["metrics.jsonl", "validation.jsonl"].map((name) => path.join(out, name));
  for (const file of files) {
    const lines = readFileSync(file, "utf8").split("\n");
    lines[1] = lines[1]!.slice(0, 9);
    writeFileSync(file, lines.join("\n"));
  }
  const rest = "charts and reports go without, what was learnt is in the checkpoint";
  expect(await resumed()).toEqual([
    `metrics: ${files[0]}: line 2 is damaged and left out; no line tells of step 2; ${rest}`,
    `metrics: ${files[1]}: line 2 is damaged and left out; ${rest}`,
  ]);
  expect(stepsOf(out).map(({ step }) => step)).toEqual([1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
});

test("without a checkpoint, what is known of the run is said, and it begins again", async () => {
  await cutAfter(5, (signal) => tune(task, { ...small(out), signal }));
  const checkpoints = path.join(out, "checkpoints");
  const none = `checkpoint: ${checkpoints} holds no checkpoint of a step`;
  rmSync(checkpoints, { recursive: true });
  expect(await resumed()).toEqual([
    `${none}, and metrics.jsonl tells of steps up to 5: it stopped before its first checkpoint, or they were removed; the run begins again at step 1`,
  ]);
  rmSync(checkpoints, { recursive: true });
  expect(await resumed()).toEqual([
    `${none}, though the run had ended: they were removed; the run begins again at step 1`,
  ]);
  const file = path.join(out, "run.json");
  const { result: _, ...begun } = JSON.parse(readFileSync(file, "utf8"));
  writeFileSync(file, JSON.stringify(begun));
  rmSync(checkpoints, { recursive: true });
  rmSync(path.join(out, "metrics.jsonl"));
  expect(await resumed()).toEqual([`${none}, and metrics.jsonl no step: the run begins again at step 1`]);
});

test("a run.json that is damaged, of another version or of no run is told apart, and what helps", async () => {
  await tune(task, { ...small(out), steps: 1 }).result;
  const file = path.join(out, "run.json");
  const run = JSON.parse(readFileSync(file, "utf8"));
  for (const [text, what] of [
    [JSON.stringify(run).slice(0, -1), "is damaged"],
    [JSON.stringify({ ...run, version: 7 }), "is of another version (7, here 1)"],
    [JSON.stringify({ ...run, format: "other" }), "is of no run of stillroom"],
    ["null", "is of no run of stillroom"],
  ] as const) {
    writeFileSync(file, text);
    await expect(tune(task, { out, resume: true }).result, text).rejects.toMatchObject({
      code: "input",
      message: `${file} ${what}: put it back as the run wrote it, or give another folder`,
    });
  }
});

test("an option that a run.json has damaged is told with its file: nobody gave it", async () => {
  await tune(task, { ...small(out), steps: 1 }).result;
  const file = path.join(out, "run.json");
  const run = JSON.parse(readFileSync(file, "utf8"));
  for (const [options, what] of [
    [
      { leavningRate: 1 },
      `expected the name of an option of tune (did you mean learningRate?) for an option, received "leavningRate"`,
    ],
    [{ batchSize: "8" }, `expected a whole number of at least 1 for batchSize, received "8"`],
  ] as const) {
    writeFileSync(file, JSON.stringify({ ...run, options: { ...run.options, ...options } }));
    await expect(tune(task, { out, resume: true }).result).rejects.toMatchObject({
      code: "input",
      message: `${file} is damaged: ${what}; put it back as the run wrote it, or give another folder`,
    });
  }
});
