// The header of a safetensors file: what makes one well-formed. Knows no byte of tensor data and nothing of adapters.
//
// A file is: length N of the header (8 bytes, little-endian), the header (N bytes of JSON), the data. It MUST:
//  - have N <= 100,000,000, and hold N bytes of header;
//  - have a header in UTF-8 that begins with "{", is one JSON object, and has no key twice;
//  - have in "__metadata__", if that is there, strings by name;
//  - have for every other key { dtype, shape, data_offsets: [begin, end] } with a known dtype, begin and end counted from
//    the first byte of data, and end - begin = the bytes of that many elements;
//  - have its tensors lie one after the other from 0 to the end of the file: no hole, no overlap, nothing behind.
// These are the reference reader's rules (safetensors 0.8), and stricter than it in what the format's text forbids and that
// reader lets pass: white space before "{", a key twice, and a tensor written as a list.
import { StillroomError } from "../support/errors.js";
import { type Json, type JsonObject, parseStrictJson } from "./strict_json.js";

export const LENGTH_BYTES = 8;
export const MAX_HEADER_BYTES = 100_000_000;
const MAX_UNSIGNED = 2n ** 64n - 1n;

/** Bits of an element. */
const DTYPES: ReadonlyMap<string, bigint> = new Map(
  Object.entries({
    BOOL: 8n,
    F4: 4n,
    F6_E2M3: 6n,
    F6_E3M2: 6n,
    U8: 8n,
    I8: 8n,
    F8_E5M2: 8n,
    F8_E4M3: 8n,
    F8_E8M0: 8n,
    F8_E4M3FNUZ: 8n,
    F8_E5M2FNUZ: 8n,
    I16: 16n,
    U16: 16n,
    F16: 16n,
    BF16: 16n,
    I32: 32n,
    U32: 32n,
    F32: 32n,
    C64: 64n,
    F64: 64n,
    I64: 64n,
    U64: 64n,
  }),
);

export interface TensorEntry {
  name: string;
  dtype: string;
  shape: number[];
  /** First byte and the byte after the last, counted from the start of the data. */
  begin: number;
  end: number;
}

export interface SafetensorsHeader {
  metadata: Map<string, string>;
  /** In the order in which they lie in the file. */
  tensors: TensorEntry[];
}

/** The length N of the header from the first 8 bytes of a file of fileBytes. Throws "input". */
export function headerLength(file: string, start: Uint8Array, fileBytes: number): number {
  if (start.length < LENGTH_BYTES) throw malformed(file, `${fileBytes} bytes are too few for a header`);
  const length = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES))
    throw malformed(file, `a header of ${length} bytes is over the limit of 100 MB`);
  if (length > BigInt(fileBytes - LENGTH_BYTES)) {
    throw malformed(file, `the header ends at byte ${length + 8n}, the file at byte ${fileBytes}`);
  }
  return Number(length);
}

/** Checks everything that the top of this file lists. Throws "input" with the file and the tensor. */
export function parseHeader(file: string, header: Uint8Array, dataBytes: number): SafetensorsHeader {
  const metadata = new Map<string, string>();
  const tensors: TensorEntry[] = [];
  for (const [name, value] of parseObject(file, header)) {
    if (name === "__metadata__") readMetadata(file, value, metadata);
    else tensors.push(readEntry(file, name, value));
  }
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let place = 0;
  for (const { name, begin, end } of tensors) {
    if (begin !== place) throw malformed(file, `tensor ${name} begins at byte ${begin} of the data, expected ${place}`);
    place = end;
  }
  if (place !== dataBytes)
    throw malformed(file, `the tensors end at byte ${place} of the data, the file at ${dataBytes}`);
  return { metadata, tensors };
}

export function malformed(file: string, reason: string, cause?: unknown): StillroomError {
  return new StillroomError("input", `${file} is no valid safetensors file: ${reason}`, { cause });
}

function parseObject(file: string, header: Uint8Array): JsonObject {
  let parsed: Json;
  try {
    parsed = parseStrictJson(new TextDecoder("utf-8", { fatal: true }).decode(header));
  } catch (error) {
    throw malformed(file, `in its header, ${(error as Error).message}`, error);
  }
  if (!(parsed instanceof Map) || header[0] !== "{".charCodeAt(0))
    throw malformed(file, "its header does not begin with {");
  return parsed;
}

function readMetadata(file: string, value: Json, metadata: Map<string, string>): void {
  if (value === null) return;
  if (!(value instanceof Map)) throw malformed(file, "__metadata__ is no object");
  for (const [key, text] of value) {
    if (typeof text !== "string") throw malformed(file, `__metadata__.${key} is no string`);
    metadata.set(key, text);
  }
}

function readEntry(file: string, name: string, value: Json): TensorEntry {
  if (!(value instanceof Map)) throw malformed(file, `tensor ${name} is no object`);
  const dtype = value.get("dtype");
  const bits = typeof dtype === "string" ? DTYPES.get(dtype) : undefined;
  if (typeof dtype !== "string" || bits === undefined) throw malformed(file, `the dtype of tensor ${name} is unknown`);
  const shape = value.get("shape");
  const offsets = value.get("data_offsets");
  if (!isUnsignedList(shape)) throw malformed(file, `the shape of tensor ${name} is no list of whole numbers`);
  if (!isUnsignedList(offsets) || offsets.length !== 2) {
    throw malformed(file, `the data_offsets of tensor ${name} are not two whole numbers`);
  }
  // In 64 bits, as the reference reader multiplies: 0 at the end does not save a product that was too large before.
  const total = [...shape, bits].reduce((product, factor) => {
    if (product * factor > MAX_UNSIGNED) throw malformed(file, `tensor ${name} is too large`);
    return product * factor;
  }, 1n);
  if (total % 8n !== 0n) throw malformed(file, `tensor ${name} does not end at a whole byte`);
  const [begin, end] = offsets as [bigint, bigint];
  if (end - begin !== total / 8n) {
    throw malformed(file, `tensor ${name} has ${end - begin} bytes, its shape and dtype ask for ${total / 8n}`);
  }
  return { name, dtype, shape: shape.map(Number), begin: Number(begin), end: Number(end) };
}

function isUnsignedList(value: Json | undefined): value is bigint[] {
  return Array.isArray(value) && value.every((item) => typeof item === "bigint" && item <= MAX_UNSIGNED);
}
