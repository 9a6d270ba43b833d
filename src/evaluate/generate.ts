// Greedy answers in words, through the decoder. Knows prompts and texts; no metric.
import { decodeRows } from "../decode/index.js";
import { StillroomError } from "../support/errors.js";
import type { Task } from "../task/index.js";
import { compareTokens } from "../tokens/index.js";
import type { Answered, EncodedPrompt, ScoringJob, Step } from "./scoring.js";

/** The generated text of each row, white space at its ends removed, in the order of the rows. */
export async function generateRows(job: ScoringJob, rows: readonly EncodedPrompt[], step: Step): Promise<Answered[]> {
  const { task, model, lora, signal } = job;
  const answered = new Array<Answered>(rows.length);
  // Prompts that begin alike run side by side.
  const places = [...rows.keys()].sort((a, b) => compareTokens(rows[a]!.tokens, rows[b]!.tokens) || a - b);
  const longest = rows.reduce((most, { tokens }) => Math.max(most, tokens.length), 0) + task.maxTokens;
  const stop = stopsOf(task);
  const requests = places.map((place) => ({ prompt: rows[place]!.tokens, maxTokens: task.maxTokens, stop }));
  for await (const row of decodeRows(model, requests, { lora, longest, signal })) {
    if (row.ended === "refused") throw new StillroomError("input", `a row cannot be answered: ${row.reason}`);
    answered[places[row.index]!] = { prediction: row.text.trim(), probabilities: null };
    step(1, row.promptTokens + row.tokens.length);
  }
  return answered;
}

/** Texts that end an answer: without a chat template, a model that is done goes on with the next example. */
export function stopsOf({ prompt }: Task): string[] {
  return prompt.chat || prompt.separator === "" ? [] : [prompt.separator];
}
