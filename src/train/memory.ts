// An estimate of what a tuning run will hold in memory, and the choice of micro-batch and recomputation from a limit.
import type { Row } from "../dataset/index.js";
import { StillroomError } from "../support/errors.js";
import type { NativeModelInfo, WeightTarget } from "../support/native.js";
import { memorySize } from "../support/words.js";
import { type Encoded, sharedPrefix } from "../tokens/index.js";
import { outside, type TuneSettings } from "./options.js";

/** Tokens of a micro-batch where nothing else asks for less or more. */
const defaultTokenBudget = 512;
/** With fewer tokens than this in a micro-batch a run would crawl: refused. */
const leastTokenBudget = 32;
/** Node, the addon, the tokenizer, and what reading rows leaves behind that is not collected yet. */
const processBytes = 200 * 2 ** 20;
/** What of that is collected by the time a run trains: as much as training takes at least. */
const readingBytes = 64 * 2 ** 20;
/** Of a row that is held, of each character of its fields, of an encoded row and of each of its tokens: at most what V8 was seen to take. */
const held = { row: 300, character: 2, encoded: 450, token: 4 };
/** Rows of logits that the loss holds at once; their gradient takes their place (Graph::head_chunk): with the head itself under training more. */
const logitRows = ({ method, targets }: Pick<Trained, "method" | "targets">): number =>
  method !== "lora" && targets.includes("head") ? 264 : 108;
/** Bytes of all that the loss holds over the vocabulary, of either kind: the rest of it is a few numbers a position. */
export const lossBytes = (
  info: Pick<NativeModelInfo, "vocabulary">,
  trained: Pick<Trained, "method" | "targets">,
): number => logitRows(trained) * info.vocabulary * 4;
/** 8-bit moments that share a scale. */
const momentBlock = 256;

/** Hidden states that native/core/frozen_states takes memory for at once, and the bytes of a token's place beside its state. */
const frozenPage = 256;
const frozenPlaceBytes = 64;

/** How much of a micro-batch fits. */
export interface MemoryPlan {
  tokenBudget: number;
  recompute: boolean;
  /** Estimated peak of the process. */
  bytes: number;
}

/** Bytes of rows that a run holds, and of their tokens. */
export function rowBytes(rows: readonly Pick<Row, "fields">[], encoded: readonly Encoded[]): number {
  const characters = rows.reduce((sum, { fields }) => sum + JSON.stringify(fields).length, 0);
  const tokens = encoded.reduce((sum, { prompt, answer }) => sum + prompt.length + answer.length, 0);
  return rows.length * held.row + characters * held.character + encoded.length * held.encoded + tokens * held.token;
}

/** Most bytes of texts that are rows of their own, whatever their tokens are: none is shorter than a byte. */
export function textBytes(texts: readonly { text: string }[]): number {
  const bytes = texts.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0);
  return texts.length * (held.row + held.encoded) + bytes * (held.character + held.token);
}

/** What of a model is trained. */
type Trained = Pick<TuneSettings, "method" | "rank" | "targets" | "layers" | "optimizer">;

/**
 * Bytes of activations per token: all that the backward pass reads of a layer, or with recompute the layer's input only, and what one layer
 * computes in passing. Layers below the lowest that is trained keep nothing.
 */
export function activationBytes(
  info: NativeModelInfo,
  recompute: boolean,
  trained: Pick<Trained, "targets" | "layers" | "rank">,
): number {
  const { width, feedForward, heads } = info;
  const queryWidth = heads * info.headWidth;
  const keyValueWidth = info.keyValueHeads * info.headWidth;
  const projected = 2 * queryWidth + 2 * keyValueWidth + 2 * feedForward;
  const raw = info.architecture === "qwen3" ? queryWidth + keyValueWidth : 0;
  const lowRank = (trained.rank ?? 0) * trained.targets.filter((target) => !outside.includes(target)).length;
  const layer = (2 * width + projected + raw + heads + lowRank) * 4;
  // The operand of a product is packed; for the gradient of a weight its transpose is, too.
  const packed = Math.max(width, queryWidth, feedForward) * (trained.rank === null ? 2 : 1);
  const passing = (7 * width + projected + packed) * 4;
  const kept = info.layers - lowestLayer(info, trained);
  return passing + (recompute ? kept * width * 4 + layer : Math.max(kept, 1) * layer);
}

function lowestLayer(info: NativeModelInfo, { targets, layers }: Pick<Trained, "targets" | "layers">): number {
  if (targets.includes("embeddings")) return 0;
  if (targets.every((target) => target === "head" || target === "final_norm")) return info.layers;
  return Math.min(...(layers ?? [0]));
}

/**
 * Bytes of what the layers below the lowest trained one make of these rows, what all of them begin with counted once; of the states behind
 * the last layer only those at the labels are kept. 0 where no layer is below.
 */
export function frozenStateBytes(
  info: NativeModelInfo,
  trained: Pick<TuneSettings, "targets" | "layers" | "sharePrefix">,
  rows: readonly Encoded[],
): number {
  const lowest = lowestLayer(info, trained);
  if (lowest === 0) return 0;
  const tokens = rows.reduce((sum, { prompt, answer }) => sum + prompt.length + answer.length - 1, 0);
  const labels = rows.reduce((sum, { answer }) => sum + answer.length, 0);
  const shared = trained.sharePrefix ? (rows.length - 1) * commonPrefix(rows) : 0;
  const states = lowest === info.layers ? labels : tokens - shared;
  const whole = Math.ceil(states / frozenPage) * frozenPage;
  return whole * info.width * 4 + (tokens - shared) * frozenPlaceBytes;
}

/** How many tokens all prompts begin with. */
function commonPrefix(rows: readonly Encoded[]): number {
  const first = rows[0]!.prompt;
  return rows.reduce((length, { prompt }) => Math.min(length, sharedPrefix(first, prompt)), first.length);
}

/** Weights that are trained: of an adapter of a rank, for each target rank * (inputs + outputs); of the model, inputs * outputs. */
export function trainedParameters(info: NativeModelInfo, { method, rank, targets, layers }: Trained): number {
  const { width, feedForward, vocabulary } = info;
  const queryWidth = info.heads * info.headWidth;
  const keyValueWidth = info.keyValueHeads * info.headWidth;
  const sides: Record<WeightTarget, [number, number]> = {
    q: [width, queryWidth],
    k: [width, keyValueWidth],
    v: [width, keyValueWidth],
    o: [queryWidth, width],
    gate: [width, feedForward],
    up: [width, feedForward],
    down: [feedForward, width],
    head: [width, vocabulary],
    embeddings: [width, vocabulary],
    norms: [2, width + info.headWidth],
    biases: [1, queryWidth + 2 * keyValueWidth],
    final_norm: [1, width],
  };
  const chosen = layers?.length ?? info.layers;
  const shared = method !== "lora" && info.tiedEmbeddings && targets.includes("head") && targets.includes("embeddings");
  return targets.reduce((sum, target) => {
    if (target === "head" && shared) return sum;
    const [inputs, outputs] = sides[target];
    const copies = target === "head" || target === "embeddings" || target === "final_norm" ? 1 : chosen;
    return sum + copies * (method === "lora" ? rank! * (inputs + outputs) : inputs * outputs);
  }, 0);
}

/** Of a trained weight: itself, its gradient and two moments; of an adapter also the best step's and the copies that its files are written from. */
function bytesEach({ optimizer, method }: Pick<Trained, "optimizer" | "method">): number {
  return 8 + (optimizer === "adamw" ? 8 : 2 + 8 / momentBlock) + (method === "lora" ? 12 : 0);
}

/** Bytes that do not depend on the micro-batch: the mapped file, what is trained with its gradients and moments, and the head's logits. */
export function fixedBytes(info: NativeModelInfo, settings: Trained): number {
  return (
    processBytes + info.fileBytes + trainedParameters(info, settings) * bytesEach(settings) + lossBytes(info, settings)
  );
}

/**
 * Bytes of matching the hidden states of a teacher of this width: the projection, which is trained as all else, what it is fitted by, and for the tokens of a
 * micro-batch the errors, the operands of their products, and the teacher's states three times (JavaScript's, the batch's, and the trainer's for a second look).
 */
export function hiddenBytes(
  teacherWidth: number,
  { width }: Pick<NativeModelInfo, "width">,
  settings: Pick<Trained, "optimizer" | "method"> & Pick<TuneSettings, "tokenBudget">,
): number {
  const fit = width * width * (4 + 8);
  const token = (2 * teacherWidth + 2 * width) * 4 + 3 * teacherWidth * 2;
  return teacherWidth * width * bytesEach(settings) + fit + (settings.tokenBudget ?? defaultTokenBudget) * token;
}

/** Most bytes of asking a model about rows, a step's tokens at once: its file, what a layer computes in passing, and the logits, of llama.cpp up to 64 MiB. */
export function askingBytes(asked: NativeModelInfo, { tokenBudget }: Pick<TuneSettings, "tokenBudget">): number {
  const passing = activationBytes(asked, true, { targets: ["head"], layers: null, rank: null });
  const logits = asked.tunable ? lossBytes(asked, { method: "lora", targets: [] }) : 64 * 2 ** 20;
  return asked.fileBytes + (tokenBudget ?? defaultTokenBudget) * passing + logits;
}

/**
 * Chooses tokens and recomputation. Without a limit: the options, else 512 tokens and no recomputation.
 * With one: as many tokens as fit, up to what the options say; recomputation as soon as they do not all fit without.
 *
 * @param beside - bytes that the run holds beside what tune knows of
 * @param around - bytes that it holds before and after its training, when nothing of that is there
 */
export function planMemory(info: NativeModelInfo, settings: TuneSettings, beside = 0, around = 0): MemoryPlan {
  const wanted = settings.tokenBudget ?? defaultTokenBudget;
  const fixed = fixedBytes(info, settings) + beside;
  const least = processBytes + info.fileBytes + beside + readingBytes + around;
  const plan = (tokenBudget: number, recompute: boolean): MemoryPlan => ({
    tokenBudget,
    recompute,
    bytes: Math.max(least, fixed + tokenBudget * activationBytes(info, recompute, settings)),
  });
  if (settings.memory === null) return plan(wanted, settings.recompute ?? false);
  const room = settings.memory - fixed;
  const fits = (recompute: boolean) => Math.min(wanted, Math.floor(room / activationBytes(info, recompute, settings)));
  const recompute = settings.recompute ?? fits(false) < wanted;
  const tokenBudget = fits(recompute);
  if (tokenBudget < Math.min(wanted, leastTokenBudget) || settings.memory < least) {
    const working = fixed + leastTokenBudget * activationBytes(info, settings.recompute ?? true, settings);
    const message = `expected at least ${memorySize(Math.max(least, working))} for memory with this model and these rows`;
    throw new StillroomError("usage", `${message}, received ${memorySize(settings.memory)}`, { options: ["memory"] });
  }
  return plan(tokenBudget, recompute);
}
