// Which tokens a task's texts are made of: what a student's vocabulary is to hold. Counts tokens; the tokenizer is trimmed natively.
import { readRows } from "../dataset/index.js";
import { type GivenPrompt, readShots } from "../evaluate/index.js";
import type { Model } from "../model/index.js";
import { compilePrompt, promptOf } from "../prompt/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import type { NativeStudentParts } from "../support/native.js";
import type { Task } from "../task/index.js";
import { encodeRow } from "../tokens/index.js";

/** Rows between two looks at the signal. */
const slice = 256;

/**
 * The tokens that the training and validation rows of a task are made of, in the order in which a vocabulary should take them: those of the answers, then those of
 * the prompts, the frequent ones first. Test rows are not looked at. With a size, the rest of the teacher's tokens follows in its own order (BPE's
 * and SentencePiece's early tokens are the frequent ones), so that the size is used.
 */
export async function wantedTokens(
  teacher: Model,
  task: Task,
  size: number | null,
  {
    prompt: asked,
    signal,
    onProgress,
  }: { prompt: GivenPrompt; signal?: AbortSignal | undefined; onProgress?: ((done: number) => void) | undefined },
): Promise<NonNullable<NativeStudentParts["tokens"]>> {
  const { tokenizer } = teacher;
  const [answers, prompts] = [new Map<number, number>(), new Map<number, number>()];
  const count = (counts: Map<number, number>, tokens: Int32Array) => {
    for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  };
  count(answers, tokenizer.endTokens);
  const prompt = compilePrompt(task, teacher.template);
  for (const split of ["train", "validation"] as const) {
    if (!task.data[split]) continue;
    const { rows } = await readRows(task, split, { strict: false, ...(signal && { signal }) });
    const { examples } = await readShots(task, rows, { prompt: asked, model: teacher, signal });
    for (const [index, row] of rows.entries()) {
      if (index % slice === 0) {
        await new Promise(setImmediate);
        throwIfCancelled(signal, `reading the ${split} rows of ${task.name} for their tokens`);
        onProgress?.(index / rows.length);
      }
      const text = promptOf(prompt, row, examples);
      if ("reason" in text) continue;
      const encoded = encodeRow(tokenizer, text, row, { withEnd: true });
      count(answers, encoded.answer);
      count(prompts, encoded.prompt);
    }
  }
  onProgress?.(1);
  const frequent = (counts: Map<number, number>) =>
    [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(([token]) => token);
  const rest = size === null ? [] : Array(tokenizer.vocabulary).keys();
  const wanted = Int32Array.from(new Set([...frequent(answers), ...frequent(prompts), ...rest]));
  return { wanted, most: size ?? tokenizer.vocabulary };
}
