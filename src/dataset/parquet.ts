// Parquet through hyparquet, one row group at a time. The line of a record is its row, from 1. A file that is not whole is
// an error and no bad row: its rows cannot be told apart.
import { isUtf8 } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import type { AsyncBuffer } from "hyparquet";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import { withFile } from "./lines.js";
import { emptyFields, type RawRecord, type ReadOptions, valueFault } from "./records.js";

/** Stands where a text column holds bytes that are no UTF-8. */
class InvalidText {}

const parsers = {
  stringFromBytes: (bytes: Uint8Array | undefined) =>
    bytes === undefined ? undefined : isUtf8(bytes) ? Buffer.from(bytes).toString("utf8") : new InvalidText(),
};

/** The records of a Parquet file, by its column names. */
export function readParquet(file: string, options: ReadOptions): AsyncGenerator<RawRecord> {
  return withFile(file, (handle) => recordsOf(handle, file, options));
}

async function* recordsOf(handle: FileHandle, file: string, options: ReadOptions): AsyncGenerator<RawRecord> {
  // Loaded by who reads such a file.
  const { parquetMetadataAsync, parquetReadObjects } = await import("hyparquet");
  const { compressors } = await import("hyparquet-compressors");
  const { size } = await handle.stat();
  const buffer: AsyncBuffer = {
    byteLength: size,
    slice: (start, end = size) => readRange(handle, start, Math.min(end, size)),
  };
  const metadata = await inFile(file, () => parquetMetadataAsync(buffer));
  let row = 0;
  for (const [index, group] of metadata.row_groups.entries()) {
    throwIfCancelled(options.signal, "reading rows");
    const range = { rowStart: row, rowEnd: row + Number(group.num_rows) };
    const rows = await inFile(`${file}, row group ${index + 1}`, () =>
      parquetReadObjects({ file: buffer, metadata, compressors, parsers, ...range }),
    );
    for (const one of rows) {
      row += 1;
      yield record(one, row);
    }
  }
}

function record(row: Record<string, unknown>, line: number): RawRecord {
  const fields = emptyFields();
  for (const [name, value] of Object.entries(row)) {
    const plain = plainValue(value);
    if (plain instanceof InvalidText) return { line, reason: `holds bytes in ${name} that are not valid UTF-8` };
    fields[name] = plain;
  }
  const fault = valueFault(fields);
  return fault === null ? { line, fields } : { line, reason: fault };
}

/** Values as JSON has them: integers as numbers (as text beyond 2^53), dates as ISO text. */
function plainValue(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value instanceof Date) return value.toISOString();
  if (value instanceof InvalidText || typeof value !== "object" || value === null) return value;
  if (ArrayBuffer.isView(value))
    return value instanceof Uint8Array ? new InvalidText() : Array.from(value as Int32Array);
  if (Array.isArray(value)) {
    const items = value.map(plainValue);
    return items.find((item) => item instanceof InvalidText) ?? items;
  }
  const entries = Object.entries(value).map(([key, item]) => [key, plainValue(item)] as const);
  return (
    entries.find(([, item]) => item instanceof InvalidText)?.[1] ??
    Object.assign(emptyFields(), Object.fromEntries(entries))
  );
}

async function readRange(handle: FileHandle, start: number, end: number): Promise<ArrayBuffer> {
  const bytes = new ArrayBuffer(Math.max(0, end - start));
  let done = 0;
  while (done < bytes.byteLength) {
    const { bytesRead } = await handle.read(new Uint8Array(bytes, done), 0, bytes.byteLength - done, start + done);
    if (bytesRead === 0) throw new Error("the file ends too early");
    done += bytesRead;
  }
  return bytes;
}

async function inFile<T>(where: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof StillroomError) throw error;
    throw new StillroomError("input", `${where} is not readable as Parquet: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
