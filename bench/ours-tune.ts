// Our side of the tuning trial: the native engine on the rows, batches, rates and first weights of a job file.
// node dist/bench/ours-tune.js JOB.json: each step waits for a line on stdin; one JSON line ready, one a step, one done.
import { readFile } from "node:fs/promises";
import { writeAdapterFolder } from "../src/adapter/index.js";
import { native } from "../src/support/native.js";
import { everyWeight, microBatcher } from "../src/train/index.js";
import { encodedRow, type TuneJob, workOf } from "./job.js";
import { emit, emitDone, turnsOf, type Work } from "./side.js";
import { emitReady, takeStep } from "./training-side.js";

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as TuneJob;
const { tokenBudget, sharePrefix, recompute, seed } = job.ours;
const model = await native().openModel(job.model, { threads: job.threads, variant: null, precision: job.precision });
const lora = job.adapter === null ? null : model.createLora(job.adapter.options);
const parameters = lora ?? (await model.createWeights({ targets: everyWeight }));
const trainer = model.createTrainer(parameters, { ...job.optimizer, recompute, seed });
const rows = job.rows.map(encodedRow);
const batchesOf = microBatcher(rows, tokenBudget, sharePrefix);
emitReady();

for await (const [index, step] of turnsOf(job.steps)) {
  if (index === job.untimed) model.profile(); // what came before is forgotten
  const start = performance.now();
  const batches = batchesOf(Int32Array.from(step.rows));
  const { loss, labels } = await takeStep(trainer, index + 1, batches, step.learningRate);
  const seconds = (performance.now() - start) / 1000;
  const work = { tokens: 0, pairs: 0, logits: 0, queried: 0 } satisfies Work;
  for (const { batch } of batches) {
    const { tokens, pairs, logits, queried } = workOf(batch);
    work.tokens += tokens;
    work.pairs += pairs;
    work.logits += logits;
    work.queried += queried;
  }
  const tokens = step.rows.reduce((sum, row) => sum + job.rows[row]!.tokens.length, 0);
  emit({ event: "step", loss, labels, rows: step.rows.length, tokens, seconds, work });
}
if (job.out && lora) {
  const { info } = model;
  await writeAdapterFolder({
    folder: job.out,
    tensors: lora.tensors(),
    options: lora.options,
    info,
    baseModel: info.path,
  });
}
emitDone({ profile: model.profile() });
await model.close();
