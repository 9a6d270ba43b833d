// Toy decoders as GGUF files: the same weights that tests/golden/gradients/toys.py draws in Python, in the order that GGUF stores them.
// Knows the names and shapes of a toy; knows nothing of the engine.
import type { LoraTarget, NativeLoraOptions, NativeTensor } from "../../src/support/native.js";
import { type GgufTensor, type Metadata, writeGguf } from "./gguf.js";

/** The fields that tests/golden/gradients/toys.py writes into a golden file. */
export interface Toy {
  name: string;
  architecture: "llama" | "qwen2" | "qwen3";
  layers: number;
  width: number;
  heads: number;
  keyValueHeads: number;
  headWidth: number;
  feedForward: number;
  vocabulary: number;
  contextLength: number;
  tied: boolean;
  epsilon: number;
  ropeBase: number;
  ropeScaling: { type: "linear" | "llama3"; factor: number } | null;
  /** (headWidth / 2) divisors of the rotary frequencies. */
  ropeFactors: number[] | null;
  lora: { rank: number; alpha: number; rsLora: boolean; targets: LoraTarget[] };
}

/** Uniform in [-0.5, 0.5): FNV-1a of the name, plus a Weyl sequence over elements, through murmur3's finaliser. */
export function noise(name: string, count: number): Float64Array {
  let seed = 2166136261;
  for (const byte of Buffer.from(name)) seed = Math.imul(seed ^ byte, 16777619);
  const out = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    let x = (Math.imul(i, 0x9e3779b9) + seed) | 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    x = (x ^ (x >>> 16)) >>> 0;
    out[i] = x / 4294967296 - 0.5;
  }
  return out;
}

/** The weight of this name in Hugging Face's order, (rows, columns) row-major. */
export function draw(name: string, rows: number, columns: number): Float32Array {
  const u = noise(name, rows * columns);
  let amplitude = 1;
  if (name.endsWith("_norm.weight")) return Float32Array.from(u, (v) => 1 + 0.4 * v);
  if (name.endsWith(".bias")) amplitude = 0.5;
  else if (name.includes("lora")) amplitude = 2 / Math.sqrt(columns);
  else if (name.startsWith("blk.")) amplitude = 4 / Math.sqrt(columns);
  return Float32Array.from(u, (v) => v * amplitude);
}

/** Rows of q and k as the GGUF of architecture llama has them: within each head, rotary pairs beside each other. */
function ggufOrder(toy: Toy, name: string, data: Float32Array, rows: number): Float32Array {
  if (toy.architecture !== "llama" || !/attn_[qk]\.(weight|bias|lora_b)$/.test(name)) return data;
  const columns = data.length / rows;
  const half = toy.headWidth / 2;
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    const within = row % toy.headWidth;
    const to = row - within + (within % half) * 2 + Math.floor(within / half);
    out.set(data.subarray(row * columns, (row + 1) * columns), to * columns);
  }
  return out;
}

/** (out, in) of the weight that a LoRA target adapts. */
function targetShapes(toy: Toy): Record<LoraTarget, { name: string; out: number; in: number }> {
  const query = toy.heads * toy.headWidth;
  const keyValue = toy.keyValueHeads * toy.headWidth;
  return {
    q: { name: "attn_q", out: query, in: toy.width },
    k: { name: "attn_k", out: keyValue, in: toy.width },
    v: { name: "attn_v", out: keyValue, in: toy.width },
    o: { name: "attn_output", out: toy.width, in: query },
    gate: { name: "ffn_gate", out: toy.feedForward, in: toy.width },
    up: { name: "ffn_up", out: toy.feedForward, in: toy.width },
    down: { name: "ffn_down", out: toy.width, in: toy.feedForward },
    head: { name: "output", out: toy.vocabulary, in: toy.width },
    embeddings: { name: "token_embd", out: toy.width, in: toy.vocabulary },
  };
}

const isLayerTarget = (target: LoraTarget): boolean => target !== "head" && target !== "embeddings";

/** All weights of the toy, f32. */
export function toyTensors(toy: Toy): GgufTensor[] {
  const tensors: GgufTensor[] = [];
  const matrix = (name: string, out: number, inputs: number): void => {
    const data = ggufOrder(toy, name, draw(name, out, inputs), out);
    tensors.push({ name, shape: [inputs, out], data });
  };
  const vector = (name: string, count: number): void => {
    const data = ggufOrder(toy, name, draw(name, count, 1), count);
    tensors.push({ name, shape: [count], data });
  };
  matrix("token_embd.weight", toy.vocabulary, toy.width);
  vector("output_norm.weight", toy.width);
  if (!toy.tied) matrix("output.weight", toy.vocabulary, toy.width);
  if (toy.ropeFactors) {
    tensors.push({ name: "rope_freqs.weight", shape: [toy.headWidth / 2], data: Float32Array.from(toy.ropeFactors) });
  }
  const shapes = Object.entries(targetShapes(toy)).filter(([target]) => isLayerTarget(target as LoraTarget));
  for (let layer = 0; layer < toy.layers; layer++) {
    const prefix = `blk.${layer}.`;
    vector(`${prefix}attn_norm.weight`, toy.width);
    vector(`${prefix}ffn_norm.weight`, toy.width);
    for (const [target, shape] of shapes) {
      matrix(`${prefix}${shape.name}.weight`, shape.out, shape.in);
      if (toy.architecture === "qwen2" && "qkv".includes(target)) vector(`${prefix}${shape.name}.bias`, shape.out);
    }
    if (toy.architecture === "qwen3") {
      vector(`${prefix}attn_q_norm.weight`, toy.headWidth);
      vector(`${prefix}attn_k_norm.weight`, toy.headWidth);
    }
  }
  return tensors;
}

/** Header of the toy. The vocabulary is names only: toys are fed with token ids. */
export function toyMetadata(toy: Toy): Metadata {
  const a = toy.architecture;
  const tokens = Array.from({ length: toy.vocabulary }, (_, token) => `t${token}`);
  return {
    "general.architecture": a,
    "general.name": toy.name,
    "general.file_type": 0,
    [`${a}.block_count`]: toy.layers,
    [`${a}.embedding_length`]: toy.width,
    [`${a}.feed_forward_length`]: toy.feedForward,
    [`${a}.attention.head_count`]: toy.heads,
    [`${a}.attention.head_count_kv`]: toy.keyValueHeads,
    [`${a}.attention.key_length`]: toy.headWidth,
    [`${a}.attention.value_length`]: toy.headWidth,
    [`${a}.attention.layer_norm_rms_epsilon`]: { type: "f32", value: toy.epsilon },
    [`${a}.rope.dimension_count`]: toy.headWidth,
    [`${a}.rope.freq_base`]: { type: "f32", value: toy.ropeBase },
    ...(toy.ropeScaling?.type === "linear"
      ? {
          [`${a}.rope.scaling.type`]: "linear",
          [`${a}.rope.scaling.factor`]: { type: "f32", value: toy.ropeScaling.factor },
        }
      : {}),
    [`${a}.context_length`]: toy.contextLength,
    [`${a}.vocab_size`]: toy.vocabulary,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "default",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": tokens.map(() => 1),
    "tokenizer.ggml.merges": { type: "array", of: "string", value: [] },
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
  };
}

/** Writes the toy as a GGUF of f32 weights. */
export function writeToy(path: string, toy: Toy): void {
  writeGguf(path, toyMetadata(toy), toyTensors(toy));
}

/** The toy's adapter, B not zero, by the names of the native engine. */
export function toyLora(toy: Toy): { options: NativeLoraOptions; tensors: NativeTensor[] } {
  const { rank, alpha, rsLora, targets } = toy.lora;
  const shapes = targetShapes(toy);
  const tensors: NativeTensor[] = [];
  for (const target of targets) {
    const shape = shapes[target];
    const prefixes = isLayerTarget(target) ? Array.from({ length: toy.layers }, (_, layer) => `blk.${layer}.`) : [""];
    for (const prefix of prefixes) {
      const [a, b] = [`${prefix}${shape.name}.lora_a`, `${prefix}${shape.name}.lora_b`];
      tensors.push({ name: a, shape: [rank, shape.in], data: draw(a, rank, shape.in) });
      tensors.push({
        name: b,
        shape: [shape.out, rank],
        data: ggufOrder(toy, b, draw(b, shape.out, rank), shape.out),
      });
    }
  }
  return { options: { rank, alpha, rsLora, targets, dropout: 0, seed: 0 }, tensors };
}
