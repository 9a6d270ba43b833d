// Our side of the decoding trial. node dist/bench/ours-decode.js JOB.json: each turn waits for a line on stdin. All turns are one batch
// whose requests come over time, so that no turn pays for opening it.
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { decodeRows } from "../src/decode/index.js";
import { openModel } from "../src/index.js";
import type { DecodeJob } from "./decode.js";
import { emit } from "./side.js";

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as DecodeJob;
const { threads, precision, answerTokens } = job;
const model = await openModel(job.model, { threads, precision });
const count = job.prompts.length;
const prompts = job.prompts.map((prompt) => Int32Array.from(prompt));
const settings = { threads, precision, engine: model.tunable ? "stillroom" : "llama.cpp" };
emit({ event: "ready", versions: { node: process.versions.node }, settings });

/** A turn as it goes: what steps with a token of every answer, and none of a prompt, made and took. */
const fresh = () => ({
  start: performance.now(),
  answers: new Array<number[]>(count),
  firsts: new Array<number>(count),
  waits: [] as number[],
  left: count,
});
let turn = fresh();
let before = { seconds: 0, promptTokens: 0, answerTokens: 0 };

async function* requests() {
  for await (const _ of createInterface({ input: process.stdin })) {
    turn = fresh();
    for (const prompt of prompts) yield { prompt, maxTokens: answerTokens };
  }
}

const options = {
  sequences: count,
  longest: job.promptTokens + 1 + answerTokens,
  onProgress: (now: typeof before) => {
    const whole = now.promptTokens === before.promptTokens && now.answerTokens - before.answerTokens === count;
    if (whole) turn.waits.push(now.seconds - before.seconds);
    before = now;
  },
};
for await (const { index, tokens, firstTokenSeconds } of decodeRows(model, requests(), options)) {
  turn.answers[index % count] = [...tokens];
  turn.firsts[index % count] = firstTokenSeconds;
  if (--turn.left > 0) continue;
  emit({
    event: "step",
    answers: turn.answers,
    seconds: (performance.now() - turn.start) / 1000,
    generated: turn.waits.length * count,
    generation_seconds: turn.waits.reduce((sum, wait) => sum + wait, 0),
    first_token_seconds: turn.firsts,
    token_seconds: turn.waits,
  });
}
emit({ event: "done", peak_memory_bytes: process.resourceUsage().maxRSS * 1024 });
await model.close();
