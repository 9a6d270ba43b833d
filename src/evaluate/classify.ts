// Exact probabilities over a closed set of labels: log p of each label's tokens after the prompt, by the mean over the label's
// tokens, then softmax over the labels. Knows labels and probabilities; no batch and no metric.
import { StillroomError, unexpected } from "../support/errors.js";
import { encodeAnswer } from "../tokens/index.js";
import { scoreChoices } from "./choices.js";
import type { Answered, EncodedPrompt, ScoringJob, Step } from "./scoring.js";

/** The most likely label of each row and all probabilities, in the order of the rows. */
export async function classifyRows(job: ScoringJob, rows: readonly EncodedPrompt[], step: Step): Promise<Answered[]> {
  const labels = labelChoices(job);
  const choices = rows.map(({ tokens }) => ({ prompt: tokens, labels }));
  return chooseLabels(job, choices, step);
}

/** A label with its tokens, as it follows any prompt. */
export interface LabelChoice {
  text: string;
  tokens: Int32Array;
}

/** The labels of a job. Throws "input" for fewer than two. */
export function labelChoices(job: Pick<ScoringJob, "task" | "labels" | "prompt" | "model">): LabelChoice[] {
  const texts = job.labels.map(({ text }) => text);
  if (texts.length < 2)
    throw unexpected("at least two labels", `answer.labels of the task ${job.task.name}`, texts, "input");
  return texts.map((text) => ({ text, tokens: labelTokens(job, text) }));
}

/** The most likely of each prompt's labels, and all probabilities, in the order of the rows. */
export async function chooseLabels(
  job: Parameters<typeof scoreChoices>[0],
  rows: readonly { prompt: Int32Array; labels: readonly LabelChoice[] }[],
  step: Step,
): Promise<Answered[]> {
  const choices = rows.map(({ prompt, labels }) => ({ prompt, continuations: labels.map(({ tokens }) => tokens) }));
  const sums = await scoreChoices(job, choices, step);
  return rows.map(({ labels }, row) => {
    const texts = labels.map(({ text }) => text);
    return answerOf(
      texts,
      sums[row]!,
      labels.map(({ tokens }) => tokens.length),
    );
  });
}

/** A label as it follows any prompt, without an end token. */
export function labelTokens({ prompt, model }: Pick<ScoringJob, "prompt" | "model">, text: string): Int32Array {
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
