// The bytes of a checkpoint: what a resumed run needs to go on exactly, written and read piece by piece. Knows no folder
// (checkpoint-store.ts) and no loop.
//
// Layout, little-endian: magic "STILLCKP" · u32 version · u32 bytes of header · u64 bytes of the file · header (JSON, UTF-8) ·
// sections in the order of header.sections · SHA-256 of everything before it.
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { StillroomError } from "../support/errors.js";
import type { NativeParameters, NativeState, NativeTensor } from "../support/native.js";
import type { Progress } from "./progress.js";

/** What must agree between a checkpoint and the run that goes on from it: name → value. */
export type Fingerprint = Record<string, unknown>;

/** The state of a run after a step, but for its weights and moments. */
interface State {
  /** Steps done. */
  step: number;
  fingerprint: Fingerprint;
  progress: Progress;
}

/** A run's state where it lies, to be written from there: nothing of it is copied as a whole. */
export interface CheckpointSource extends State {
  /** What is trained, after this step. */
  parameters: Pick<NativeParameters, "shapes" | "read">;
  optimizer: Pick<NativeState, "bytes" | "read">;
  /** Weights of the best validated step; null when none was validated, when it is this step, or when they lie in a file of their own. */
  best: NativeTensor[] | null;
}

type Shape = NativeParameters["shapes"][number];

interface Header extends State {
  parameters: Shape[];
  best: Shape[] | null;
  sections: number[];
}

const magic = Buffer.from("STILLCKP", "latin1");
const version = 2;
const fixedBytes = 24;
const hashBytes = 32;
/** Most bytes of a section that lie in memory at once. */
const pieceBytes = 1 << 20;

/** The file's bytes, in pieces; each lies in memory that the next may overwrite. */
export function* encodeCheckpoint(checkpoint: CheckpointSource): Generator<Uint8Array, void> {
  const { step, fingerprint, progress, parameters, optimizer, best } = checkpoint;
  const sections = [...parameters.shapes.map(bytesIn), optimizer.bytes, ...(best ?? []).map(bytesIn)];
  const header = Buffer.from(
    JSON.stringify({
      ...{ step, fingerprint, progress },
      parameters: parameters.shapes.map(shapeOf),
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
function* piecesOf({ parameters, optimizer, best }: CheckpointSource): Generator<Uint8Array, void> {
  const sizes = [...parameters.shapes.map(bytesIn), optimizer.bytes];
  const buffer = new ArrayBuffer(Math.min(Math.max(...sizes), pieceBytes));
  for (const [index, shape] of parameters.shapes.entries()) {
    for (const { at, bytes } of stretches(bytesIn(shape))) {
      parameters.read(index, new Float32Array(buffer, 0, bytes / 4), at / 4);
      yield new Uint8Array(buffer, 0, bytes);
    }
  }
  for (const { at, bytes } of stretches(optimizer.bytes)) {
    const piece = new Uint8Array(buffer, 0, bytes);
    optimizer.read(at, piece);
    yield piece;
  }
  for (const { data } of best ?? []) yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** A checkpoint file that was found whole. Its sections are read when they are asked for. */
export class Checkpoint {
  private constructor(
    readonly file: string,
    readonly header: Readonly<Header>,
    /** Where the sections begin. */
    readonly start: number,
  ) {}

  /** Reads the file once. Throws "input" naming it for anything that encodeCheckpoint did not write. */
  static async open(file: string): Promise<Checkpoint> {
    const handle = await open(file, "r");
    const bytes = await handle.stat().then(({ size }) => size);
    await handle.close();
    if (bytes < fixedBytes + hashBytes) throw damaged(file, `truncated to ${bytes} bytes`);
    const start = await readAll(file, 0, fixedBytes);
    if (!start.subarray(0, magic.byteLength).equals(magic)) throw damaged(file, "not a checkpoint of stillroom");
    if (start.readUInt32LE(8) !== version) throw damaged(file, `version ${start.readUInt32LE(8)}, expected ${version}`);
    const total = start.readBigUInt64LE(16);
    if (total !== BigInt(bytes)) throw damaged(file, `${bytes} bytes, expected ${total}`);
    const body = bytes - hashBytes;
    const hash = createHash("sha256");
    for await (const piece of readPieces(file, 0, body)) hash.update(piece);
    if (!hash.digest().equals(await readAll(file, body, hashBytes))) {
      throw damaged(file, "its SHA-256 does not fit its content");
    }
    const end = fixedBytes + start.readUInt32LE(12);
    if (end > body) throw damaged(file, "its header does not describe its content");
    return new Checkpoint(file, parseHeader(await readAll(file, fixedBytes, end - fixedBytes), file, body - end), end);
  }

  get step(): number {
    return this.header.step;
  }

  /** Puts weights and optimiser state where they belong; the shapes must be those of the checkpoint. */
  async restore(into: {
    parameters: Pick<NativeParameters, "shapes" | "write">;
    optimizer: Pick<NativeState, "bytes" | "write"> | null;
  }): Promise<void> {
    const { parameters, optimizer } = into;
    const [here, there] = [parameters.shapes, this.header.parameters].map((shapes) =>
      JSON.stringify(shapes.map(shapeOf)),
    );
    const optimizerAt = this.header.parameters.length;
    if (here !== there || (optimizer && optimizer.bytes !== this.header.sections[optimizerAt])) {
      throw new StillroomError("input", `${this.file} holds the state of another run`);
    }
    for (const index of parameters.shapes.keys()) {
      let first = 0;
      for await (const piece of this.#section(index)) {
        const values = new Float32Array(piece.buffer, piece.byteOffset, piece.byteLength / 4);
        parameters.write(index, values, first);
        first += values.length;
      }
    }
    if (!optimizer) return;
    let offset = 0;
    for await (const piece of this.#section(optimizerAt)) {
      optimizer.write(offset, piece);
      offset += piece.byteLength;
    }
  }

  /** Weights of the best validated step; null where the checkpoint holds none beside its own. */
  async best(): Promise<NativeTensor[] | null> {
    const tensors: NativeTensor[] = [];
    for (const [index, { name, shape }] of (this.header.best ?? []).entries()) {
      const data = new Float32Array(shape[0] * shape[1]);
      let first = 0;
      for await (const piece of this.#section(this.header.parameters.length + 1 + index)) {
        data.set(new Float32Array(piece.buffer, piece.byteOffset, piece.byteLength / 4), first);
        first += piece.byteLength / 4;
      }
      tensors.push({ name, shape, data });
    }
    return this.header.best && tensors;
  }

  #section(index: number): AsyncGenerator<Uint8Array, void> {
    const before = this.header.sections.slice(0, index).reduce((sum, bytes) => sum + bytes, this.start);
    return readPieces(this.file, before, this.header.sections[index]!);
  }
}

/** The JSON of the header, with lengths that agree with each other and with the file's. */
function parseHeader(json: Buffer, file: string, bytes: number): Header {
  try {
    const header = JSON.parse(json.toString("utf8")) as Header;
    const parameters = header.parameters.map(bytesIn);
    const best = (header.best ?? []).map(bytesIn);
    const { sections } = header;
    const expected = [...parameters, sections[parameters.length], ...best];
    const agree = expected.length === sections.length && expected.every((length, index) => length === sections[index]);
    const total = sections.reduce((sum, length) => sum + (length >= 0 ? length : Number.NaN), 0);
    if (agree && total === bytes && Number.isSafeInteger(header.step)) return header;
  } catch {
    // Falls through to the one message for a header that does not describe its file.
  }
  throw damaged(file, "its header does not describe its content");
}

/** A length cut into pieces. */
function* stretches(length: number): Generator<{ at: number; bytes: number }, void> {
  for (let at = 0; at < length; at += pieceBytes) yield { at, bytes: Math.min(pieceBytes, length - at) };
}

/** Bytes of a file through one buffer, which the next piece overwrites. Throws "io"; a file that ends too early is damaged. */
async function* readPieces(file: string, start: number, length: number): AsyncGenerator<Uint8Array, void> {
  const handle = await open(file, "r");
  try {
    const buffer = new Uint8Array(Math.min(length, pieceBytes));
    for (const { at, bytes } of stretches(length)) {
      const piece = buffer.subarray(0, bytes);
      const { bytesRead } = await handle.read(piece, 0, bytes, start + at);
      if (bytesRead !== bytes) throw damaged(file, "it became shorter while it was read");
      yield piece;
    }
  } finally {
    await handle.close();
  }
}

async function readAll(file: string, start: number, length: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of readPieces(file, start, length)) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

function bytesIn({ shape: [rows, columns] }: Shape): number {
  return rows * columns * 4;
}

function shapeOf({ name, shape }: Shape): Shape {
  return { name, shape };
}

function damaged(file: string, reason: string): StillroomError {
  return new StillroomError("input", `${file} is damaged: ${reason}`);
}
