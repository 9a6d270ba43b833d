// The bytes of a checkpoint: what a resumed run needs to go on exactly. Knows no folder (checkpoint-store.ts) and no loop.
//
// Layout, little-endian: magic "STILLCKP" · u32 version · u32 bytes of header · u64 bytes of the file · header (JSON, UTF-8) ·
// sections in the order of header.sections · SHA-256 of everything before it.
import { createHash } from "node:crypto";
import { StillroomError } from "../support/errors.js";
import type { NativeLora, NativeState, NativeTensor } from "../support/native.js";
import type { Progress } from "./progress.js";

/** What must agree between a checkpoint and the run that goes on from it: name → value. */
export type Fingerprint = Record<string, unknown>;

/** The state of a run after a step. */
export interface Checkpoint {
  /** Steps done. */
  step: number;
  fingerprint: Fingerprint;
  progress: Progress;
  /** The adapter's weights after this step. */
  adapter: NativeTensor[];
  /** Optimiser state: the bytes of NativeTrainer.state(). */
  optimizer: Uint8Array;
  /** Weights of the best validated step; null when none was validated, or when it is this step. */
  best: NativeTensor[] | null;
}

/** A run's state where it lies, to be written from there: nothing of it is copied as a whole. */
export interface CheckpointSource extends Omit<Checkpoint, "adapter" | "optimizer"> {
  adapter: Pick<NativeLora, "shapes" | "read">;
  optimizer: Pick<NativeState, "bytes" | "read">;
}

type Shape = NativeLora["shapes"][number];

interface Header extends Omit<Checkpoint, "adapter" | "optimizer" | "best"> {
  adapter: Shape[];
  best: Shape[] | null;
  sections: number[];
}

const magic = Buffer.from("STILLCKP", "latin1");
const version = 1;
const fixedBytes = 24;
const hashBytes = 32;
/** Of the optimiser's state, written at once. */
const pieceBytes = 1 << 20;

/** The file's bytes, in pieces; each lies in memory that the next may overwrite. */
export function* encodeCheckpoint(checkpoint: CheckpointSource): Generator<Uint8Array, void> {
  const { step, fingerprint, progress, adapter, optimizer, best } = checkpoint;
  const sections = [...adapter.shapes.map(bytesIn), optimizer.bytes, ...(best ?? []).map(bytesIn)];
  const header = Buffer.from(
    JSON.stringify({
      ...{ step, fingerprint, progress },
      adapter: adapter.shapes.map(shapeOf),
      best: best?.map(shapeOf) ?? null,
      sections,
    } satisfies Header),
  );
  const total = sections.reduce((sum, bytes) => sum + bytes, fixedBytes + header.byteLength + hashBytes);
  const start = Buffer.alloc(fixedBytes);
  magic.copy(start);
  start.writeUInt32LE(version, 8);
  start.writeUInt32LE(header.byteLength, 12);
  start.writeBigUInt64LE(BigInt(total), 16);
  const hash = createHash("sha256");
  for (const part of [[start, header], piecesOf(checkpoint)]) {
    for (const piece of part) {
      hash.update(piece);
      yield piece;
    }
  }
  yield hash.digest();
}

/** The content of the sections, through one buffer. */
function* piecesOf({ adapter, optimizer, best }: CheckpointSource): Generator<Uint8Array, void> {
  const largest = Math.max(...adapter.shapes.map(bytesIn), Math.min(optimizer.bytes, pieceBytes));
  const buffer = new ArrayBuffer(largest);
  for (const [index, shape] of adapter.shapes.entries()) {
    adapter.read(index, new Float32Array(buffer, 0, bytesIn(shape) / 4));
    yield new Uint8Array(buffer, 0, bytesIn(shape));
  }
  for (let at = 0; at < optimizer.bytes; at += pieceBytes) {
    const piece = new Uint8Array(buffer, 0, Math.min(pieceBytes, optimizer.bytes - at));
    optimizer.read(at, piece);
    yield piece;
  }
  for (const { data } of best ?? []) yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Reads a checkpoint file's bytes. Throws "input" naming the file for anything that encodeCheckpoint did not write. */
export function decodeCheckpoint(bytes: Buffer, file: string): Checkpoint {
  const header = readHeader(bytes, file);
  const counts = [header.adapter.length, 1, header.best?.length ?? 0];
  const sections = cutSections(bytes, header.sections);
  const adapter = sections.slice(0, counts[0]);
  const best = sections.slice(adapter.length + 1);
  return {
    step: header.step,
    fingerprint: header.fingerprint,
    progress: header.progress,
    adapter: header.adapter.map((shape, index) => tensorOf(shape, adapter[index]!)),
    optimizer: new Uint8Array(sections[adapter.length]!),
    best: header.best?.map((shape, index) => tensorOf(shape, best[index]!)) ?? null,
  };
}

function readHeader(bytes: Buffer, file: string): Header {
  if (bytes.byteLength < fixedBytes + hashBytes) throw damaged(file, `truncated to ${bytes.byteLength} bytes`);
  if (!bytes.subarray(0, magic.byteLength).equals(magic)) throw damaged(file, "not a checkpoint of stillroom");
  if (bytes.readUInt32LE(8) !== version) throw damaged(file, `version ${bytes.readUInt32LE(8)}, expected ${version}`);
  const total = bytes.readBigUInt64LE(16);
  if (total !== BigInt(bytes.byteLength)) throw damaged(file, `${bytes.byteLength} bytes, expected ${total}`);
  const body = bytes.subarray(0, bytes.byteLength - hashBytes);
  if (!createHash("sha256").update(body).digest().equals(bytes.subarray(body.byteLength))) {
    throw damaged(file, "its SHA-256 does not fit its content");
  }
  return parseHeader(body, file);
}

/** The JSON of the header, with lengths that agree with each other and with the file. */
function parseHeader(body: Buffer, file: string): Header {
  const end = fixedBytes + body.readUInt32LE(12);
  try {
    const header = JSON.parse(body.toString("utf8", fixedBytes, end)) as Header;
    const adapter = header.adapter.map(bytesIn);
    const best = (header.best ?? []).map(bytesIn);
    const { sections } = header;
    const expected = [...adapter, sections[adapter.length], ...best];
    const agree = expected.length === sections.length && expected.every((bytes, index) => bytes === sections[index]);
    const total = sections.reduce((sum, length) => sum + (length >= 0 ? length : Number.NaN), end);
    if (agree && total === body.byteLength && Number.isSafeInteger(header.step)) return header;
  } catch {
    // Falls through to the one message for a header that does not describe its file.
  }
  throw damaged(file, "its header does not describe its content");
}

function bytesIn({ shape: [rows, columns] }: Shape): number {
  return rows * columns * 4;
}

/** The sections, each copied, so that it starts at an address that any typed array may have. */
function cutSections(bytes: Buffer, lengths: number[]): ArrayBuffer[] {
  let at = fixedBytes + bytes.readUInt32LE(12);
  return lengths.map((length) => {
    const start = bytes.byteOffset + at;
    at += length;
    return bytes.buffer.slice(start, start + length) as ArrayBuffer;
  });
}

function shapeOf({ name, shape }: Shape): Shape {
  return { name, shape };
}

function tensorOf({ name, shape }: Shape, section: ArrayBuffer): NativeTensor {
  return { name, shape, data: new Float32Array(section) };
}

function damaged(file: string, reason: string): StillroomError {
  return new StillroomError("input", `${file} is damaged: ${reason}`);
}
