// Answers by a head of the task's own, from the state at the end of the prompt: label probabilities, a set of labels, or a number in the task's units. Knows no label's tokens.
import type { Head } from "../adapter/index.js";
import type { Model } from "../model/index.js";
import type { NativeLora } from "../support/native.js";
import { compareTokens, packTexts, sharedPrefix } from "../tokens/index.js";
import { notFinite, planBatches } from "./choices.js";
import type { Answered, Step } from "./scoring.js";
import { answerSet } from "./sets.js";

/** What answers by a head. */
export interface HeadJob {
  model: Model;
  /** With the head in it. */
  lora: NativeLora;
  head: Head;
  tokenBudget?: number | undefined;
  /** As of packTexts: the same bits in any batch, for prompts that share no more than this. */
  front?: Int32Array | undefined;
}

/** What a head says to each prompt, in their order. Throws "input" where it gives no numbers. */
export async function answerByHead(job: HeadJob, prompts: readonly Int32Array[], step: Step): Promise<Answered[]> {
  const { model, lora, tokenBudget } = job;
  const answered = new Array<Answered>(prompts.length);
  const front = job.front ?? frontOfAll(prompts);
  const rows = prompts.map((prompt) => ({ prompt, continuations: [] }));
  for (const places of planBatches(rows, tokenBudget, front)) {
    const asked = places.map((place) => prompts[place]!);
    const outputs = await model.native.answer(packTexts(asked, front), lora);
    const width = outputs.length / places.length;
    for (const [index, place] of places.entries()) {
      answered[place] = answerOf(job, outputs.subarray(index * width, (index + 1) * width));
    }
    step(
      places.length,
      asked.reduce((sum, { length }) => sum + length, 0),
    );
  }
  return answered;
}

/** What all prompts begin with; of one prompt nothing. */
function frontOfAll(prompts: readonly Int32Array[]): Int32Array {
  const ordered = [...prompts].sort(compareTokens);
  const [first, last] = [ordered[0], ordered.at(-1)];
  return first && last && first !== last ? first.subarray(0, sharedPrefix(first, last)) : new Int32Array(0);
}

function answerOf({ model, lora, head }: HeadJob, outputs: Float32Array): Answered {
  const wrong = outputs.find((output) => !Number.isFinite(output));
  if (wrong !== undefined) throw notFinite(model, lora, "an output of the head", wrong);
  if (head.labels === null) return numberOf(head, outputs);
  if (head.loss === "sigmoid") {
    const probabilities = head.labels.map((text, label) => [text, 1 / (1 + Math.exp(-outputs[label]!))]);
    return answerSet(Object.fromEntries(probabilities));
  }
  const highest = Math.max(...outputs);
  const weights = Array.from(outputs, (output) => Math.exp(output - highest));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return {
    prediction: head.labels[outputs.indexOf(highest)]!,
    probabilities: Object.fromEntries(head.labels.map((text, label) => [text, weights[label]! / total])),
  };
}

/** Of quantiles the one nearest to the median, and the outermost two as an interval. */
function numberOf({ loss, parameters, centre, scale }: Head, outputs: Float32Array): Answered {
  const values = Array.from(outputs, (output) => centre + scale * output);
  if (loss !== "pinball") return { prediction: numberText(values[0]!), probabilities: null };
  const middle = parameters.reduce(
    (best, level, at) => (Math.abs(level - 0.5) < Math.abs(parameters[best]! - 0.5) ? at : best),
    0,
  );
  const interval: [number, number] = [Math.min(...values), Math.max(...values)];
  return { prediction: numberText(values[middle]!), probabilities: null, ...(values.length > 1 && { interval }) };
}

/** A predicted number as text: six digits. */
export function numberText(value: number): string {
  return String(Number(value.toPrecision(6)));
}
