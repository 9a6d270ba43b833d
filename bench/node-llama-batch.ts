// node-llama-cpp's side of the batch trial: one token a row, greedy, of which only the labels' can win. What a sequence's prompt shares with the one before stays in its
// state; sequences are evaluated in common batches. node dist/bench/node-llama-batch.js JOB.json
import { readFile } from "node:fs/promises";
import { getLlama, type LlamaContextSequence, LlamaLogLevel, type Token, TokenBias } from "node-llama-cpp";
import type { BatchJob } from "./batch.js";
import { type Choose, fastest, playBatches } from "./batch-side.js";
import { emit, emitDone } from "./side.js";

interface Settings {
  sequences: number;
  flash_attention: boolean;
}

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as BatchJob;
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: job.model });
const longest = job.rows.reduce((most, { prompt }) => Math.max(most, prompt.length), 0);
const tokenBias = TokenBias.for(model).set(
  job.labels.map(({ token }) => token as Token),
  { logit: job.bias },
);
const generateNext = { token: true, options: { temperature: 0, tokenBias } } as const;

async function open({ sequences, flash_attention: flashAttention }: Settings) {
  const contextSize = longest + 8;
  const context = await model.createContext({
    contextSize,
    sequences,
    batchSize: 512,
    threads: job.threads,
    flashAttention,
  });
  const idle = Array.from({ length: sequences }, () => context.getSequence());
  const chosenBy = async (sequence: LlamaContextSequence, prompt: number[]): Promise<number> => {
    await sequence.adaptStateToTokens(prompt.slice(0, -1) as Token[], false);
    const rest = prompt.slice(sequence.nextTokenIndex) as Token[];
    const results = await sequence.controlledEvaluate([...rest.slice(0, -1), [rest.at(-1)!, { generateNext }]]);
    return results.at(-1)!.next.token!;
  };
  const choose: Choose = async (prompt) => {
    const sequence = idle.pop()!;
    const token = await chosenBy(sequence, prompt);
    idle.push(sequence);
    return job.labels.findIndex((label) => label.token === token);
  };
  return { choose, close: () => context.dispose() };
}

const settings = [1, 4, 16].flatMap((sequences) =>
  [true, false].map((flash_attention) => ({ sequences, flash_attention })),
);
const { best, tried } = await fastest(job, settings, open);
const { choose, close } = await open(best);
const manifest = new URL("../package.json", import.meta.resolve("node-llama-cpp"));
const { version } = JSON.parse(await readFile(manifest, "utf8")) as { version: string };
const used = { threads: job.threads, batch_tokens: 512, prefix_cached: true, ...best, tried };
emit({ event: "ready", versions: { "node-llama-cpp": version }, settings: used });
await playBatches(job, choose, best.sequences);
emitDone();
await close();
await llama.dispose();
