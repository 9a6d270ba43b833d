// One adapter, two spellings: GGUF's names and row order, PEFT's names and row order, and the shapes that a model asks for.
// Knows no file.
import { StillroomError } from "../support/errors.js";
import type { LoraTarget, NativeModelInfo, NativeTensor } from "../support/native.js";

/** All targets, in the order in which we list them. */
export const TARGETS: readonly LoraTarget[] = ["q", "k", "v", "o", "gate", "up", "down", "head", "embeddings"];

/** The weight of a target in GGUF, and its module in Hugging Face's llama, qwen2 and qwen3 models. */
const SPELLINGS: Readonly<Record<LoraTarget, { gguf: string; module: string; inLayer: boolean }>> = {
  q: { gguf: "attn_q", module: "self_attn.q_proj", inLayer: true },
  k: { gguf: "attn_k", module: "self_attn.k_proj", inLayer: true },
  v: { gguf: "attn_v", module: "self_attn.v_proj", inLayer: true },
  o: { gguf: "attn_output", module: "self_attn.o_proj", inLayer: true },
  gate: { gguf: "ffn_gate", module: "mlp.gate_proj", inLayer: true },
  up: { gguf: "ffn_up", module: "mlp.up_proj", inLayer: true },
  down: { gguf: "ffn_down", module: "mlp.down_proj", inLayer: true },
  head: { gguf: "output", module: "lm_head", inLayer: false },
  embeddings: { gguf: "token_embd", module: "embed_tokens", inLayer: false },
};

/** One factor of one adapted weight. */
export interface Factor {
  target: LoraTarget;
  part: "a" | "b";
  /** GGUF's name, as NativeTensor has it. */
  gguf: string;
  /** PEFT's name in adapter_model.safetensors. */
  peft: string;
  /** (rows, columns): A is (rank, in), B is (out, rank). */
  shape: [number, number];
  /** Rows of a head when the two files order rows differently, else 0. */
  rotaryRows: number;
}

/** The name of a target in PEFT's target_modules. */
export function moduleName(target: LoraTarget): string {
  return SPELLINGS[target].module.split(".").at(-1)!;
}

/** Every factor that an adapter of these targets, in these layers (default: all), has on this model, in both spellings. */
export function factorsOf(
  info: NativeModelInfo,
  targets: readonly LoraTarget[],
  rank: number,
  layers: readonly number[] = [...Array(info.layers).keys()],
): Factor[] {
  const ordered = TARGETS.filter((target) => targets.includes(target));
  return [
    ...layers.flatMap((layer) => ordered.filter(isInLayer).flatMap((target) => pair(info, target, rank, layer))),
    ...ordered.filter((target) => !isInLayer(target)).flatMap((target) => pair(info, target, rank, null)),
  ];
}

/** The targets that tensors of these GGUF names belong to. Throws "input" for a name of no target. */
export function targetsOf(names: Iterable<string>): LoraTarget[] {
  const found = new Set<LoraTarget>();
  for (const name of names) {
    const weight = name.replace(/^blk\.\d+\./, "").replace(/\.lora_[ab]$/, "");
    const target = TARGETS.find((candidate) => SPELLINGS[candidate].gguf === weight);
    if (!target) throw new StillroomError("input", `adapter tensor ${name} belongs to no weight that can be adapted`);
    found.add(target);
  }
  return TARGETS.filter((target) => found.has(target));
}

/** The PEFT modules of embeddings and head, whose frozen weights PEFT saves along with the adapter. */
export function frozenCopies(info: NativeModelInfo): Map<string, [number, number]> {
  const shape: [number, number] = [info.vocabulary, info.width];
  return new Map([
    ["base_model.model.model.embed_tokens.base_layer.weight", shape],
    ["base_model.model.lm_head.base_layer.weight", shape],
  ]);
}

/**
 * GGUF files of architecture llama hold q and k with the rows of each head in another order: llama.cpp rotates neighbouring
 * rows as a pair, Hugging Face rows that are half a head apart. Row (half j, i) there is row (i, j) here; the rows of lora_B
 * follow their weight. Other architectures have one order.
 */
export function toPeftOrder(factor: Factor, tensor: NativeTensor): Float32Array {
  return reorder(factor, tensor.data, (ours, theirs) => [ours, theirs]);
}

/** The inverse of {@link toPeftOrder}. */
export function fromPeftOrder(factor: Factor, data: Float32Array): Float32Array {
  return reorder(factor, data, (ours, theirs) => [theirs, ours]);
}

function reorder(
  { rotaryRows, shape: [rows, columns] }: Factor,
  data: Float32Array,
  direction: (ours: number, theirs: number) => [from: number, to: number],
): Float32Array {
  if (rotaryRows === 0) return data;
  const half = rotaryRows / 2;
  const moved = new Float32Array(data.length);
  for (let ours = 0; ours < rows; ours++) {
    const within = ours % rotaryRows;
    const theirs = ours - within + (within % 2) * half + Math.floor(within / 2);
    const [from, to] = direction(ours, theirs);
    moved.set(data.subarray(from * columns, (from + 1) * columns), to * columns);
  }
  return moved;
}

function isInLayer(target: LoraTarget): boolean {
  return SPELLINGS[target].inLayer;
}

function pair(info: NativeModelInfo, target: LoraTarget, rank: number, layer: number | null): Factor[] {
  const { gguf, module } = SPELLINGS[target];
  const weight = layer === null ? gguf : `blk.${layer}.${gguf}`;
  // base_model.model is PEFT's wrapping; behind it Hugging Face's decoder is "model", and the head stands beside it.
  const inside = target === "head" ? module : layer === null ? `model.${module}` : `model.layers.${layer}.${module}`;
  const [out, inputs] = weightShape(info, target);
  const rotates = info.architecture === "llama" && (target === "q" || target === "k");
  return (["a", "b"] as const).map((part) => ({
    target,
    part,
    gguf: `${weight}.lora_${part}`,
    peft: `base_model.model.${inside}.${peftPart(target, part)}`,
    shape: part === "a" ? [rank, inputs] : [out, rank],
    rotaryRows: rotates && part === "b" ? info.headWidth : 0,
  }));
}

function peftPart(target: LoraTarget, part: "a" | "b"): string {
  const letter = part.toUpperCase();
  return target === "embeddings" ? `lora_embedding_${letter}` : `lora_${letter}.weight`;
}

/** (out, in) of the weight: of the embeddings as x = E[token], so that A is (rank, vocabulary) and B is (width, rank). */
function weightShape(info: NativeModelInfo, target: LoraTarget): [out: number, inputs: number] {
  const { width, feedForward, vocabulary } = info;
  const queries = info.heads * info.headWidth;
  const keys = info.keyValueHeads * info.headWidth;
  const shapes: Record<LoraTarget, [number, number]> = {
    q: [queries, width],
    k: [keys, width],
    v: [keys, width],
    o: [width, queries],
    gate: [feedForward, width],
    up: [feedForward, width],
    down: [width, feedForward],
    head: [vocabulary, width],
    embeddings: [width, vocabulary],
  };
  return shapes[target];
}
