// Whether node-llama-cpp, an unmodified llama.cpp, answers a classify task as stillroom's own engine does on the same file.
// Both score the same tokens; node-llama-cpp one row and label at a time.
import path from "node:path";
import { getLlama, LlamaLogLevel, type Token } from "node-llama-cpp";
import { labelsOf } from "../src/dataset/index.js";
import { evaluateRows } from "../src/evaluate/index.js";
import { openModel } from "../src/index.js";
import { compilePrompt } from "../src/prompt/index.js";
import { throwIfCancelled } from "../src/support/cancelled.js";
import { encodeAnswer, encodePrompt } from "../src/tokens/index.js";
import { labelledRows, type RowSession, readClassifyTask } from "./scored-rows.js";

export interface AgreeOptions {
  model?: string;
  data?: string;
  limit?: number;
  threads?: number;
}

export interface Agreement {
  model: string;
  rows: number;
  /** Bad rows that were left out. */
  errors: number;
  /** Rows with the same most likely label. */
  same: number;
  /** Share of right answers. */
  accuracy: { ours: number; node_llama_cpp: number };
  /** Largest and mean difference of a label's probability. */
  difference: { max: number; mean: number };
}

export async function benchAgree(
  taskFile: string,
  { data, limit, ...options }: AgreeOptions,
  session: RowSession,
): Promise<Agreement> {
  const { say, signal } = session;
  const task = await readClassifyTask(taskFile, data);
  const model = await openModel(options.model, { threads: options.threads, signal });
  const { train, test, errors } = await labelledRows(task, limit, session);
  const { rows } = test;
  const prompt = compilePrompt(task, model.template);
  const labels = labelsOf(task, train.rows);
  const ours = await evaluateRows({ model, lora: null, task, rows, prompt, examples: [], labels, signal });
  say(`ours: ${ours.rows.length} rows`);

  const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
  const peer = await llama.loadModel({ modelPath: path.resolve(model.info.path) });
  const context = await peer.createContext({ contextSize: 2048, threads: model.threads });
  const sequence = context.getSequence();
  const result = { same: 0, right: [0, 0] as [number, number], max: 0, sum: 0 };
  for (const [place, row] of rows.entries()) {
    throwIfCancelled(signal, `comparing, after ${place} of ${rows.length} rows`);
    const tokens = encodePrompt(model.tokenizer, prompt.render(row, []));
    const scores: number[] = [];
    for (const { text } of labels) {
      const answer = encodeAnswer(model.tokenizer, prompt.renderAnswer(text));
      await sequence.clearHistory();
      scores.push(await meanLogProbability(sequence, tokens, answer));
    }
    const high = Math.max(...scores);
    const total = scores.reduce((sum, score) => sum + Math.exp(score - high), 0);
    const mine = ours.rows[place]!;
    const theirs = labels[scores.indexOf(high)]!.text;
    if (mine.prediction === theirs) result.same++;
    if (mine.prediction === row.answer) result.right[0]++;
    if (theirs === row.answer) result.right[1]++;
    for (const [index, { text }] of labels.entries()) {
      const difference = Math.abs(Math.exp(scores[index]! - high) / total - mine.probabilities![text]!);
      result.max = Math.max(result.max, difference);
      result.sum += difference;
    }
    if (place % 50 === 49) say(`node-llama-cpp: ${place + 1} of ${rows.length} rows`);
  }
  await llama.dispose();
  await model.close();
  return {
    model: model.info.path,
    rows: rows.length,
    errors,
    same: result.same,
    accuracy: { ours: result.right[0] / rows.length, node_llama_cpp: result.right[1] / rows.length },
    difference: { max: result.max, mean: result.sum / rows.length / labels.length },
  };
}

type Sequence = ReturnType<
  Awaited<
    ReturnType<Awaited<ReturnType<Awaited<ReturnType<typeof getLlama>>["loadModel"]>>["createContext"]>
  >["getSequence"]
>;

/** Mean over the answer's tokens of log p. */
async function meanLogProbability(sequence: Sequence, prompt: Int32Array, answer: Int32Array): Promise<number> {
  const first = prompt.length - 1;
  const input = [...prompt, ...answer.subarray(0, -1)] as Token[];
  const results = await sequence.controlledEvaluate(
    input.map((token, index) => (index < first ? token : [token, { generateNext: { probabilities: true } }])),
  );
  let sum = 0;
  for (const [index, asked] of answer.entries()) {
    sum += Math.log(results[first + index]!.next.probabilities!.get(asked as Token)!);
  }
  return sum / answer.length;
}
