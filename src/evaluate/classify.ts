// Exact probabilities over a closed set of labels: log p of each label's tokens after the prompt, by the mean over the label's
// tokens, then softmax over the labels. Knows batches and probabilities; no metric.
import { StillroomError, unexpected } from "../support/errors.js";
import type { NativeBatch } from "../support/native.js";
import { native } from "../support/native.js";
import { encodeAnswer, packChoices } from "../tokens/index.js";
import type { Answered, EncodedPrompt, ScoringJob, Step } from "./scoring.js";

const defaultTokenBudget = 2048;
/** Sequences that llama.cpp has room for at once. */
const sequences = 8;

type Score = (batch: NativeBatch) => Promise<Float64Array>;

/** The most likely label of each row and all probabilities, in the order of the rows. */
export async function classifyRows(job: ScoringJob, rows: readonly EncodedPrompt[], step: Step): Promise<Answered[]> {
  const texts = job.labels.map(({ text }) => text);
  if (texts.length < 2)
    throw unexpected("at least two labels", `answer.labels of the task ${job.task.name}`, texts, "input");
  const choices = texts.map((text) => labelTokens(job, text));
  const branch = choices.reduce((sum, { length }) => sum + length, 0);
  const answered = new Array<Answered>(rows.length);
  const plan = planBatches(rows, branch, job.tokenBudget ?? defaultTokenBudget);
  const { score, close } = await scorer(job, rows, branch);
  try {
    for (const places of plan) {
      const prompts = places.map((place) => rows[place]!.tokens);
      const { batch, ranges } = packChoices(
        prompts,
        places.map(() => choices),
      );
      const logProbabilities = await score(batch);
      for (const [row, place] of places.entries()) {
        answered[place] = answerOf(texts, logProbabilities, ranges.subarray(row * texts.length * 2));
      }
      step(
        places.length,
        prompts.reduce((sum, { length }) => sum + length + branch, 0),
      );
    }
  } finally {
    await close();
  }
  return answered;
}

/** A label as it follows any prompt, without an end token. */
export function labelTokens({ prompt, model }: ScoringJob, text: string): Int32Array {
  const tokens = encodeAnswer(model.tokenizer, prompt.renderAnswer(text));
  if (tokens.length === 0) throw unexpected("a label of at least one token", "a label", text, "input");
  return tokens;
}

/**
 * Row places in batches of similar length, the beginning that all prompts share counted once a batch.
 *
 * @param branch - tokens of all labels of one row
 */
export function planBatches(rows: readonly { tokens: Int32Array }[], branch: number, budget: number): number[][] {
  const places = [...rows.keys()].sort((a, b) => rows[a]!.tokens.length - rows[b]!.tokens.length || a - b);
  const shared = sharedPrefix(rows.map(({ tokens }) => tokens));
  const batches: number[][] = [];
  let used = 0;
  for (const place of places) {
    const own = rows[place]!.tokens.length - shared + branch;
    const last = batches.at(-1);
    if (last && used + own <= budget) {
      last.push(place);
      used += own;
    } else {
      batches.push([place]);
      used = shared + own;
    }
  }
  return batches;
}

/** Tokens at the front that all have in common. */
function sharedPrefix(prompts: readonly Int32Array[]): number {
  const [first, ...others] = prompts;
  if (!first) return 0;
  let length = first.length;
  for (const other of others) {
    let same = 0;
    while (same < length && same < other.length && other[same] === first[same]) same++;
    length = same;
  }
  return length;
}

/** Our engine where it takes the model; else llama.cpp, on the same batches. */
async function scorer(
  { model, lora }: ScoringJob,
  rows: readonly EncodedPrompt[],
  branch: number,
): Promise<{ score: Score; close: () => Promise<void> }> {
  if (model.tunable) return { score: (batch) => model.native.score(batch, lora), close: async () => undefined };
  const runner = await native().openRunner(model.info.path, {
    threads: model.threads,
    adapter: null,
    contextTokens: rows.reduce((most, { tokens }) => Math.max(most, tokens.length + branch), 1),
    sequences,
  });
  return { score: (batch) => runner.score(batch), close: () => runner.close() };
}

/** @param ranges - (labels, 2) first query of each label and one past its last */
function answerOf(texts: readonly string[], logProbabilities: Float64Array, ranges: Int32Array): Answered {
  const means = texts.map((text, label) => {
    const [from, to] = [ranges[label * 2]!, ranges[label * 2 + 1]!];
    const mean = logProbabilities.subarray(from, to).reduce((sum, value) => sum + value, 0) / (to - from);
    if (Number.isFinite(mean)) return mean;
    throw new StillroomError("internal", `the log-probability of the label ${JSON.stringify(text)} is ${mean}`);
  });
  const highest = Math.max(...means);
  const weights = means.map((mean) => Math.exp(mean - highest));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return {
    prediction: texts[means.indexOf(highest)]!,
    probabilities: Object.fromEntries(texts.map((text, label) => [text, weights[label]! / total])),
  };
}
