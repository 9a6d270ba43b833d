// A file as lines of bytes, in flat memory: a line beyond the limit is reported, not kept. Knows no format.
import { type FileHandle, open } from "node:fs/promises";
import { throwIfCancelled } from "../support/cancelled.js";
import { type ReadOptions, unreadable } from "./records.js";

const chunkBytes = 256 * 1024;
const newline = 0x0a;

/** A line without its line end. bytes is null when the line is longer than the limit. */
export interface Line {
  /** From 1. */
  number: number;
  /** Byte offset of its first byte. */
  offset: number;
  bytes: Buffer | null;
}

/** Pieces of a file from a byte offset on. The bytes are only valid until the next piece is asked for. */
export async function* readChunks(handle: FileHandle, from = 0, signal?: AbortSignal): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(chunkBytes);
  for (let position = from; ; ) {
    throwIfCancelled(signal, "reading rows");
    const { bytesRead } = await handle.read(buffer, 0, chunkBytes, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** Opens a file for reading, hands the handle to the body, and closes it however the body ends. */
export async function* withFile<T>(file: string, body: (handle: FileHandle) => AsyncGenerator<T>): AsyncGenerator<T> {
  let handle: FileHandle;
  try {
    handle = await open(file, "r");
  } catch (error) {
    throw unreadable(file, error);
  }
  try {
    yield* body(handle);
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall === undefined ? error : unreadable(file, error);
  } finally {
    await handle.close();
  }
}

/** The lines of a file. A byte order mark is left out of the first; "\r\n" counts as one line end. */
export function readLines(file: string, options: ReadOptions): AsyncGenerator<Line> {
  return withFile(file, (handle) => linesOf(readChunks(handle, 0, options.signal), options));
}

/** The same of pieces of bytes, wherever they come from. */
export async function* linesOf(
  chunks: AsyncIterable<Buffer>,
  { maxBytes }: Pick<ReadOptions, "maxBytes">,
): AsyncGenerator<Line> {
  let number = 1;
  let offset = 0;
  let kept: Buffer[] = [];
  let length = 0;
  const add = (piece: Buffer) => {
    length += piece.length;
    if (length > maxBytes) kept = [];
    else if (piece.length > 0) kept.push(Buffer.from(piece));
  };
  const finish = (endBytes: number): Line => {
    const bytes = length > maxBytes ? null : withoutEnds(Buffer.concat(kept), offset);
    const line = { number, offset, bytes };
    number += 1;
    offset += length + endBytes;
    kept = [];
    length = 0;
    return line;
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      add(chunk.subarray(start, end));
      yield finish(1);
      start = end + 1;
    }
    add(chunk.subarray(start));
  }
  if (length > 0) yield finish(0);
}

function withoutEnds(bytes: Buffer, offset: number): Buffer {
  const start = offset === 0 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  const end = bytes[bytes.length - 1] === 0x0d ? bytes.length - 1 : bytes.length;
  return bytes.subarray(start, end);
}
