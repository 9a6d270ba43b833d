// The peer of the scoring trial: labels by node-llama-cpp on one sequence or several, as fast as its API lets it: what a row shares with
// the one before stays in its sequence's state, sequences are evaluated in common batches, and labels of one token cost nothing beyond
// the prompt. Same protocol as ours-score.ts.
import { readFile } from "node:fs/promises";
import { getLlama, type LlamaContextSequence, LlamaLogLevel, type Token } from "node-llama-cpp";
import type { ScoreJob } from "./score.js";
import { emit, emitDone, turnsOf } from "./side.js";

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as ScoreJob;
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: job.model });
const longest = job.rows.reduce(
  (most, { prompt, choices }) => Math.max(most, prompt.length + Math.max(...choices.map(({ length }) => length))),
  0,
);
const sequences = job.peer.batchRows;
const context = await model.createContext({
  contextSize: longest + 8,
  batchSize: 512,
  threads: job.threads,
  sequences,
});
const states = Array.from({ length: sequences }, () => context.getSequence());
const manifest = new URL("../package.json", import.meta.resolve("node-llama-cpp"));
const { version } = JSON.parse(await readFile(manifest, "utf8")) as { version: string };
emit({ event: "ready", versions: { "node-llama-cpp": version } });

/** The next token's probabilities after each of the last `asked` tokens of the input. */
async function probabilities(
  sequence: LlamaContextSequence,
  input: readonly number[],
  asked: number,
): Promise<Map<Token, number>[]> {
  await sequence.adaptStateToTokens(input.slice(0, input.length - asked) as Token[], false);
  const rest = input.slice(sequence.nextTokenIndex) as Token[];
  const results = await sequence.controlledEvaluate(
    rest.map((token, at) => (at < rest.length - asked ? token : [token, { generateNext: { probabilities: true } }])),
  );
  return results.slice(rest.length - asked).map((result) => result!.next.probabilities!);
}

/** Of each choice, the mean over its tokens of log p. */
async function meansOf(sequence: LlamaContextSequence, row: number): Promise<number[]> {
  const { prompt, choices } = job.rows[row]!;
  const [first] = await probabilities(sequence, prompt, 1);
  const means: number[] = [];
  for (const choice of choices) {
    const input = [...prompt, ...choice.slice(0, -1)];
    const behind = choice.length > 1 ? await probabilities(sequence, input, choice.length - 1) : [];
    const sum = [first!, ...behind].reduce((total, next, at) => total + Math.log(next.get(choice[at] as Token)!), 0);
    means.push(sum / choice.length);
  }
  return means;
}

for await (const [, turn] of turnsOf(job.turns)) {
  const start = performance.now();
  const means = new Array<number[]>(turn.length);
  let next = 0;
  await Promise.all(
    states.map(async (sequence) => {
      for (let place = next++; place < turn.length; place = next++)
        means[place] = await meansOf(sequence, turn[place]!);
    }),
  );
  const tokens = turn.reduce((sum, row) => {
    const { prompt, choices } = job.rows[row]!;
    return sum + prompt.length + choices.reduce((all, { length }) => all + length, 0);
  }, 0);
  emit({ event: "step", means, tokens, seconds: (performance.now() - start) / 1000 });
}
emitDone();
await llama.dispose();
