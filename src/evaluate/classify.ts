// Exact probabilities over a closed set of labels: log p of each label's tokens after the prompt, by the mean over the label's
// tokens, then softmax over the labels. Knows labels and probabilities; no batch and no metric.
import { StillroomError, unexpected } from "../support/errors.js";
import { encodeAnswer } from "../tokens/index.js";
import { scoreChoices } from "./choices.js";
import type { Answered, EncodedPrompt, ScoringJob, Step } from "./scoring.js";

/** The most likely label of each row and all probabilities, in the order of the rows. */
export async function classifyRows(job: ScoringJob, rows: readonly EncodedPrompt[], step: Step): Promise<Answered[]> {
  const texts = job.labels.map(({ text }) => text);
  if (texts.length < 2)
    throw unexpected("at least two labels", `answer.labels of the task ${job.task.name}`, texts, "input");
  const continuations = texts.map((text) => labelTokens(job, text));
  const choices = rows.map(({ tokens }) => ({ prompt: tokens, continuations }));
  const lengths = continuations.map(({ length }) => length);
  return (await scoreChoices(job, choices, step)).map((sums) => answerOf(texts, sums, lengths));
}

/** A label as it follows any prompt, without an end token. */
export function labelTokens({ prompt, model }: ScoringJob, text: string): Int32Array {
  const tokens = encodeAnswer(model.tokenizer, prompt.renderAnswer(text));
  if (tokens.length === 0) throw unexpected("a label of at least one token", "a label", text, "input");
  return tokens;
}

function answerOf(texts: readonly string[], sums: Float64Array, lengths: readonly number[]): Answered {
  const means = texts.map((text, label) => {
    const mean = sums[label]! / lengths[label]!;
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
