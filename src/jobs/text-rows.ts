// Texts of no task as further rows of a run, each of whose tokens a teacher is asked about. Reads and encodes; the loss is distillation's.
import { badRowError, readTexts } from "../dataset/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import type { NativeTokenizer } from "../support/native.js";
import { type Encoded, encodeText } from "../tokens/index.js";
import { badRowWarnings, type Warning } from "./tune-data.js";

/** Rows of texts, and how many lines of their file hold none. */
export interface TextRows {
  rows: Encoded[];
  badRows: number;
}

/** Texts encoded between two looks at the signal. */
const slice = 256;

/** The texts of a file in tokens, longer ones in pieces of maxLength; none without a file. Throws "input" for a file that holds none, and with strict at a bad line. */
export async function* readTextRows(
  file: string | null,
  tokenizer: NativeTokenizer,
  { maxLength, strict, signal }: { maxLength: number; strict: boolean; signal: AbortSignal | null },
): AsyncGenerator<Warning, TextRows> {
  if (file === null) return { rows: [], badRows: 0 };
  const { texts, bad } = await readTexts(file, { ...(signal && { signal }) });
  const [first] = bad;
  if (strict && first) throw badRowError(first);
  yield* badRowWarnings(bad);
  const rows: Encoded[] = [];
  for (const [index, { text, line }] of texts.entries()) {
    if (index % slice === 0) {
      await new Promise(setImmediate);
      throwIfCancelled(signal ?? undefined, `encoding texts, after ${index} of ${texts.length}`);
    }
    const row = { index, file, line, fields: { text }, answer: "", value: "" };
    rows.push(...encodeText(tokenizer, text, row, maxLength));
  }
  if (rows.length === 0) throw new StillroomError("input", `${file} holds no text of two tokens or more`);
  return { rows, badRows: bad.length };
}
