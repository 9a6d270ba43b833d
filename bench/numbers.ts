// Medians with their spread, and the floating-point operations of a training step. Pure.
import type { NativeModelInfo } from "../src/support/native.js";
import type { Work } from "./side.js";

/** Median of repeated measurements with the lowest and the highest. */
export interface Measured {
  median: number;
  low: number;
  high: number;
}

export function measured(values: number[]): Measured {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = Number.isInteger(middle) ? (sorted[middle - 1]! + sorted[middle]!) / 2 : sorted[Math.floor(middle)]!;
  return { median, low: sorted[0]!, high: sorted.at(-1)! };
}

/** How long single waits took, in seconds: half of them, and all but one in a hundred, were no longer. */
export interface Latency {
  p50: number;
  p99: number;
}

export function latency(values: number[]): Latency {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.ceil(share * sorted.length) - 1]!;
  return { p50: at(0.5), p99: at(0.99) };
}

/**
 * Operations that a step needs: of LoRA on all linear layers (rank), forward 2 and the gradient to the input 2 for each frozen weight and
 * token, 6 for each weight of the adapter; of all weights (rank null), 6 for each weight and token. Attention's four products of a pair
 * forward and backward; the head at the logits that were computed. Recomputation is not counted: it is not needed.
 */
export function stepFlops(info: NativeModelInfo, rank: number | null, work: Work): number {
  const { width, layers, vocabulary } = info;
  const query = info.heads * info.headWidth;
  const shapes = linearShapes(info);
  const weights = shapes.reduce((sum, [inputs, outputs]) => sum + inputs * outputs, 0) * layers;
  const adapter = shapes.reduce((sum, [inputs, outputs]) => sum + (rank ?? 0) * (inputs + outputs), 0) * layers;
  const attention = 12 * query * layers; // 4 forward, 8 backward
  const passes = rank === null ? 6 : 4;
  return (
    work.tokens * (passes * weights + 6 * adapter) + work.pairs * attention + work.logits * passes * width * vocabulary
  );
}

/** Operations of a forward pass: 2 for each weight and token, attention's two products of a pair, the head at the logits. */
export function scoreFlops(info: NativeModelInfo, work: Work): number {
  const { width, layers, vocabulary, heads, headWidth } = info;
  const weights = linearShapes(info).reduce((sum, [inputs, outputs]) => sum + inputs * outputs, 0) * layers;
  return 2 * work.tokens * weights + 4 * work.pairs * heads * headWidth * layers + 2 * work.logits * width * vocabulary;
}

/** Operations of one more token of an answer whose sequence has so many tokens: 2 for each weight, the head's included, and attention. */
export function decodeFlops(info: NativeModelInfo, before: number): number {
  return scoreFlops(info, { tokens: 1, pairs: before + 1, logits: 1 });
}

/** (inputs, outputs) of a layer's seven linear layers. */
function linearShapes({ width, feedForward, heads, keyValueHeads, headWidth }: NativeModelInfo): [number, number][] {
  const query = heads * headWidth;
  const keyValue = keyValueHeads * headWidth;
  return [
    [width, query],
    [width, keyValue],
    [width, keyValue],
    [query, width],
    [width, feedForward],
    [width, feedForward],
    [feedForward, width],
  ];
}
