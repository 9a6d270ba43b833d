// Our side of the batch trial: each turn is a batch of a task's rows, from a file through a store to a file. node dist/bench/ours-batch.js JOB.json
import { readFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { batch, openModel, readTask } from "../src/index.js";
import type { BatchJob } from "./batch.js";
import { emit, emitDone } from "./side.js";

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as BatchJob;
const { threads, precision } = job;
const model = await openModel(job.model, { threads, precision });
const task = await readTask(job.task, job.data === undefined ? {} : { data: job.data });
const store = path.join(job.folder, "store");
emit({ event: "ready", versions: { node: process.versions.node }, settings: { precision } });

interface Line {
  prediction: string;
  probabilities: Record<string, number>;
}

let number = 0;
for await (const _ of createInterface({ input: process.stdin })) {
  const file = path.join(job.folder, `turn-${number}.jsonl`);
  const out = path.join(job.folder, `answers-${number++}.jsonl`);
  const rows = { ...task, data: { test: { path: file, format: "jsonl" as const, columns: {} } } };
  const start = performance.now();
  await batch(rows, { model, precision, store, out });
  const seconds = (performance.now() - start) / 1000;
  const lines = (await readFile(out, "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
  const margins = lines.map(({ probabilities }) => {
    const [first, second] = Object.values(probabilities).sort((a, b) => b - a) as [number, number];
    return Math.log(first / second);
  });
  emit({ event: "step", answers: lines.map(({ prediction }) => prediction), margins, seconds });
}
emitDone();
await model.close();
