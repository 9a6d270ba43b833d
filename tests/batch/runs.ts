// What answers a toy's rows beside the model alone: runs with a calibration and a head, and a calibrated prompt file.
import path from "node:path";
import { writeCalibration } from "../../src/adapter/index.js";
import { batch } from "../../src/batch/index.js";
import { prompt, tune } from "../../src/jobs/index.js";
import { readTask, type Task } from "../../src/task/index.js";
import { writeSetTask } from "../jobs/toy-sets.js";
import { jsonLines } from "../support/json-lines.js";
import { freshFolder } from "./requests.js";

/** A run with what tune saves beside an adapter: a calibration that leaves the unsure half open, and a head where one is asked for. */
export async function calibratedRun(task: Task, model: string, head: boolean): Promise<string> {
  const folder = freshFolder();
  const [run, out] = [path.join(folder, "run"), path.join(folder, "out.jsonl")];
  const of = head ? ({ head: "softmax" } as const) : {};
  await tune(task, { model, out: run, steps: 2, rank: 2, threads: 1, calibrate: "none", ...of }).result;
  const calibration = { split: "validation", rows: 12, temperature: 0.5, isotonic: null, conformal: null };
  await writeCalibration(run, { ...calibration, abstain: null });
  await batch(task, { model, threads: 1, adapter: run, store: path.join(folder, "store"), out });
  const sure = jsonLines(out).map(({ probabilities }) => Math.max(...(Object.values(probabilities) as number[])));
  const threshold = sure.sort((a, b) => a - b)[sure.length >> 1]!;
  await writeCalibration(run, { ...calibration, abstain: { precision: 0.9, threshold } });
  return run;
}

/** A prompt file of two examples, with what it says to inputs without content taken off. */
export async function calibratedPrompt(task: Task, model: string): Promise<string> {
  const save = path.join(freshFolder(), "prompt.json");
  await prompt(task, { model, shots: [2], select: ["random"], calibrate: true, save, threads: 1 });
  return save;
}

/** A task whose answers are sets of labels, and a run of a head for it, with a threshold of each label. */
export async function setsRun(model: string): Promise<{ task: Task; adapter: string }> {
  const folder = freshFolder();
  const task = await readTask(writeSetTask(folder, 20));
  const out = path.join(folder, "run");
  await tune(task, { model, out, threads: 1, method: "head", epochs: 4, learningRate: 3e-2 }).result;
  return { task, adapter: out };
}
