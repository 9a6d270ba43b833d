// Our side of the scoring trial. node dist/bench/ours-score.js JOB.json: each turn waits for a line on stdin.
import { readFile } from "node:fs/promises";
import { scoreChoices } from "../src/evaluate/index.js";
import { openModel } from "../src/index.js";
import { packChoices } from "../src/tokens/index.js";
import { workOf } from "./job.js";
import type { ScoreJob } from "./score.js";
import { emit, emitDone, turnsOf } from "./side.js";

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as ScoreJob;
const model = await openModel(job.model, { threads: job.threads, precision: job.precision });
const rows = job.rows.map(({ prompt, choices }) => ({
  prompt: Int32Array.from(prompt),
  continuations: choices.map((choice) => Int32Array.from(choice)),
}));
emit({ event: "ready", versions: { node: process.versions.node } });

for await (const [index, turn] of turnsOf(job.turns)) {
  if (index === 1 && model.tunable) model.native.profile(); // what came before is forgotten
  const start = performance.now();
  const chosen = turn.map((row) => rows[row]!);
  let tokens = 0;
  const sums = await scoreChoices({ model, lora: null }, chosen, (_, count) => {
    tokens += count;
  });
  const seconds = (performance.now() - start) / 1000;
  const means = sums.map((row, at) => [...row].map((sum, label) => sum / chosen[at]!.continuations[label]!.length));
  const { batch } = packChoices(
    chosen.map(({ prompt }) => prompt),
    chosen.map(({ continuations }) => continuations),
  );
  emit({ event: "step", means, tokens, seconds, work: workOf(batch) });
}
const profile = model.tunable ? { profile: model.native.profile() } : {};
emitDone(profile);
await model.close();
