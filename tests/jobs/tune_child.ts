// A process for kill.test.ts: tunes or distils for so many STEPS, or goes on with it, and says each event on a line of its own. With KILL_AT="step 12 end" it
// dies of SIGKILL, KILL_DELAY milliseconds after its first line of step 12 or more (a life before may have come further than its last words), at the latest after its
// line of "end"; also where its work has ended by then: who kills from outside may come too late on a busy machine.
import { existsSync, writeSync } from "node:fs";
import path from "node:path";
import { type DistillOptions, distill, tune } from "../../src/jobs/index.js";
import { readTask } from "../../src/task/index.js";

// The toy teaches itself: what is learnt does not matter here.
const lessons = {
  distill: { temperature: 2, hiddenWeight: 0.5 },
  "on-policy": { onPolicy: 0.5, loss: "jsd" },
  answers: { answers: "teacher" },
} as const;
type Method = "lora" | "full" | keyof typeof lessons;
const [taskFile, model, method, out] = process.argv.slice(2) as [string, string, Method, string];
const how =
  method === "lora"
    ? { rank: 4, dropout: 0.1, learningRate: 5e-3 }
    : { method: "full" as const, optimizer: "adamw_8bit" as const, learningRate: 1e-3 };
const common = {
  out,
  steps: Number(process.env.STEPS),
  batchSize: 8,
  threads: 1,
  evaluateEvery: 10,
  checkpointEvery: 4,
  resume: true,
};
const task = await readTask(taskFile);
// A run that was begun is gone on with by nothing but its folder.
const begun = existsSync(path.join(out, "run.json"));
const { resume } = common;
const run = begun
  ? method in lessons
    ? distill(task, { out, resume } as DistillOptions)
    : tune(task, { out, resume })
  : method in lessons
    ? distill(task, {
        ...common,
        ...{ teacher: model, student: model, topK: 8, learningRate: 1e-3, quantize: "none" },
        ...lessons[method as keyof typeof lessons],
      })
    : tune(task, { ...common, model, ...how });
const [type, least, latest] = process.env.KILL_AT?.split(" ") ?? [];
let dying = false;
for await (const event of run) {
  const place = event.type === "teach" ? event.rows : "step" in event ? event.step : "";
  writeSync(1, `${event.type} ${place}\n`);
  if (dying || !((event.type === type && Number(place) >= Number(least)) || event.type === latest)) continue;
  dying = true;
  setTimeout(() => process.kill(process.pid, "SIGKILL"), Number(process.env.KILL_DELAY));
}
if (dying) await new Promise(() => undefined);
