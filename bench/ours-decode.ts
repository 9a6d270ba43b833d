// Our side of the decoding trial. node dist/bench/ours-decode.js JOB.json: each turn waits for a line on stdin, and has a decoder of its own,
// so that none finds its prompts' pages computed by the turn before.
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { decodeRows } from "../src/decode/index.js";
import { openModel } from "../src/index.js";
import type { DecodeJob } from "./decode.js";
import { type DecodeDone, emit, emitDone } from "./side.js";

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as DecodeJob;
const { threads, precision, answerTokens } = job;
const model = await openModel(job.model, { threads, precision });
const count = job.prompts.length;
const prompts = job.prompts.map((prompt) => Int32Array.from(prompt));
const settings = { threads, precision, engine: model.tunable ? "stillroom" : "llama.cpp" };
emit({ event: "ready", versions: { node: process.versions.node }, settings });

/** A turn: what steps with a token of every answer, and none of a prompt, made and took. Its clock starts once the decoder is open. */
async function answer(): Promise<DecodeDone> {
  let start = 0;
  function* requests() {
    start = performance.now();
    for (const prompt of prompts) yield { prompt, maxTokens: answerTokens };
  }
  const answers = new Array<number[]>(count);
  const firsts = new Array<number>(count);
  const waits: number[] = [];
  let seconds = 0;
  let before = { seconds: 0, promptTokens: 0, answerTokens: 0 };
  const options = {
    sequences: count,
    longest: job.promptTokens + 1 + answerTokens,
    onProgress: (now: typeof before) => {
      const whole = now.promptTokens === before.promptTokens && now.answerTokens - before.answerTokens === count;
      if (whole) waits.push(now.seconds - before.seconds);
      before = now;
    },
  };
  for await (const { index, tokens, firstTokenSeconds } of decodeRows(model, requests(), options)) {
    answers[index] = [...tokens];
    firsts[index] = firstTokenSeconds;
    seconds = (performance.now() - start) / 1000; // closing the decoder is no answer's
  }
  return {
    event: "step",
    answers,
    prompt_tokens: before.promptTokens,
    seconds,
    generated: waits.length * count,
    generation_seconds: waits.reduce((sum, wait) => sum + wait, 0),
    first_token_seconds: firsts,
    token_seconds: waits,
  };
}

/** Where the time went since it was last asked; nothing where llama.cpp runs the model. */
const profile = () => (model.tunable ? { profile: model.native.profile() } : {});
let turns = 0;
for await (const _ of createInterface({ input: process.stdin })) {
  if (turns++ === 1) profile(); // what came before is forgotten
  emit(await answer());
}
emitDone(profile());
await model.close();
