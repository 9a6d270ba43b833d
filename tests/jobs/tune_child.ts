// A process for kill.test.ts: tunes, or goes on tuning, and says each event on a line of its own.
import { writeSync } from "node:fs";
import { tune } from "../../src/jobs/index.js";
import { readTask } from "../../src/task/index.js";

const [taskFile, model, method, out] = process.argv.slice(2) as [string, string, "lora" | "full", string];
const how =
  method === "lora"
    ? { rank: 4, dropout: 0.1, learningRate: 5e-3 }
    : { method, optimizer: "adamw_8bit" as const, learningRate: 1e-3 };
const run = tune(await readTask(taskFile), {
  model,
  out,
  steps: 60,
  batchSize: 8,
  ...how,
  threads: 1,
  evaluateEvery: 10,
  checkpointEvery: 4,
  resume: true,
});
for await (const event of run) writeSync(1, `${event.type} ${"step" in event ? event.step : ""}\n`);
