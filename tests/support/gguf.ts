// A small GGUF writer for tests: toy models, and files that are wrong in one chosen place. Trusts what it is given.
import { writeFileSync } from "node:fs";

/** GGUF's metadata types with their numbers in the file. */
export const valueTypes = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;
export type ValueType = keyof typeof valueTypes;
export type ScalarType = Exclude<ValueType, "array">;
type Scalar = number | bigint | boolean | string;

/**
 * A plain value gets its type: string, bool, whole number u32, other number f32; arrays likewise (whole numbers i32).
 * Where the type matters (10000 as f32), say it.
 */
export type MetadataValue =
  | Scalar
  | readonly Scalar[]
  | { type: ScalarType; value: Scalar }
  | { type: "array"; of: ScalarType; value: readonly Scalar[] };
export type Metadata = Record<string, MetadataValue>;

/** shape is ggml's ne: the contiguous dimension first. data in f32 unless raw bytes of another type are given. */
export type GgufTensor =
  | { name: string; shape: number[]; data: Float32Array }
  | { name: string; shape: number[]; raw: Uint8Array; type: number };

/** What may be overridden to make a bad file. */
export interface GgufOverrides {
  magic?: string;
  version?: number;
  /** Counts written in the header. */
  tensorCount?: bigint;
  keyCount?: bigint;
  /** Used for padding; put general.alignment into the metadata as well if it is not 32. */
  alignment?: number;
  /** Offset of a tensor's data by name, instead of its true one. */
  offsets?: Record<string, bigint>;
}

/** Bytes in little-endian order, appended one value at a time. */
export class ByteWriter {
  private chunks: Buffer[] = [];
  length = 0;

  bytes(value: Uint8Array): this {
    this.chunks.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    this.length += value.byteLength;
    return this;
  }
  u8(value: number): this {
    return this.bytes(Uint8Array.of(value));
  }
  u32(value: number): this {
    const buffer = Buffer.alloc(4);
    buffer.writeUInt32LE(value >>> 0);
    return this.bytes(buffer);
  }
  u64(value: number | bigint): this {
    const buffer = Buffer.alloc(8);
    buffer.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
    return this.bytes(buffer);
  }
  /** GGUF's string: length (u64), bytes. */
  text(value: string): this {
    const utf8 = Buffer.from(value, "utf8");
    return this.u64(utf8.length).bytes(utf8);
  }
  scalar(type: ScalarType, value: Scalar): this {
    const buffer = Buffer.alloc(8);
    switch (type) {
      case "string":
        return this.text(String(value));
      case "bool":
        return this.u8(value ? 1 : 0);
      case "u8":
      case "i8":
        return this.u8(Number(value) & 0xff);
      case "u16":
      case "i16":
        buffer.writeUInt16LE(Number(value) & 0xffff);
        return this.bytes(buffer.subarray(0, 2));
      case "u32":
      case "i32":
        return this.u32(Number(value));
      case "f32":
        buffer.writeFloatLE(Number(value));
        return this.bytes(buffer.subarray(0, 4));
      case "f64":
        buffer.writeDoubleLE(Number(value));
        return this.bytes(buffer);
      default:
        return this.u64(value as bigint);
    }
  }
  pad(alignment: number): this {
    const rest = this.length % alignment;
    return rest === 0 ? this : this.bytes(Buffer.alloc(alignment - rest));
  }
  finish(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

function typed(
  value: MetadataValue,
): { type: ScalarType; value: Scalar } | { of: ScalarType; value: readonly Scalar[] } {
  if (Array.isArray(value)) {
    const kinds = value.map((item: Scalar) => plainType(item, "i32"));
    return { of: kinds.includes("f32") ? "f32" : (kinds[0] ?? "i32"), value };
  }
  if (typeof value === "object") return value as { type: ScalarType; value: Scalar };
  return { type: plainType(value as Scalar, "u32"), value: value as Scalar };
}

function plainType(value: Scalar, whole: ScalarType): ScalarType {
  if (typeof value === "string") return "string";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "bigint") return "u64";
  return Number.isInteger(value) ? whole : "f32";
}

function rawOf(tensor: GgufTensor): Uint8Array {
  if ("raw" in tensor) return tensor.raw;
  return new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
}

/** The bytes of a GGUF v3 file. */
export function ggufBytes(metadata: Metadata, tensors: readonly GgufTensor[], overrides: GgufOverrides = {}): Buffer {
  const alignment = overrides.alignment ?? 32;
  const out = new ByteWriter();
  out.bytes(Buffer.from(overrides.magic ?? "GGUF", "latin1")).u32(overrides.version ?? 3);
  out.u64(overrides.tensorCount ?? tensors.length).u64(overrides.keyCount ?? Object.keys(metadata).length);
  for (const [key, plain] of Object.entries(metadata)) {
    const value = typed(plain);
    out.text(key);
    if ("of" in value) {
      out.u32(valueTypes.array).u32(valueTypes[value.of]).u64(value.value.length);
      for (const item of value.value) out.scalar(value.of, item);
    } else {
      out.u32(valueTypes[value.type]).scalar(value.type, value.value);
    }
  }
  let offset = 0;
  for (const tensor of tensors) {
    out.text(tensor.name).u32(tensor.shape.length);
    for (const size of tensor.shape) out.u64(size);
    out.u32("raw" in tensor ? tensor.type : 0).u64(overrides.offsets?.[tensor.name] ?? offset);
    offset += Math.ceil(rawOf(tensor).byteLength / alignment) * alignment;
  }
  out.pad(alignment);
  for (const tensor of tensors) out.bytes(rawOf(tensor)).pad(alignment);
  return out.finish();
}

/** Writes a GGUF v3 file. */
export function writeGguf(
  path: string,
  metadata: Metadata,
  tensors: readonly GgufTensor[],
  overrides: GgufOverrides = {},
): void {
  writeFileSync(path, ggufBytes(metadata, tensors, overrides));
}
