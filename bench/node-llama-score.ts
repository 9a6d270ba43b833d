// The peer of the scoring trial: labels by node-llama-cpp on one sequence, as fast as its API lets it: what a row shares with the one
// before stays in the sequence's state, and labels of one token cost nothing beyond the prompt. Same protocol as ours-score.ts.
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { getLlama, LlamaLogLevel, type Token } from "node-llama-cpp";
import type { ScoreJob } from "./score.js";
import { emit } from "./side.js";

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as ScoreJob;
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: job.model });
const longest = job.rows.reduce(
  (most, { prompt, choices }) => Math.max(most, prompt.length + Math.max(...choices.map(({ length }) => length))),
  0,
);
const context = await model.createContext({ contextSize: longest + 8, batchSize: 512, threads: job.threads });
const sequence = context.getSequence();
const manifest = new URL("../package.json", import.meta.resolve("node-llama-cpp"));
const { version } = JSON.parse(await readFile(manifest, "utf8")) as { version: string };
emit({ event: "ready", versions: { "node-llama-cpp": version } });

/** The next token's probabilities after each of the last `asked` tokens of the input. */
async function probabilities(input: readonly number[], asked: number): Promise<Map<Token, number>[]> {
  await sequence.adaptStateToTokens(input.slice(0, input.length - asked) as Token[], false);
  const rest = input.slice(sequence.nextTokenIndex) as Token[];
  const results = await sequence.controlledEvaluate(
    rest.map((token, at) => (at < rest.length - asked ? token : [token, { generateNext: { probabilities: true } }])),
  );
  return results.slice(rest.length - asked).map((result) => result!.next.probabilities!);
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
for (const turn of job.turns) {
  if ((await lines.next()).done) break;
  const start = performance.now();
  const means: number[][] = [];
  let tokens = 0;
  for (const row of turn) {
    const { prompt, choices } = job.rows[row]!;
    const [first] = await probabilities(prompt, 1);
    const scores: number[] = [];
    for (const choice of choices) {
      const behind =
        choice.length > 1 ? await probabilities([...prompt, ...choice.slice(0, -1)], choice.length - 1) : [];
      const sum = [first!, ...behind].reduce((total, next, at) => total + Math.log(next.get(choice[at] as Token)!), 0);
      scores.push(sum / choice.length);
      tokens += choice.length;
    }
    means.push(scores);
    tokens += prompt.length;
  }
  emit({ event: "step", means, tokens, seconds: (performance.now() - start) / 1000 });
}
emit({ event: "done", peak_memory_bytes: process.resourceUsage().maxRSS * 1024 });
await llama.dispose();
