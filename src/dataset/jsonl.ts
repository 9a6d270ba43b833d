// JSON Lines: one object a line. A line that is no usable object is a bad record; the next line is read on.
import { isUtf8 } from "node:buffer";
import { readLines } from "./lines.js";
import { depthLimit, fieldsOf, type RawRecord, type ReadOptions } from "./records.js";

/** The records of a JSON Lines file; blank lines are none. */
export async function* readJsonl(file: string, options: ReadOptions): AsyncGenerator<RawRecord> {
  for await (const { number: line, bytes } of readLines(file, options)) {
    if (bytes === null) {
      yield { line, reason: `is longer than ${options.maxBytes} bytes` };
    } else if (!isBlank(bytes)) {
      const parsed = parseObject(bytes);
      yield typeof parsed === "string" ? { line, reason: parsed } : { line, fields: parsed };
    }
  }
}

/** The fields of one line, or why there are none. */
function parseObject(bytes: Buffer): Record<string, unknown> | string {
  if (!isUtf8(bytes)) return "is not valid UTF-8";
  if (nestsTooDeep(bytes)) return `is nested deeper than ${depthLimit} levels`;
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    return `is not JSON: ${shorten((error as Error).message)}`;
  }
  return fieldsOf(value);
}

/** Counts brackets outside of texts, before the parser builds anything. */
function nestsTooDeep(bytes: Buffer): boolean {
  let depth = 0;
  let quoted = false;
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index];
    if (quoted) {
      if (byte === 0x5c) index += 1;
      else if (byte === 0x22) quoted = false;
    } else if (byte === 0x22) {
      quoted = true;
    } else if (byte === 0x7b || byte === 0x5b) {
      depth += 1;
      if (depth > depthLimit) return true;
    } else if (byte === 0x7d || byte === 0x5d) {
      depth -= 1;
    }
  }
  return false;
}

function isBlank(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);
}

/** V8 quotes the text around the mistake, which may be long. */
function shorten(message: string): string {
  const line = message.replaceAll(/\p{Cc}/gu, " ");
  return line.length > 120 ? `${line.slice(0, 120)}…` : line;
}
