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
 * forward and backward; the head at the logits that were computed. Recomputation is not counted: it is not needed. Where the last layer
 * goes beyond keys and values for some tokens only, so do the operations of its linear layers; its attention is counted whole.
 */
export function stepFlops(info: NativeModelInfo, rank: number | null, work: Work): number {
  const { width, layers, vocabulary } = info;
  const query = info.heads * info.headWidth;
  const attention = 12 * query * layers; // 4 forward, 8 backward
  const passes = rank === null ? 6 : 4;
  const linear = linearWork(
    info,
    work,
    (inputs, outputs) => passes * inputs * outputs + 6 * (rank ?? 0) * (inputs + outputs),
  );
  return linear + work.pairs * attention + work.logits * passes * width * vocabulary;
}

/** Operations of a forward pass: 2 for each weight and token, attention's two products of a pair, the head at the logits. */
export function scoreFlops(info: NativeModelInfo, work: Work): number {
  const { width, layers, vocabulary, heads, headWidth } = info;
  const linear = linearWork(info, work, (inputs, outputs) => 2 * inputs * outputs);
  return linear + 4 * work.pairs * heads * headWidth * layers + 2 * work.logits * width * vocabulary;
}

/** Operations of one more token of an answer whose sequence has so many tokens: 2 for each weight, the head's included, and attention. */
export function decodeFlops(info: NativeModelInfo, before: number): number {
  return scoreFlops(info, { tokens: 1, pairs: before + 1, logits: 1 });
}

/** What the linear layers cost, given what one costs a token. */
function linearWork(info: NativeModelInfo, work: Work, cost: (inputs: number, outputs: number) => number): number {
  const { forAll, forQueried } = linearShapes(info);
  const sum = (shapes: Shapes) => shapes.reduce((total, [inputs, outputs]) => total + cost(inputs, outputs), 0);
  const queried = work.queried ?? work.tokens;
  return work.tokens * info.layers * sum(forAll) + (work.tokens * (info.layers - 1) + queried) * sum(forQueried);
}

type Shapes = [number, number][];

/** (inputs, outputs) of a layer's linear layers: keys and values, which all tokens need in the last layer too, and the others. */
function linearShapes(info: NativeModelInfo): { forAll: Shapes; forQueried: Shapes } {
  const { width, feedForward, heads, keyValueHeads, headWidth } = info;
  const query = heads * headWidth;
  const keyValue = keyValueHeads * headWidth;
  const forAll: Shapes = [
    [width, keyValue],
    [width, keyValue],
  ];
  const forQueried: Shapes = [
    [width, query],
    [query, width],
    [width, feedForward],
    [width, feedForward],
    [feedForward, width],
  ];
  return { forAll, forQueried };
}
