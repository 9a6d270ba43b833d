// An estimate of what a tuning run will hold in memory, and the choice of micro-batch and recomputation from a limit.
import { StillroomError } from "../support/errors.js";
import type { LoraTarget, NativeModelInfo } from "../support/native.js";
import { memorySize } from "../support/words.js";
import type { TuneSettings } from "./options.js";

/** Tokens of a micro-batch where nothing else asks for less or more. */
const defaultTokenBudget = 512;
/** With fewer tokens than this in a micro-batch a run would crawl: refused. */
const leastTokenBudget = 32;
/** Node, the addon, the tokenizer and the rows. */
const processBytes = 160 * 2 ** 20;
/** Rows of logits that the loss holds at once, with their gradient. */
const logitRows = 128;

/** How much of a micro-batch fits. */
export interface MemoryPlan {
  tokenBudget: number;
  recompute: boolean;
  /** Estimated peak of the process. */
  bytes: number;
}

/** Bytes of activations per token: all that the backward pass reads of a layer, or with recompute the layer's input only. */
export function activationBytes(info: NativeModelInfo, recompute: boolean): number {
  const keyValueWidth = info.keyValueHeads * info.headWidth;
  const layer = (4 * info.width + 2 * keyValueWidth + 2 * info.feedForward) * 4;
  return recompute ? info.layers * info.width * 4 + layer : info.layers * layer;
}

/** Weights of a LoRA adapter of this rank: for each target rank * (inputs + outputs). */
export function adapterParameters(info: NativeModelInfo, targets: readonly LoraTarget[], rank: number): number {
  const { width, feedForward, vocabulary } = info;
  const queryWidth = info.heads * info.headWidth;
  const keyValueWidth = info.keyValueHeads * info.headWidth;
  const sides: Record<LoraTarget, number> = {
    q: width + queryWidth,
    k: width + keyValueWidth,
    v: width + keyValueWidth,
    o: queryWidth + width,
    gate: width + feedForward,
    up: width + feedForward,
    down: feedForward + width,
    head: width + vocabulary,
    embeddings: width + vocabulary,
  };
  return targets.reduce((sum, target) => {
    const copies = target === "head" || target === "embeddings" ? 1 : info.layers;
    return sum + copies * rank * sides[target];
  }, 0);
}

/** Bytes that do not depend on the micro-batch: the mapped file, the adapter with gradients and moments, copies of both for a checkpoint. */
export function fixedBytes(info: NativeModelInfo, settings: TuneSettings): number {
  const adapter = adapterParameters(info, settings.targets, settings.rank) * 4;
  return processBytes + info.fileBytes + 8 * adapter + 2 * logitRows * info.vocabulary * 4;
}

/**
 * Chooses tokens and recomputation. Without a limit: the options, else 512 tokens and no recomputation.
 * With one: as many tokens as fit, up to what the options say; recomputation as soon as they do not all fit without.
 */
export function planMemory(info: NativeModelInfo, settings: TuneSettings): MemoryPlan {
  const wanted = settings.tokenBudget ?? defaultTokenBudget;
  const fixed = fixedBytes(info, settings);
  const plan = (tokenBudget: number, recompute: boolean): MemoryPlan => ({
    tokenBudget,
    recompute,
    bytes: fixed + tokenBudget * activationBytes(info, recompute),
  });
  if (settings.memory === null) return plan(wanted, settings.recompute ?? false);
  const room = settings.memory - fixed;
  const fits = (recompute: boolean) => Math.min(wanted, Math.floor(room / activationBytes(info, recompute)));
  const recompute = settings.recompute ?? fits(false) < wanted;
  const tokenBudget = fits(recompute);
  if (tokenBudget < Math.min(wanted, leastTokenBudget)) {
    const least = fixed + leastTokenBudget * activationBytes(info, settings.recompute ?? true);
    throw new StillroomError(
      "usage",
      `expected at least ${memorySize(least)} for memory with this model, received ${memorySize(settings.memory)}`,
      { options: ["memory"] },
    );
  }
  return plan(tokenBudget, recompute);
}
