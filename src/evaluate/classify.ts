// Exact probabilities over a closed set of labels: log p of each label's tokens after the prompt, by the mean over the label's
// tokens, then softmax over the labels. Knows labels and probabilities; no batch and no metric.
import { type Row, usedFields } from "../dataset/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import type { Task } from "../task/index.js";
import { encodeAnswer, encodePrompt } from "../tokens/index.js";
import { scoreChoices } from "./choices.js";
import { numberText } from "./head.js";
import { mean } from "./metrics.js";
import type { Answered, EncodedPrompt, ScoringJob, Step } from "./scoring.js";

/** The most likely label of each row and all probabilities, in the order of the rows. */
export async function classifyRows(job: ScoringJob, rows: readonly EncodedPrompt[], step: Step): Promise<Answered[]> {
  const labels = labelChoices(job);
  const prior = await priorOf(job, labels);
  const values = numbersOf(job);
  const choices = rows.map(({ tokens }) => ({ prompt: tokens, labels, prior, values }));
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

/** What a user may ask that says nothing (Zhao et al. 2021). */
const contentFree = ["N/A", "[MASK]", ""];

/**
 * The probability of each label after inputs without content, in the mean over these inputs and the job's sets of examples; undefined where the job is not to be
 * calibrated. Throws "input" where the template, or the model's context, does not take them.
 */
export async function priorOf(
  job: Pick<ScoringJob, "task" | "model" | "lora" | "prompt" | "calibrateBehind">,
  labels: readonly LabelChoice[],
): Promise<number[] | undefined> {
  if (job.calibrateBehind === undefined) return undefined;
  const { model, task, prompt } = job;
  const longest = Math.max(...labels.map(({ tokens }) => tokens.length));
  const prompts = job.calibrateBehind.flatMap((examples) =>
    contentFree.map((text) => {
      const tokens = encodePrompt(model.tokenizer, prompt.render(emptyRow(task, text), examples));
      if (tokens.length >= 1 && tokens.length + longest <= model.info.contextLength) return { prompt: tokens, labels };
      throw unexpected(
        `a prompt of 1 to ${model.info.contextLength - longest} tokens`,
        `calibration with ${JSON.stringify(text)}`,
        tokens.length,
        "input",
      );
    }),
  );
  const answers = await chooseLabels(job, prompts, () => undefined);
  return labels.map(({ text }) => mean(answers.map(({ probabilities }) => probabilities![text]!)));
}

function emptyRow(task: Task, text: string): Row {
  const names = usedFields(task).all;
  const value = (name: string) => (name === "messages" ? [{ role: "user", content: text }] : text);
  const fields = Object.assign(Object.create(null), Object.fromEntries(names.map((name) => [name, value(name)])));
  return { index: -1, file: "", line: 0, fields, answer: "", value: "" };
}

/** For regress the number that each label stands for; else undefined. */
export function numbersOf({ task, labels }: Pick<ScoringJob, "task" | "labels">): number[] | undefined {
  return task.kind === "regress" ? labels.map(({ value }) => Number(value)) : undefined;
}

/** A prompt and its labels. */
interface LabelQuestion {
  prompt: Int32Array;
  labels: readonly LabelChoice[];
  prior?: readonly number[] | undefined;
  /** What the labels stand for, where the answer is the number that is expected of them. */
  values?: readonly number[] | undefined;
}

/** The most likely of each prompt's labels, and all probabilities, in the order of the rows. */
export async function chooseLabels(
  job: Parameters<typeof scoreChoices>[0],
  rows: readonly LabelQuestion[],
  step: Step,
): Promise<Answered[]> {
  const choices = rows.map(({ prompt, labels }) => ({ prompt, continuations: labels.map(({ tokens }) => tokens) }));
  const sums = await scoreChoices(job, choices, step);
  return rows.map(({ labels, prior, values }, row) => {
    const texts = labels.map(({ text }) => text);
    const answer = answerOf(
      texts,
      sums[row]!,
      labels.map(({ tokens }) => tokens.length),
      prior,
    );
    if (values === undefined) return answer;
    const expected = texts.reduce((sum, text, label) => sum + answer.probabilities![text]! * values[label]!, 0);
    return { ...answer, prediction: numberText(expected) };
  });
}

/** A label as it follows any prompt, without an end token. */
export function labelTokens({ prompt, model }: Pick<ScoringJob, "prompt" | "model">, text: string): Int32Array {
  const tokens = encodeAnswer(model.tokenizer, prompt.renderAnswer(text));
  if (tokens.length === 0) throw unexpected("a label of at least one token", "a label", text, "input");
  return tokens;
}

/** prior: probabilities by which those of the labels are divided. */
function answerOf(
  texts: readonly string[],
  sums: Float64Array,
  lengths: readonly number[],
  prior: readonly number[] | undefined,
): Answered {
  const means = texts.map((text, label) => {
    const logarithm = sums[label]! / lengths[label]! - (prior ? Math.log(prior[label]!) : 0);
    if (Number.isFinite(logarithm)) return logarithm;
    throw new StillroomError("internal", `the log-probability of the label ${JSON.stringify(text)} is ${logarithm}`);
  });
  const highest = Math.max(...means);
  const weights = means.map((mean) => Math.exp(mean - highest));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return {
    prediction: texts[means.indexOf(highest)]!,
    probabilities: Object.fromEntries(texts.map((text, label) => [text, weights[label]! / total])),
  };
}
