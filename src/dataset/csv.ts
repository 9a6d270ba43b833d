// CSV and TSV through csv-parse, with our own line numbers and recovery: after a broken record reading goes on at the line
// after the one that it began on, so that an unclosed quote costs one row and not the rest of the file.
// Quotes: CSV as RFC 4180. A TSV has none (they are text), unless its header line begins with one.
import { isUtf8 } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import { type CsvError, type Options, Parser } from "csv-parse";
import { StillroomError } from "../support/errors.js";
import { counted } from "../support/words.js";
import { LineCounter } from "./line-counter.js";
import { readChunks, withFile } from "./lines.js";
import { emptyFields, type RawRecord, type ReadOptions, textFault } from "./records.js";

/** Fields of one record as bytes, and where in the file it begins. */
interface Cells {
  cells: Buffer[];
  line: number;
}

interface Broken {
  line: number;
  reason: string;
}

/** The records of a CSV or TSV file, by the names in its first line. */
export function readCsv(file: string, format: "csv" | "tsv", options: ReadOptions): AsyncGenerator<RawRecord> {
  return withFile(file, (handle) => recordsOf(handle, file, format, options));
}

async function* recordsOf(
  handle: FileHandle,
  file: string,
  format: "csv" | "tsv",
  options: ReadOptions,
): AsyncGenerator<RawRecord> {
  let names: string[] | null = null;
  for await (const record of cellsOf(handle, await opening(handle, format), options)) {
    if (names !== null) yield "reason" in record ? record : named(record, names);
    else if ("reason" in record)
      throw new StillroomError("input", `${file}:${record.line}: the line of column names ${record.reason}`);
    else names = header(record, file);
  }
  if (names === null)
    throw new StillroomError("input", `${file}: expected a line of column names, received an empty file`);
}

interface Opening {
  dialect: Options;
  /** First byte after a byte order mark. */
  offset: number;
}

async function opening(handle: FileHandle, format: "csv" | "tsv"): Promise<Opening> {
  const start = Buffer.alloc(4);
  await handle.read(start, 0, 4, 0);
  const offset = start[0] === 0xef && start[1] === 0xbb && start[2] === 0xbf ? 3 : 0;
  const quote = format === "csv" || start[offset] === 0x22 ? '"' : null;
  return { dialect: { delimiter: format === "csv" ? "," : "\t", quote }, offset };
}

function header({ cells, line }: Cells, file: string): string[] {
  const names = cells.map((cell) => cell.toString("utf8"));
  const fault = cells.every((cell) => isUtf8(cell))
    ? names.map(textFault).find((one) => one !== null)
    : "is not valid UTF-8";
  if (fault) throw new StillroomError("input", `${file}:${line}: the line of column names ${fault}`);
  if (names.some((name) => /\r(?!\n)/.test(name))) {
    const message = "expected lines that end in LF or CRLF, received a carriage return without a line feed";
    throw new StillroomError("input", `${file}:${line}: ${message}`);
  }
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined)
    throw new StillroomError("input", `${file}:${line}: two columns are named ${JSON.stringify(twice)}`);
  return names;
}

function named({ cells, line }: Cells, names: string[]): RawRecord {
  if (cells.length !== names.length) {
    return { line, reason: `has ${counted(cells.length, "column")} where the first line has ${names.length}` };
  }
  const fields = emptyFields();
  for (const [index, name] of names.entries()) {
    const cell = cells[index]!;
    if (!isUtf8(cell)) return { line, reason: "is not valid UTF-8" };
    const text = cell.toString("utf8");
    const fault = textFault(text);
    if (fault !== null) return { line, reason: fault };
    fields[name] = text;
  }
  return { line, fields };
}

/** Records from the start to the end of the file, over the broken ones. */
async function* cellsOf(
  handle: FileHandle,
  { dialect, offset }: Opening,
  options: ReadOptions,
): AsyncGenerator<Cells | Broken> {
  let at = { offset, line: 1 };
  for (;;) {
    const broken: Broken | null = yield* cellsFrom(handle, dialect, options, at);
    if (broken === null) return;
    yield broken;
    const next = await nextLine(handle, at.offset);
    if (next === null) return;
    at = { offset: next, line: broken.line + 1 };
  }
}

/** Parses on from `at` and keeps `at` at the start of the record in work; gives back what stopped it, or null at the end. */
async function* cellsFrom(
  handle: FileHandle,
  dialect: Options,
  options: ReadOptions,
  at: { offset: number; line: number },
): AsyncGenerator<Cells, Broken | null> {
  const counter = new LineCounter(at.offset, at.line);
  const start = at.offset;
  let parsed: Cells[] = [];
  const parser = new Parser({
    ...dialect,
    encoding: null,
    record_delimiter: ["\r\n", "\n"],
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: options.maxBytes,
    on_record: (cells, context) => {
      parsed.push({ cells: cells as unknown as Buffer[], line: counter.lineOfRecord() });
      at.offset = start + context.bytes;
      counter.moveTo(at.offset);
      return null;
    },
  });
  let error: CsvError | null = null;
  parser.on("error", (cause) => {
    error = cause as CsvError;
  });
  parser.resume();
  const feed = (chunk: Buffer | null) =>
    new Promise<void>((resolve) => {
      if (chunk !== null) parser.write(chunk, () => resolve());
      else parser.end().once("close", () => resolve());
    });
  for await (const chunk of readChunks(handle, start, options.signal)) {
    const own = Buffer.from(chunk);
    counter.push(own);
    await feed(own);
    yield* parsed;
    parsed = [];
    if (error !== null) break;
  }
  if (error === null) await feed(null);
  yield* parsed;
  if (error === null) return null;
  const line = counter.lineOfRecord();
  at.offset = counter.offset;
  at.line = line;
  return { line, reason: fault(error, options) };
}

function fault(error: CsvError, options: ReadOptions): string {
  switch (error.code) {
    case "CSV_QUOTE_NOT_CLOSED":
      return "opens a quote that is never closed";
    case "CSV_INVALID_CLOSING_QUOTE":
      return "has text after a closing quote (a quote inside a quoted field is written twice)";
    case "INVALID_OPENING_QUOTE":
      return "has a quote inside a field that is not quoted";
    case "CSV_MAX_RECORD_SIZE":
      return `is longer than ${options.maxBytes} bytes (or opens a quote that is not closed)`;
    default:
      return `cannot be parsed: ${error.code}`;
  }
}

/** Offset of the first byte after the line end at or behind an offset, or null without one. */
async function nextLine(handle: FileHandle, offset: number): Promise<number | null> {
  let position = offset;
  for await (const chunk of readChunks(handle, offset)) {
    const end = chunk.indexOf(0x0a);
    if (end !== -1) return position + end + 1;
    position += chunk.length;
  }
  return null;
}
