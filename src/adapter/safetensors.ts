// Safetensors files whole: f32, f16 and bf16 tensors in, f32 tensors out. What is well-formed stands in safetensors_header;
// knows nothing of adapters. Numbers lie in the file little-endian, as on every machine that the engine runs on.
//
// A file that we write carries in its metadata, under "sha256", the hash of the whole file with those 64 digits as zeros.
// A file that carries one is refused when the hash differs, so that no flipped bit of the data goes unseen.
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { cannot, StillroomError, unexpected } from "../support/errors.js";
import { writeFileAtomic } from "../support/files.js";
import { fromBfloat16, fromFloat16 } from "./half_floats.js";
import {
  headerLength,
  LENGTH_BYTES,
  malformed,
  parseHeader,
  type SafetensorsHeader,
  type TensorEntry,
} from "./safetensors_header.js";

const HASH_KEY = "sha256";
const NO_HASH = "0".repeat(64);

/** A tensor in memory: row-major f32. */
export interface Tensor {
  name: string;
  shape: number[];
  data: Float32Array;
}

/**
 * Reads the header alone and checks it against the size of the file.
 *
 * @example
 * ```ts
 * const { tensors } = await readSafetensorsHeader("adapter_model.safetensors");
 * ```
 */
export async function readSafetensorsHeader(file: string): Promise<SafetensorsHeader> {
  return withFile(file, async (handle) => (await readHead(file, handle)).header);
}

/**
 * Reads a whole file. Throws "input" for a malformed file, a dtype other than F32, F16 and BF16, or a hash that differs; "io"
 * where it cannot be read.
 *
 * @example
 * ```ts
 * const { metadata, tensors } = await readSafetensors("adapter_model.safetensors");
 * ```
 */
export async function readSafetensors(file: string): Promise<{ metadata: Map<string, string>; tensors: Tensor[] }> {
  return withFile(file, async (handle) => {
    const { header, bytes } = await readHead(file, handle);
    const expected = header.metadata.get(HASH_KEY);
    const hash = createHash("sha256").update(expected === undefined ? bytes : withoutHash(bytes, expected));
    const tensors: Tensor[] = [];
    for (const entry of header.tensors) {
      const data = await readBytes(file, handle, bytes.length + entry.begin, entry.end - entry.begin);
      hash.update(data);
      tensors.push({ name: entry.name, shape: entry.shape, data: toFloats(file, entry, data) });
    }
    if (expected !== undefined && hash.digest("hex") !== expected) {
      throw malformed(file, "its content differs from the hash in its metadata; it was damaged or edited");
    }
    return { metadata: header.metadata, tensors };
  });
}

/**
 * Writes f32 tensors, ordered by name, atomically; the header is padded with spaces to a multiple of 8 bytes.
 *
 * @example
 * ```ts
 * await writeSafetensors("a.safetensors", [{ name: "w", shape: [1, 2], data: new Float32Array(2) }], { format: "pt" });
 * ```
 */
export async function writeSafetensors(
  file: string,
  tensors: readonly Tensor[],
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const ordered = [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1));
  const fields = new Map<string, unknown>([["__metadata__", { ...metadata, [HASH_KEY]: NO_HASH }]]);
  let place = 0;
  for (const { name, shape, data } of ordered) {
    if (fields.has(name)) throw unexpected("distinct names", "tensors", name, "internal");
    if (shape.reduce((product, size) => product * size, 1) !== data.length) {
      throw unexpected(`as many values as its shape ${shape.join(" x ")}`, name, data.length, "internal");
    }
    fields.set(name, { dtype: "F32", shape, data_offsets: [place, place + data.byteLength] });
    place += data.byteLength;
  }
  const text = JSON.stringify(Object.fromEntries(fields));
  const padding = (8 - (Buffer.byteLength(text) % 8)) % 8;
  const header = Buffer.from(text + " ".repeat(padding));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(header.length));
  const data = ordered.map((tensor) => bytesOf(tensor.data));
  const hash = createHash("sha256");
  for (const piece of [length, header, ...data]) hash.update(piece);
  header.write(hash.digest("hex"), header.indexOf(NO_HASH), "latin1");
  await writeFileAtomic(file, [length, header, ...data]);
}

/** The header and the bytes that it was read from, length included. */
async function readHead(file: string, handle: FileHandle): Promise<{ header: SafetensorsHeader; bytes: Buffer }> {
  const size = (await handle.stat()).size;
  const start = await readBytes(file, handle, 0, Math.min(size, LENGTH_BYTES));
  const length = headerLength(file, start, size);
  const bytes = await readBytes(file, handle, 0, LENGTH_BYTES + length);
  return { header: parseHeader(file, bytes.subarray(LENGTH_BYTES), size - bytes.length), bytes };
}

/** A copy of the header's bytes with the hash's digits as zeros. */
function withoutHash(bytes: Buffer, hash: string): Buffer {
  const copy = Buffer.from(bytes);
  const at = hash.length === NO_HASH.length ? copy.indexOf(`"${HASH_KEY}":"${hash}"`) : -1;
  if (at >= 0) copy.write(NO_HASH, at + HASH_KEY.length + 4, "latin1");
  return copy;
}

function toFloats(file: string, { name, dtype }: TensorEntry, bytes: Buffer): Float32Array {
  // Own memory from its first byte on, so that a view of any width is aligned.
  const own = bytes.buffer as ArrayBuffer;
  if (dtype === "F32") return new Float32Array(own);
  if (dtype === "F16") return fromFloat16(new Uint16Array(own));
  if (dtype === "BF16") return fromBfloat16(new Uint16Array(own));
  throw new StillroomError(
    "input",
    `${file}: expected F32, F16 or BF16 for the dtype of tensor ${name}, received ${dtype}`,
  );
}

function bytesOf(data: Float32Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Exactly this many bytes, in memory of their own. */
async function readBytes(file: string, handle: FileHandle, position: number, count: number): Promise<Buffer> {
  const bytes = Buffer.from(new ArrayBuffer(count));
  for (let done = 0; done < count; ) {
    const { bytesRead } = await handle.read(bytes, done, count - done, position + done);
    if (bytesRead === 0) throw malformed(file, "it became shorter while it was read");
    done += bytesRead;
  }
  return bytes;
}

async function withFile<T>(file: string, use: (handle: FileHandle) => Promise<T>): Promise<T> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(file, "r");
    return await use(handle);
  } catch (error) {
    if (error instanceof StillroomError) throw error;
    throw cannot("read", file, error);
  } finally {
    await handle?.close();
  }
}
