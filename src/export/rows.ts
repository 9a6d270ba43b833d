// A task's answered rows in batches, for the importance matrix and for the gate's distributions. Knows no metric.
import type { Row } from "../dataset/index.js";
import type { Model } from "../model/index.js";
import { compilePrompt, type Examples, promptOf } from "../prompt/index.js";
import type { NativeBatch } from "../support/native.js";
import type { Task } from "../task/index.js";
import { type Encoded, encodeRow, microBatches, packRows } from "../tokens/index.js";

/** Most tokens of a batch; a longer row is one by itself. */
const tokenBudget = 1024;

/** The first of the rows' batches, of at most that many tokens, beginnings in common counted once; null where no row fits the context. */
export function firstBatch(
  model: Model,
  task: Task,
  rows: readonly Row[],
  examples: Examples,
  tokens: number,
): { batch: NativeBatch; rows: number } | null {
  const [group] = microBatches(encodedRows(model, task, rows, examples), { tokenBudget: tokens, sharePrefix: true });
  return group ? { batch: packRows(group, { sharePrefix: true }), rows: group.length } : null;
}

/** Batches whose queries are the answers' tokens, the end token with them, behind the examples. Rows that are longer than the context or do not suit the template are left out. */
export function answerBatches(
  model: Model,
  task: Task,
  rows: readonly Row[],
  sharePrefix: boolean,
  examples: Examples,
): NativeBatch[] {
  const encoded = encodedRows(model, task, rows, examples);
  return microBatches(encoded, { tokenBudget, sharePrefix }).map((group) => packRows(group, { sharePrefix }));
}

function encodedRows(model: Model, task: Task, rows: readonly Row[], examples: Examples): Encoded[] {
  const prompt = compilePrompt(task, model.template);
  return rows
    .flatMap((row) => {
      const text = promptOf(prompt, row, examples);
      return "reason" in text ? [] : [encodeRow(model.tokenizer, text, row, { withEnd: true })];
    })
    .filter((row) => length(row) <= model.info.contextLength);
}

function length({ prompt, answer }: Encoded): number {
  return prompt.length + answer.length;
}
