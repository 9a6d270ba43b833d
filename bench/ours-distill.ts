// Our side of the distillation trial: a step's rows are put to the teacher, then the student takes the step from what is kept of its answers.
// node dist/bench/ours-distill.js JOB.json: each step waits for a line on stdin; one JSON line ready, one a step, one done.
import { readFile } from "node:fs/promises";
import { type NativeTaught, native } from "../src/support/native.js";
import { everyWeight, lossBytes, microBatcher } from "../src/train/index.js";
import type { DistillJob } from "./distill.js";
import { encodedRow, workOf } from "./job.js";
import { emit, emitDone, turnsOf } from "./side.js";
import { emitReady, takeStep } from "./training-side.js";

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as DistillJob;
const { tokenBudget, sharePrefix, recompute, seed } = job.ours;
const opening = { threads: job.threads, variant: null };
const teacher = await native().openModel(job.teacher, { ...opening, precision: job.precision });
const student = await native().openModel(job.student, opening);
const weights = await student.createWeights({ targets: everyWeight });
const distillation = { loss: "forward_kl", beta: 0.5, temperature: 1, labelWeight: 0 } as const;
const trainer = student.createTrainer(weights, { ...job.optimizer, recompute, seed, distillation });
const rows = job.rows.map(encodedRow);
const teaching = { topK: job.topK, temperature: 1, tail: "sample" as const };
const { topK, tail } = teaching;
/** What is kept of each row. */
const kept = new Map<number, Pick<NativeTaught, "entries" | "tails">>();
const asking = microBatcher(rows, 2048, true);

/** Asks about rows in their order. */
async function ask(indices: Int32Array): Promise<void> {
  let at = 0;
  for (const { batch, rows: count } of asking(indices)) {
    const { entries, tails } = await teacher.teach(batch, null, teaching);
    let position = 0;
    for (const index of indices.subarray(at, at + count)) {
      const end = position + rows[index]!.answer.length;
      kept.set(index, {
        entries: entries.subarray(position * topK, end * topK),
        tails: tails.subarray(position, end),
      });
      position = end;
    }
    at += count;
  }
}

const batchesOf = microBatcher(rows, tokenBudget, sharePrefix, (indices) => {
  const parts = [...indices].map((index) => kept.get(index)!);
  const entries = new Uint32Array(parts.reduce((sum, part) => sum + part.entries.length, 0));
  const tails = new Float32Array(parts.reduce((sum, part) => sum + part.tails.length, 0));
  let at = 0;
  for (const part of parts) {
    entries.set(part.entries, at * topK);
    tails.set(part.tails, at);
    at += part.tails.length;
  }
  return { topK, tail, entries, tails };
});
emitReady();

let mostLogits = 0;
for await (const [index, step] of turnsOf(job.steps)) {
  const chosen = Int32Array.from(step.rows);
  const asked = performance.now();
  await ask(chosen);
  const start = performance.now();
  const batches = batchesOf(chosen);
  const { loss, labels } = await takeStep(trainer, index + 1, batches, step.learningRate);
  const seconds = (performance.now() - start) / 1000;
  mostLogits = batches.reduce((most, { batch }) => Math.max(most, workOf(batch).logits), mostLogits);
  const tokens = step.rows.reduce((sum, row) => sum + job.rows[row]!.tokens.length, 0);
  emit({
    ...{ event: "step", loss, labels, rows: step.rows.length, tokens },
    ...{ teach_seconds: (start - asked) / 1000, seconds },
  });
}
// A whole chunk of logits, or one of the positions that there are.
const chunk = lossBytes(student.info, { method: "full", targets: everyWeight });
const loss_memory_bytes = Math.min(chunk, mostLogits * student.info.vocabulary * 4);
emitDone({ loss_memory_bytes });
await teacher.close();
await student.close();
