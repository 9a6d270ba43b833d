// Llama models of any size with random weights, as GGUF files of q8_0: what a size costs does not depend on what a model knows.
import { closeSync, openSync, writeSync } from "node:fs";
import { Random } from "../src/support/random.js";

export interface MadeShape {
  /** Multiples of 64. */
  width: number;
  feedForward: number;
  layers: number;
  vocabulary: number;
}

const headWidth = 64;
const types = { u32: 4, i32: 5, f32: 6, string: 8, array: 9 };
/** ggml's numbers, and bytes of a block of values. */
const f32 = { type: 0, block: 1, bytes: 4 };
const q8 = { type: 8, block: 32, bytes: 34 };

interface Tensor {
  name: string;
  /** (inputs, outputs), or the length of a vector. */
  shape: number[];
  of: typeof f32;
}

/** Writes the model; the head is the embedding matrix. */
export function writeMadeModel(file: string, shape: MadeShape): void {
  const tensors = tensorsOf(shape);
  const header = new Bytes().text("GGUF", false).u32(3).u64(tensors.length);
  const metadata = metadataOf(shape);
  header.u64(metadata.length);
  for (const write of metadata) write(header);
  let at = 0;
  for (const { name, shape: sizes, of } of tensors) {
    header.text(name).u32(sizes.length);
    for (const size of sizes) header.u64(size);
    header.u32(of.type).u64(at);
    at += padded(bytesOf(sizes, of));
  }
  const out = openSync(file, "w");
  try {
    const front = header.all();
    writeSync(out, Buffer.concat([front, Buffer.alloc(padded(front.length) - front.length)]));
    const random = new Random(0);
    for (const { shape: sizes, of } of tensors) writeSync(out, valuesOf(sizes, of, random));
  } finally {
    closeSync(out);
  }
}

const padded = (bytes: number): number => Math.ceil(bytes / 32) * 32;
const bytesOf = (sizes: number[], of: typeof f32): number =>
  (sizes.reduce((all, size) => all * size, 1) / of.block) * of.bytes;

/** Vectors are ones. Matrices are random bytes with one scale, so that a row's product has about the size of its input. */
function valuesOf(sizes: number[], of: typeof f32, random: Random): Buffer {
  const bytes = Buffer.alloc(padded(bytesOf(sizes, of)));
  const length = bytesOf(sizes, of);
  if (of === f32) {
    for (let at = 0; at < length; at += 4) bytes.writeFloatLE(1, at);
    return bytes;
  }
  for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.writeInt32LE(random.below(2 ** 32) | 0, at);
  const scale = halfFloat(1 / (74 * Math.sqrt(sizes[0]!))); // 74: the deviation of a random int8
  for (let at = 0; at < length; at += of.bytes) bytes.writeUInt16LE(scale, at);
  return bytes;
}

/** The nearest f16 of a normal number below 1, by its bits. */
function halfFloat(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  return (((bits >>> 23) - 112) << 10) | ((bits >>> 13) & 1023);
}

function tensorsOf({ width, feedForward, layers, vocabulary }: MadeShape): Tensor[] {
  const keyValue = keyValueHeads(width) * headWidth;
  const matrix = (name: string, inputs: number, outputs: number): Tensor => ({
    name,
    shape: [inputs, outputs],
    of: q8,
  });
  const vector = (name: string): Tensor => ({ name, shape: [width], of: f32 });
  const blocks = Array.from({ length: layers }, (_, layer) => [
    vector(`blk.${layer}.attn_norm.weight`),
    vector(`blk.${layer}.ffn_norm.weight`),
    matrix(`blk.${layer}.attn_q.weight`, width, width),
    matrix(`blk.${layer}.attn_k.weight`, width, keyValue),
    matrix(`blk.${layer}.attn_v.weight`, width, keyValue),
    matrix(`blk.${layer}.attn_output.weight`, width, width),
    matrix(`blk.${layer}.ffn_gate.weight`, width, feedForward),
    matrix(`blk.${layer}.ffn_up.weight`, width, feedForward),
    matrix(`blk.${layer}.ffn_down.weight`, feedForward, width),
  ]);
  return [matrix("token_embd.weight", width, vocabulary), vector("output_norm.weight"), ...blocks.flat()];
}

/** A third of the heads, as small models have it. */
const keyValueHeads = (width: number): number => {
  const heads = width / headWidth;
  return heads % 3 === 0 ? heads / 3 : heads / 2 || 1;
};

function metadataOf({ width, feedForward, layers, vocabulary }: MadeShape): ((out: Bytes) => Bytes)[] {
  const whole = (name: string, value: number) => (out: Bytes) => out.text(name).u32(types.u32).u32(value);
  const real = (name: string, value: number) => (out: Bytes) => out.text(name).u32(types.f32).f32(value);
  const text = (name: string, value: string) => (out: Bytes) => out.text(name).u32(types.string).text(value);
  const list = (name: string, type: number, count: number, each: (out: Bytes, at: number) => void) => (out: Bytes) => {
    out.text(name).u32(types.array).u32(type).u64(count);
    for (let at = 0; at < count; at++) each(out, at);
    return out;
  };
  return [
    text("general.architecture", "llama"),
    text("general.name", `made-${width}x${layers}`),
    whole("llama.block_count", layers),
    whole("llama.embedding_length", width),
    whole("llama.feed_forward_length", feedForward),
    whole("llama.attention.head_count", width / headWidth),
    whole("llama.attention.head_count_kv", keyValueHeads(width)),
    whole("llama.rope.dimension_count", headWidth),
    whole("llama.context_length", 4096),
    whole("llama.vocab_size", vocabulary),
    real("llama.attention.layer_norm_rms_epsilon", 1e-5),
    real("llama.rope.freq_base", 10000),
    text("tokenizer.ggml.model", "gpt2"),
    text("tokenizer.ggml.pre", "default"),
    list("tokenizer.ggml.tokens", types.string, vocabulary, (out, at) => out.text(`t${at}`)),
    list("tokenizer.ggml.token_type", types.i32, vocabulary, (out) => out.u32(1)),
    list("tokenizer.ggml.merges", types.string, 0, () => undefined),
    whole("tokenizer.ggml.bos_token_id", 1),
    whole("tokenizer.ggml.eos_token_id", 2),
  ];
}

/** Little-endian bytes, one value behind the other. */
class Bytes {
  #parts: Buffer[] = [];

  u32(value: number): this {
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value);
    return this.#add(part);
  }

  u64(value: number): this {
    const part = Buffer.alloc(8);
    part.writeBigUInt64LE(BigInt(value));
    return this.#add(part);
  }

  f32(value: number): this {
    const part = Buffer.alloc(4);
    part.writeFloatLE(value);
    return this.#add(part);
  }

  /** GGUF's string, with its length in front unless that is left out. */
  text(value: string, counted = true): this {
    const part = Buffer.from(value);
    if (counted) this.u64(part.length);
    return this.#add(part);
  }

  all(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #add(part: Buffer): this {
    this.#parts.push(part);
    return this;
  }
}
