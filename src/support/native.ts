// The boundary to native/addon: the types of what it exports, and the one place that loads it.
// Every method that returns a Promise runs off the JavaScript thread and rejects with a StillroomError.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type ErrorCode, StillroomError } from "./errors.js";
import type {
  NativeDecoded,
  NativeDecodeRequest,
  NativeDecoder,
  NativeDecoderOptions,
  NativeDecodeStep,
} from "./native-decoder.js";
import type { NativeDistillation, NativeTail, NativeTaught, NativeTeaching } from "./native-distillation.js";
import type { NativeNear } from "./native-near.js";
import type { NativeQuantizeOptions, NativeSensitivity, NativeTensorType } from "./native-quantize.js";
import type { NativeEnergies, NativeStudentParts } from "./native-student.js";

export type {
  NativeDecoded,
  NativeDecodeRequest,
  NativeDecoder,
  NativeDecoderOptions,
  NativeDecodeStep,
  NativeDistillation,
  NativeEnergies,
  NativeSensitivity,
  NativeStudentParts,
  NativeTail,
  NativeTaught,
  NativeTeaching,
  NativeTensorType,
};

/**
 * Rows packed without padding, as a forest in depth-first order. T tokens, S segments, Q queries.
 * A segment continues its parent: its tokens see all ancestors' tokens and, causally, their own. Siblings never see each other.
 * Position of a token = tokens on the way from its root. A plain row is one segment with parent -1.
 */
export interface NativeBatch {
  /** (T) token ids. */
  tokens: Int32Array;
  /** (S, 3) flattened: start in tokens, length, index of the parent segment or -1. Depth-first: a parent stands before its children. */
  segments: Int32Array;
  /** (Q) index into tokens of the position whose next token is asked for. */
  queryPositions: Int32Array;
  /** (Q) the next token that is asked for. */
  queryTokens: Int32Array;
  /** What a teacher says at the queries; for a trainer with `distillation`. */
  taught?: NativeTaught;
  /** (Q) of a task's own head: the class or the number that it should give; of the loss "sigmoid" (Q, outputs), 1 for the labels that it should give, else 0. */
  targets?: Float32Array;
}

/**
 * What is trained, row-major f32. Of an adapter in PEFT's orientation: A is (rank, in), B is (out, rank). Of the model itself: a weight is
 * (out, in), a norm or a bias (1, n).
 */
export interface NativeTensor {
  /** For example "blk.3.attn_q.lora_a" (GGUF's name of the weight without ".weight", then lora_a or lora_b), or "blk.3.attn_q.weight". */
  name: string;
  shape: [number, number];
  data: Float32Array;
}

export type LoraTarget = "q" | "k" | "v" | "o" | "gate" | "up" | "down" | "head" | "embeddings";

/** What a task's own head is trained on: cross-entropy over classes, or of each label by itself; squared error, Huber's (1964), or quantiles. */
export type HeadLoss = "softmax" | "sigmoid" | "squared" | "huber" | "pinball";

/** A linear head on the state behind the final norm, in place of the vocabulary's. */
export interface NativeHeadOptions {
  outputs: number;
  loss: HeadLoss;
  /** softmax: a weight for each class (empty: 1); sigmoid: for each label where it is right. pinball: the quantiles' levels. huber: from where on errors count linearly. */
  parameters: Float32Array;
}

export interface NativeLoraOptions {
  rank: number;
  /** Scale is alpha / rank, or alpha / sqrt(rank) with rsLora. */
  alpha: number;
  /** Probability in [0, 1) that an input channel is dropped, in training only. */
  dropout: number;
  rsLora: boolean;
  targets: LoraTarget[];
  /** Layers whose weights are adapted (absent: all); of q to down. */
  layers?: number[];
  seed: number;
  /** With one, targets may be empty. Its tensors are score.weight (outputs, width) and score.bias (1, outputs), zeros at first. */
  head?: NativeHeadOptions;
  /** As of createWeights. */
  hiddenWidth?: number;
}

/** The optimiser's state (step count and moments, not the weights) as bytes for a checkpoint, read and written where it lies. */
export interface NativeState {
  readonly bytes: number;
  /** Fills `into` with the bytes from offset on. */
  read(offset: number, into: Uint8Array): void;
  /** Replaces the bytes from offset on. */
  write(offset: number, from: Uint8Array): void;
}

/** What a trainer trains: tensors in one order, read and written where they lie, piece by piece. */
export interface NativeParameters {
  /** Names and shapes. */
  readonly shapes: Pick<NativeTensor, "name" | "shape">[];
  /** Fills `into` with values of shapes[index] from the first-th on (default 0). */
  read(index: number, into: Float32Array, first?: number): void;
  /** Replaces values of shapes[index] from the first-th on (default 0). */
  write(index: number, from: Float32Array, first?: number): void;
}

/** A LoRA adapter in memory, bound to the shapes of one model. A is drawn from the seed (Kaiming uniform), B is zero. */
export interface NativeLora extends NativeParameters {
  readonly options: NativeLoraOptions;
  /** Copies of all weights, in the order of shapes, but of no projection. */
  tensors(): NativeTensor[];
  /** Replaces weights by name; shapes must agree. */
  load(tensors: NativeTensor[]): void;
}

/** The weights of a layer by LoRA's names, its norms and biases, and what is above and below all layers. */
export type WeightTarget = LoraTarget | "norms" | "biases" | "final_norm";

/** Weights of the model itself, in f32, that the engine computes with in place of the file's. */
export interface NativeWeights extends NativeParameters {
  /** Writes the whole model as a GGUF: these weights in f32, all others and the metadata byte for byte. Atomic and streamed. */
  save(path: string): Promise<void>;
  /**
   * From now on the engine computes with all matrices of the model, trained or not, as the quantiser would round them without an importance matrix; their
   * gradients go to the weights, which `read`, `write` and `save` are about (docs/numerics.md). types: of tensorTypes, every matrix among them.
   */
  quantize(types: NativeTensorType[]): Promise<void>;
}

export interface NativeOptimizerOptions {
  /** AdamW with its moments in f32 (default), or in 8 bits a value with a scale for each block of 256 (docs/numerics.md). */
  optimizer?: "adamw" | "adamw_8bit";
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** Gradients are scaled down to this global L2 norm; 0 leaves them. */
  clipNorm: number;
}

export interface NativeTrainerOptions extends NativeOptimizerOptions {
  /** Keep only each layer's input in the forward pass and compute the rest again in the backward pass. */
  recompute: boolean;
  /** Seed of the dropout masks. */
  seed: number;
  /**
   * Most bytes of hidden states that are kept below the lowest trained layer, for rows that come again: they begin there then, with the same
   * bits. Default 0: none.
   */
  frozenBytes?: number;
  /** The loss (default: cross-entropy); every batch then has `taught`. */
  distillation?: NativeDistillation;
}

export interface NativeTrainer {
  /**
   * Forward and backward of one micro-batch; adds to the gradients the sum over queries of -log p(token), or of the loss of distillation.
   * When the loss or a gradient is not finite, nothing is added and finite is false (the micro-batches since the last update may be
   * computed again for that). step and microBatch select the dropout mask, so that a resumed run draws the same. hiddenSum: the distances, before their weight.
   */
  accumulate(
    batch: NativeBatch,
    step: number,
    microBatch: number,
  ): Promise<{ lossSum: number; count: number; finite: boolean; hiddenSum: number }>;
  /** Before the first step, for the first values of a projection: batches as of accumulate, then once fit. Without a hiddenWeight both do nothing. */
  observe(batch: NativeBatch): Promise<void>;
  fit(): Promise<void>;
  /** Gradients divided by divisor, clipped, one AdamW step, gradients cleared. */
  update(options: { learningRate: number; divisor: number }): Promise<{ gradientNorm: number }>;
  /** Clears the gradients. */
  discard(): void;
  /** Copies of the accumulated gradients, named and shaped like the parameters. */
  gradients(): NativeTensor[];
  /** Optimiser moments and step count. */
  readonly state: NativeState;
  /** Gives gradients and moments back, which V8 does not know the size of; the parameters stay. Idempotent. */
  close(): Promise<void>;
}

export type NativePooling = "mean" | "last";

/** Facts about a GGUF from its header. */
export interface NativeModelInfo {
  path: string;
  fileBytes: number;
  architecture: string;
  name: string | null;
  parameters: number;
  layers: number;
  width: number;
  feedForward: number;
  heads: number;
  keyValueHeads: number;
  headWidth: number;
  contextLength: number;
  vocabulary: number;
  tiedEmbeddings: boolean;
  /** Count of tensors by type name, e.g. { f32: 61, q4_1: 211 }. */
  types: Record<string, number>;
  /** The Jinja chat template of the tokenizer, if there is one. */
  chatTemplate: string | null;
  /** Whether the native engine can open it, and if not, why. */
  tunable: boolean;
  reason: string | null;
}

export const precisions = ["f32", "bf16", "mixed", "int16", "int8"] as const;

/**
 * What products with frozen weights multiply: f32 exactly; or both operands rounded, to bf16, or to int8 or int16 (12 bits and a sign)
 * with a scale for every 32 (backward: 128) values of the depth. Sums are f32 (int32 within those). bf16 needs AVX512_BF16, int8 and
 * int16 AVX2 or AVX512_VNNI.
 */
export type NativePrecision = (typeof precisions)[number];

/** Time of one kernel in one part of the steps. */
export interface NativeProfileRow {
  part: "forward" | "head" | "backward" | "update";
  /** "linear" (a weight times activations or their gradients), "weight_gradient", "low_rank" (the adapter's), "attention", …; "one_thread": what no parallel section covers. */
  kernel: string;
  /** Wall time of the thread that drives the others. */
  seconds: number;
  calls: number;
}

/** A decoder of the native engine: memory-mapped weights, frozen but for those that createWeights took. */
export interface NativeModel {
  readonly info: NativeModelInfo;
  createLora(options: NativeLoraOptions): NativeLora;
  /**
   * Unpacks the chosen weights to f32, once a model; from then on the model computes with them. layers: of which q to down, norms and biases
   * are taken (absent: all). Embeddings that are the head as well stay one matrix when both are taken, and part when one is. hiddenWidth: of a teacher whose states
   * are to be matched: the last tensor is then projection.weight (hiddenWidth, width), zeros at first and part of no file of the model.
   */
  createWeights(options: { targets: WeightTarget[]; layers?: number[]; hiddenWidth?: number }): Promise<NativeWeights>;
  /** Trains an adapter of this model, or its weights. */
  createTrainer(parameters: NativeLora | NativeWeights, options: NativeTrainerOptions): NativeTrainer;
  /** A decoder on this model; it works between its other calls, and no more once the model is closed. */
  createDecoder(
    lora: NativeLora | null,
    tokenizer: NativeTokenizer,
    options: NativeDecoderOptions,
  ): Promise<NativeDecoder>;
  /** (Q) natural log-probability of each query's token. */
  score(batch: NativeBatch, lora: NativeLora | null): Promise<Float64Array>;
  /** What this model says at each query, for a student. */
  teach(batch: NativeBatch, lora: NativeLora | null, asked: NativeTeaching): Promise<NativeTaught>;
  /**
   * (Q, width) flattened: for each query the embedding of the row that ends at it, of L2 norm 1. "mean": over the states behind the final norm of all
   * its tokens; "last": of its last. queryTokens are not looked at.
   */
  embed(batch: NativeBatch, lora: NativeLora | null, pooling: NativePooling): Promise<Float32Array>;
  /** (Q, outputs) flattened: what an adapter's head makes of the states at the queries' positions. queryTokens are not looked at. */
  answer(batch: NativeBatch, lora: NativeLora): Promise<Float32Array>;
  /** Sum over the queries of the loss that the head is trained on, against the batch's targets. */
  answerLoss(batch: NativeBatch, lora: NativeLora): Promise<number>;
  /** Logits (Q, vocabulary) at the queries' positions; for tests and small batches. */
  logits(batch: NativeBatch, lora: NativeLora | null): Promise<Float32Array>;
  /**
   * Compares next-token distributions at the queries' positions with another model's, over the whole vocabulary:
   * KL(this || other) in nats summed over positions, and at how many both have the same most likely token.
   */
  compare(
    batch: NativeBatch,
    lora: NativeLora | null,
    other: NativeModel,
    otherLora: NativeLora | null,
  ): Promise<{ klSum: number; agreements: number; positions: number }>;
  /** Where the time went since the last call, by part and kernel. */
  profile(): NativeProfileRow[];
  /** Adds the squared inputs of every linear layer (summed over tokens) to an importance matrix. */
  collectImportance(batch: NativeBatch, importance: NativeImportance): Promise<void>;
  /** What its parts do on the texts that an importance matrix of this model has seen. */
  energies(importance: NativeImportance): Promise<NativeEnergies>;
  /** Prepares trials on the batch's queries. Keeps layers x tokens x width floats; stays valid when the model is closed. */
  openSensitivity(batch: NativeBatch, importance: NativeImportance | null): Promise<NativeSensitivity>;
  /** Idempotent; waits for work in flight. */
  close(): Promise<void>;
}

/** Sums of squared activations per input channel of each weight, for the quantiser. */
export interface NativeImportance {
  /** Tokens seen so far. */
  readonly tokens: number;
}

/** The tokenizer of a GGUF (llama.cpp's, vocabulary only). */
export interface NativeTokenizer {
  readonly vocabulary: number;
  readonly bos: number;
  readonly eos: number;
  /** End-of-generation tokens. */
  readonly endTokens: Int32Array;
  /** Whether the model asks for BOS in front. */
  readonly addsBos: boolean;
  /** addSpecial: BOS/EOS as the model asks; parseSpecial: control-token text becomes control tokens (never for user text). */
  tokenize(text: string, addSpecial: boolean, parseSpecial: boolean): Int32Array;
  /** special: render control tokens. */
  detokenize(tokens: Int32Array, special: boolean): string;
  close(): Promise<void>;
}

/** A model run by llama.cpp itself: any architecture; the reference that our scores are tested against. */
export interface NativeRunner {
  /** (Q) natural log-probability of each query's token, as NativeModel.score. */
  score(batch: NativeBatch): Promise<Float64Array>;
  /** As NativeModel.teach. */
  teach(batch: NativeBatch, asked: NativeTeaching): Promise<NativeTaught>;
  /** (Q, width) as NativeModel.embed. "input" for a model that is no decoder. */
  embed(batch: NativeBatch, pooling: NativePooling): Promise<Float32Array>;
  close(): Promise<void>;
}

export interface NativeAddon extends NativeNear {
  /** Kernel variants that this machine can run, best first, e.g. ["avx512", "avx2", "portable"]. */
  readonly variants: string[];
  /** Physical cores. */
  readonly cores: number;
  /** Reads and validates a GGUF header; never crosses into llama.cpp. */
  inspect(path: string): Promise<NativeModelInfo>;
  openModel(
    path: string,
    options: {
      threads: number;
      variant: string | null;
      precision?: NativePrecision;
      /** The layers that the model is to consist of, rising (absent: all); its info stays the file's. */
      layers?: Int32Array;
    },
  ): Promise<NativeModel>;
  openTokenizer(path: string): Promise<NativeTokenizer>;
  openRunner(
    path: string,
    options: { threads: number; adapter: string | null; contextTokens: number; sequences: number },
  ): Promise<NativeRunner>;
  /** A decoder that llama.cpp runs: any architecture, and layers on a GPU. */
  openDecoder(
    path: string,
    tokenizer: NativeTokenizer,
    options: NativeDecoderOptions & {
      threads: number;
      /** A GGUF LoRA. */
      adapter: string | null;
      /** Layers on the GPU, from the last. */
      gpuLayers: number;
      /** Libraries of ggml backends to look for a GPU with. */
      backends: string[];
      /** Keys and values in f32 and no flash attention, for comparisons. */
      exact: boolean;
    },
  ): Promise<NativeDecoder>;
  createImportance(): NativeImportance;
  /** Writes a GGUF LoRA that llama.cpp loads. alpha as llama.cpp applies it (scale alpha / rank). */
  writeAdapter(
    path: string,
    tensors: NativeTensor[],
    metadata: { architecture: string; alpha: number; name: string },
  ): Promise<void>;
  readAdapter(path: string): Promise<{ architecture: string; alpha: number; tensors: NativeTensor[] }>;
  /** Writes base + scale * B A as a GGUF, streamed tensor by tensor; merged tensors in f32, the rest as they are. */
  merge(base: string, tensors: NativeTensor[], scale: number, out: string): Promise<void>;
  /** Of every tensor of a GGUF. */
  tensorTypes(path: string): Promise<NativeTensorType[]>;
  /** llama.cpp's quantiser. */
  quantize(input: string, out: string, options: NativeQuantizeOptions): Promise<void>;
  /** Writes what stays of a teacher as a GGUF: matrices in f16 (halves) or f32, vectors in f32. */
  writeStudent(teacher: string, parts: NativeStudentParts, halves: boolean, out: string): Promise<void>;
  /** Throws what writeStudent would of a vocabulary of so many tokens: for a tokenizer that cannot be trimmed, and for fewer than always stay. */
  requireVocabulary(teacher: string, most: number): Promise<void>;
  /** For each token of a GGUF that of another one, rising, where its tokenizer is a trimmed form of the other's (docs/formats.md); else null. */
  trimmedTokens(part: string, whole: string): Promise<Int32Array | null>;
  /** How GGUFs of the same tokens differ in what cuts text into them, in words; null where they do not. */
  tokenizerDifference(one: string, other: string): Promise<string | null>;
  /** Gives memory that was freed back to the system (with glibc; elsewhere it does nothing). */
  trimMemory(): void;
  /** Names that quantize takes. */
  readonly quantizationTypes: string[];
  /** Peak GFLOP/s of fused multiply-add on one core with this variant, measured for about 50 ms. For benchmarks. */
  measureFmaPeak(variant: string | null): Promise<number>;
  /** Peak GB/s (1e9 bytes) at which so many threads together read memory, over some tenths of a second. For benchmarks. */
  measureBandwidth(threads: number): Promise<number>;
  /** GFLOP/s of one frozen linear layer, (rows, in) x (out, in)^T, on one core; backward: the gradient to its input. For benchmarks. */
  measureLinear(options: {
    type: string;
    rows: number;
    inputs: number;
    outputs: number;
    backward: boolean;
    repeat: number;
    variant: string | null;
    precision?: NativePrecision;
    /** int8 or f32 weights packed beforehand, as batch decoding keeps them (default false). */
    prepared?: boolean;
  }): Promise<number>;
}

let loaded: NativeAddon | undefined;

/** Loads the addon once. Throws "missing" when it was not compiled. */
export function native(): NativeAddon {
  if (loaded) return loaded;
  const file = addonPath();
  if (!existsSync(file)) {
    throw new StillroomError(
      "missing",
      `the native engine is not compiled (${file}); run: npm rebuild stillroom, or npm run build:native in a clone`,
    );
  }
  loaded = createRequire(import.meta.url)(file) as NativeAddon;
  return loaded;
}

/** Where the compiled addon lies: build/native/Release/stillroom.node under the package's root. */
export function addonPath(): string {
  const here = path.dirname(fileURLToPath(import.meta.url));
  const root = here.includes(`${path.sep}dist${path.sep}`)
    ? path.resolve(here, "../../..")
    : path.resolve(here, "../..");
  return path.join(root, "build/native/Release/stillroom.node");
}

/** Throws what {@link translated} makes of an error. */
export function rethrow(error: unknown): never {
  throw translated(error);
}

/** Turns what the addon threw ({ code, message }) into a StillroomError with the caller's stack. */
export function translated(error: unknown): StillroomError {
  if (error instanceof StillroomError) return error;
  const code = (error as { code?: string }).code;
  const known: ErrorCode[] = ["usage", "input", "missing", "gate", "internal", "io", "cancelled"];
  const { message } = error as Error;
  // The sentence form of the addon's messages for a bad value, as of unexpected().
  const option = / for ([\w.]+), received /.exec(message)?.[1];
  return new StillroomError(known.includes(code as ErrorCode) ? (code as ErrorCode) : "internal", message, {
    cause: error,
    options: option === undefined ? [] : [option],
  });
}
