// Rows as the loop takes them: encoded once, fitted to the longest length, cut into micro-batches on demand.
import type { BadRow, Row } from "../dataset/index.js";
import { type CompiledPrompt, type Examples, promptOf } from "../prompt/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import type { NativeBatch, NativeTaught, NativeTokenizer } from "../support/native.js";
import { compareTokens, type Encoded, encodeRow, fitRow, microBatches, packRows } from "../tokens/index.js";
import type { MicroBatch } from "./loop.js";

/** Rows that fit, and what became of the others. */
export interface FittedRows {
  rows: Encoded[];
  /** Rows of which the front of the prompt was cut off. */
  truncated: Row[];
  /** Rows left out for their length. */
  dropped: Row[];
  /** How many rows the model's own tokenizer, where another one cuts, would cut otherwise; and of how many of these the answer. */
  recut: { rows: number; answers: number };
  /** Rows left out because they do not suit the template, or their prompt has no token to go on from. */
  bad: BadRow[];
}

/** How rows are encoded. */
export interface Encoding {
  tokenizer: NativeTokenizer;
  /** The model's own, where tokenizer is another: rows are compared. */
  usual?: NativeTokenizer | undefined;
  prompt: CompiledPrompt;
  /** Tokens, answer included; or what says so once all rows are encoded. */
  maxLength: number | ((encoded: readonly Encoded[]) => number);
  onLong: "truncate" | "drop";
  signal: AbortSignal | null;
  /** Answered rows before each prompt (default: none). */
  examples?: Examples | undefined;
  /** With a head of the task's own: what it should give for a row; a text: why it cannot. Its answer is then no text. */
  targetOf?: ((row: Row) => readonly number[] | string) | undefined;
}

/** Rows encoded between two looks at the signal. */
const slice = 256;

/**
 * Encodes rows, each answer with the end token behind it: the tuned model stops by itself. A row whose answer alone is too long
 * is left out in either case. Gives the event loop room between slices, so that an abort is seen.
 */
export async function encodeRows(rows: readonly Row[], encoding: Encoding): Promise<FittedRows> {
  const fitted: FittedRows = { rows: [], truncated: [], dropped: [], recut: { rows: 0, answers: 0 }, bad: [] };
  const whole: Encoded[] = [];
  for (const [index, row] of rows.entries()) {
    if (index % slice === 0) {
      await new Promise(setImmediate);
      throwIfCancelled(encoding.signal ?? undefined, `encoding rows, after ${index} of ${rows.length}`);
    }
    const encoded = encodeOne(row, encoding, fitted.recut);
    if ("reason" in encoded) fitted.bad.push(encoded);
    else whole.push(encoded);
  }
  const { maxLength, onLong } = encoding;
  const most = typeof maxLength === "number" ? maxLength : maxLength(whole);
  for (const encoded of whole) fitInto(fitted, encoded, most, onLong);
  return fitted;
}

function encodeOne(
  row: Row,
  { tokenizer, usual, prompt, targetOf, examples = [] }: Encoding,
  recut: FittedRows["recut"],
): Encoded | BadRow {
  const text = promptOf(prompt, row, examples);
  if ("reason" in text) return text;
  const target = targetOf?.(row);
  if (typeof target === "string") return { file: row.file, line: row.line, reason: target };
  const whole = encodeRow(tokenizer, text, row, { withEnd: true });
  if (usual) countRecut(recut, whole, encodeRow(usual, text, row, { withEnd: true }));
  const encoded = target === undefined ? whole : { ...whole, answer: Int32Array.of(0), target };
  if (encoded.prompt.length === 0) return { file: row.file, line: row.line, reason: "its prompt has no token" };
  return encoded;
}

function fitInto(fitted: FittedRows, encoded: Encoded, maxLength: number, onLong: Encoding["onLong"]): void {
  if (lengthOf(encoded) <= maxLength) {
    fitted.rows.push(encoded);
    return;
  }
  const shorter = onLong === "truncate" ? fitRow(encoded, maxLength) : null;
  if (shorter) fitted.rows.push(shorter);
  (shorter ? fitted.truncated : fitted.dropped).push(encoded.row);
}

/**
 * Cuts rows, by index, into micro-batches under a token budget.
 *
 * @param taught - what a teacher says about rows, one after the other
 */
export function microBatcher(
  rows: readonly Encoded[],
  tokenBudget: number,
  sharePrefix: boolean,
  taught: ((indices: Int32Array) => NativeTaught) | null = null,
): (indices: Int32Array) => MicroBatch[] {
  return (indices) => {
    const chosen = Array.from(indices, (index) => rows[index]!);
    let from = 0;
    return microBatches(chosen, { tokenBudget, sharePrefix }).map((part) => {
      const own = indices.subarray(from, from + part.length);
      from += part.length;
      return {
        batch: { ...withTargets(packRows(part, { sharePrefix }), part), ...(taught && { taught: taught(own) }) },
        rows: part.length,
        tokens: part.reduce((sum, row) => sum + lengthOf(row), 0),
      };
    });
  };
}

function withTargets(batch: NativeBatch, rows: readonly Encoded[]): NativeBatch {
  if (rows[0]?.target === undefined) return batch;
  return { ...batch, targets: Float32Array.from(rows.flatMap(({ target }) => target!)) };
}

function countRecut(recut: FittedRows["recut"], one: Encoded, other: Encoded): void {
  const answer = compareTokens(one.answer, other.answer) !== 0;
  if (answer) recut.answers++;
  if (answer || compareTokens(one.prompt, other.prompt) !== 0) recut.rows++;
}

function lengthOf({ prompt, answer }: Encoded): number {
  return prompt.length + answer.length;
}
