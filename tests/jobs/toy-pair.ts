// A teacher that learnt the toy task, its adapter, and a student with fewer layers: what runs of distill begin with.
import { type Task, tune } from "../../src/index.js";
import { readTask } from "../../src/task/index.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { runFolder } from "./runs.js";
import { writeToyTask } from "./toy-task.js";

export interface ToyPair {
  task: Task;
  teacher: string;
  adapter: string;
  student: string;
}

export async function makeToyPair(): Promise<ToyPair> {
  const task = await readTask(writeToyTask({ rows: 200 }).file);
  const teacher = writeTextToy();
  const adapter = runFolder();
  await tune(task, { model: teacher, out: adapter, steps: 60, rank: 8, learningRate: 2e-2, threads: 1 }).result;
  return { task, teacher, adapter, student: writeTextToy({}, { ...textToy, layers: 1, feedForward: 32 }) };
}
