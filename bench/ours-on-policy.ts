// Our side of the on-policy trial: as a step of `distill --on-policy` on all weights. node dist/bench/ours-on-policy.js JOB.json: each step waits for a line on
// stdin; one JSON line ready, one a step, one done.
import { readFile } from "node:fs/promises";
import { openModel } from "../src/index.js";
import { writingSteps } from "../src/jobs/on-policy.js";
import type { NativeBatch } from "../src/support/native.js";
import { Teacher, TokenMap } from "../src/teach/index.js";
import { everyWeight } from "../src/train/index.js";
import { encodedRow } from "./job.js";
import type { OnPolicyJob } from "./on-policy.js";
import { emit, emitDone, turnsOf } from "./side.js";
import { emitReady, takeStep } from "./training-side.js";

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as OnPolicyJob;
const { threads, topK, precision } = job;
const { recompute, seed, ...cutting } = job.ours;
const asked = { topK, temperature: 1, tail: "sample" as const, precision };
const teacher = await Teacher.open({ teacher: job.teacher, adapter: null, ...asked, threads });
const student = await openModel(job.student, { threads });
const weights = await student.native.createWeights({ targets: everyWeight });
const distillation = { loss: "forward_kl", beta: 0.5, temperature: 1, labelWeight: 0 } as const;
const trainer = student.native.createTrainer(weights, { ...job.optimizer, recompute, seed, distillation });
const write = writingSteps({
  ...{ student, teacher, tokens: await TokenMap.between(student, teacher.model), rows: job.rows.map(encodedRow) },
  ...{ texts: 0, share: 1, seed, precision, signal: null },
});

/** The answers of a micro-batch: a row's labels stand behind one another, with its prompt and other rows' between. */
function answersOf({ queryPositions, queryTokens }: NativeBatch): number[][] {
  const answers: number[][] = [];
  for (const [at, token] of queryTokens.entries()) {
    if (at > 0 && queryPositions[at] === queryPositions[at - 1]! + 1) answers.at(-1)!.push(token);
    else answers.push([token]);
  }
  return answers;
}

emitReady();
for await (const [index, step] of turnsOf(job.steps)) {
  const start = performance.now();
  const batches = await write(index + 1, Int32Array.from(step.rows), null, cutting)!;
  const { loss, labels } = await takeStep(trainer, index + 1, batches, step.learningRate);
  const seconds = (performance.now() - start) / 1000;
  const answers = batches.flatMap(({ batch }) => answersOf(batch));
  emit({ event: "step", loss, labels, answers, seconds });
}
emitDone();
await teacher.close();
await student.close();
