// A process for kill.test.ts: tunes or distils, or goes on with it, and says each event on a line of its own. It dies of SIGKILL, KILL_DELAY milliseconds
// after the line KILL_AT, also where its work has ended by then: who kills from outside may come too late on a busy machine.
import { writeSync } from "node:fs";
import { distill, tune } from "../../src/jobs/index.js";
import { readTask } from "../../src/task/index.js";

const [taskFile, model, method, out] = process.argv.slice(2) as [string, string, "lora" | "full" | "distill", string];
const how =
  method === "lora"
    ? { rank: 4, dropout: 0.1, learningRate: 5e-3 }
    : { method: "full" as const, optimizer: "adamw_8bit" as const, learningRate: 1e-3 };
const common = { out, steps: 60, batchSize: 8, threads: 1, evaluateEvery: 10, checkpointEvery: 4, resume: true };
const task = await readTask(taskFile);
const run =
  method === "distill"
    ? // The toy teaches itself, at a temperature: what is learnt does not matter here.
      distill(task, {
        ...common,
        teacher: model,
        student: model,
        temperature: 2,
        topK: 8,
        learningRate: 1e-3,
        quantize: "none",
      })
    : tune(task, { ...common, model, ...how });
const { KILL_AT, KILL_DELAY } = process.env;
let dying = false;
for await (const event of run) {
  const place = event.type === "teach" ? event.rows : "step" in event ? event.step : "";
  const line = `${event.type} ${place}`;
  writeSync(1, `${line}\n`);
  if (line !== KILL_AT) continue;
  dying = true;
  setTimeout(() => process.kill(process.pid, "SIGKILL"), Number(KILL_DELAY));
}
if (dying) await new Promise(() => undefined);
