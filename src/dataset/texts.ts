// Texts of no task, with nothing to answer: lines of a plain file, or the field "text" of JSON Lines. Reads and checks them; cuts nothing.
import { isUtf8 } from "node:buffer";
import path from "node:path";
import { unexpected } from "../support/errors.js";
import { readJsonl } from "./jsonl.js";
import { type Line, linesOf, readLines } from "./lines.js";
import { defaultMaxBytes, type RawRecord, type ReadOptions, textFault } from "./records.js";
import type { BadRow } from "./row.js";

/** A text and where it stands. */
export interface PlainText {
  text: string;
  file: string;
  line: number;
}

/**
 * The texts of a file: of a .jsonl file the field `text` of each object, of a .txt file each line that is not blank; and the lines that hold none.
 *
 * @throws StillroomError "usage" for another ending, "input" for a file that cannot be opened, "io", "cancelled"
 */
export async function readTexts(
  file: string,
  options: { signal?: AbortSignal | undefined },
): Promise<{ texts: PlainText[]; bad: BadRow[] }> {
  const read = readers[path.extname(file).toLowerCase()];
  if (!read) throw unexpected("a .txt or .jsonl file", "texts", file);
  const texts: PlainText[] = [];
  const bad: BadRow[] = [];
  for await (const record of read(file, { maxBytes: defaultMaxBytes, ...options })) {
    const { line } = record;
    const text = "reason" in record ? null : record.fields.text;
    if (typeof text === "string" && text.trim() !== "") texts.push({ text, file, line });
    else bad.push({ file, line, reason: "reason" in record ? record.reason : 'has no text in its field "text"' });
  }
  return { texts, bad };
}

const readers: Record<string, (file: string, options: ReadOptions) => AsyncGenerator<RawRecord>> = {
  ".jsonl": readJsonl,
  ".txt": readPlain,
};

async function* readPlain(file: string, options: ReadOptions): AsyncGenerator<RawRecord> {
  for await (const one of readLines(file, options)) {
    const read = textOf(one, options.maxBytes);
    if ("reason" in read) yield read;
    else if (read.text.trim() !== "") yield { line: read.line, fields: { text: read.text } };
  }
}

/** A line as a text, or why it is none. */
type TextLine = { line: number; text: string } | { line: number; reason: string };

/** The texts of a stream of bytes, such as stdin: one a line, empty ones too. */
export async function* streamTexts(chunks: AsyncIterable<Buffer>): AsyncGenerator<TextLine> {
  for await (const one of linesOf(chunks, { maxBytes: defaultMaxBytes })) yield textOf(one, defaultMaxBytes);
}

function textOf({ number: line, bytes }: Line, maxBytes: number): TextLine {
  if (bytes === null) return { line, reason: `is longer than ${maxBytes} bytes` };
  if (!isUtf8(bytes)) return { line, reason: "is not valid UTF-8" };
  const text = bytes.toString("utf8");
  const reason = textFault(text);
  return reason === null ? { line, text } : { line, reason };
}
