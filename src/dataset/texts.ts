// Texts of no task, with nothing to answer: lines of a plain file, or the field "text" of JSON Lines. Reads and checks them; cuts nothing.
import { isUtf8 } from "node:buffer";
import path from "node:path";
import { unexpected } from "../support/errors.js";
import { readJsonl } from "./jsonl.js";
import { readLines } from "./lines.js";
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
  for await (const { number: line, bytes } of readLines(file, options)) {
    if (bytes === null) yield { line, reason: `is longer than ${options.maxBytes} bytes` };
    else if (!isUtf8(bytes)) yield { line, reason: "is not valid UTF-8" };
    else {
      const text = bytes.toString("utf8");
      const fault = textFault(text);
      if (fault !== null) yield { line, reason: fault };
      else if (text.trim() !== "") yield { line, fields: { text } };
    }
  }
}
