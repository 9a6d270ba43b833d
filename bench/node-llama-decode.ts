// The peer of the decoding trial: greedy answers by node-llama-cpp, every prompt on a sequence of its own, which it evaluates in common
// batches. Flash attention as turns out faster. Same protocol as ours-decode.ts.
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { getLlama, type LlamaContext, LlamaLogLevel, type Token } from "node-llama-cpp";
import type { DecodeJob } from "./decode.js";
import { type DecodeDone, emit, emitDone } from "./side.js";
import { decodeTurn } from "./turn.js";

/** Answers of the runs that look for the best setting, in tokens. */
const trialTokens = 8;

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as DecodeJob;
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: job.model });
const contextSize = job.promptTokens + job.answerTokens + 8;

function contextWith(flashAttention: boolean): Promise<LlamaContext> {
  const sequences = job.prompts.length;
  return model.createContext({ contextSize, sequences, batchSize: 512, threads: job.threads, flashAttention });
}

/** All prompts, each answer up to so many tokens. */
async function answer(context: LlamaContext, most: number): Promise<DecodeDone> {
  const start = performance.now();
  const sequences = job.prompts.map(() => context.getSequence());
  const rows = await Promise.all(
    job.prompts.map(async (prompt, index) => {
      const tokens: number[] = [];
      const seconds: number[] = [];
      for await (const token of sequences[index]!.evaluate(prompt as Token[], { temperature: 0 })) {
        tokens.push(token);
        seconds.push((performance.now() - start) / 1000);
        if (tokens.length === most) break;
      }
      return { tokens, seconds };
    }),
  );
  const done = decodeTurn(rows, (performance.now() - start) / 1000);
  for (const sequence of sequences) sequence.dispose();
  return done;
}

const speeds: { flash_attention: boolean; generation_tokens_per_second: number }[] = [];
for (const flash_attention of [true, false]) {
  const context = await contextWith(flash_attention);
  const { generated, generation_seconds } = await answer(context, trialTokens);
  speeds.push({ flash_attention, generation_tokens_per_second: generated / generation_seconds });
  await context.dispose();
}
const [on, off] = speeds.map((one) => one.generation_tokens_per_second) as [number, number];
const context = await contextWith(on >= off);
const manifest = new URL("../package.json", import.meta.resolve("node-llama-cpp"));
const { version } = JSON.parse(await readFile(manifest, "utf8")) as { version: string };
const settings = { threads: job.threads, flash_attention: on >= off, batch_tokens: 512, tried: speeds };
emit({ event: "ready", versions: { "node-llama-cpp": version }, settings });

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
while (!(await lines.next()).done) emit(await answer(context, job.answerTokens));
emitDone();
await llama.dispose();
