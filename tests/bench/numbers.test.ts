// The numbers that bench prints: medians, and the operations of a training step counted by hand.
import { expect, test } from "vitest";
import { decodeFlops, latency, measured, stepFlops } from "../../bench/numbers.js";
import type { NativeModelInfo } from "../../src/support/native.js";

test("medians of odd and even counts, with the spread", () => {
  expect(measured([3, 1, 10])).toEqual({ median: 3, low: 1, high: 10 });
  expect(measured([4, 1, 10, 2])).toEqual({ median: 3, low: 1, high: 10 });
});

test("operations of a step on a model small enough to count by hand", () => {
  const shape = { width: 2, feedForward: 3, layers: 1, vocabulary: 5, heads: 2, keyValueHeads: 1, headWidth: 1 };
  const info = shape as NativeModelInfo;
  // Weights of a layer: q 4, k 2, v 2, o 4, gate 6, up 6, down 6; in + out of them: 4, 3, 3, 4, 5, 5, 5.
  expect(stepFlops(info, 0, { tokens: 1, pairs: 0, logits: 0 })).toBe(4 * 30);
  expect(stepFlops(info, 7, { tokens: 1, pairs: 0, logits: 0 })).toBe(4 * 30 + 6 * 7 * 29);
  expect(stepFlops(info, 7, { tokens: 0, pairs: 1, logits: 0 })).toBe(12 * 2);
  expect(stepFlops(info, 7, { tokens: 0, pairs: 0, logits: 1 })).toBe(4 * 2 * 5);
  // Of all weights, their own gradients too.
  expect(stepFlops(info, null, { tokens: 1, pairs: 1, logits: 1 })).toBe(6 * 30 + 12 * 2 + 6 * 2 * 5);
  // Of three tokens only one goes on in the last layer behind k and v.
  const two = { ...info, layers: 2 };
  expect(stepFlops(two, 0, { tokens: 3, pairs: 0, logits: 0, queried: 1 })).toBe(4 * (3 * 30 + 3 * 4 + 26));
});

test("half of the waits, and all but one in a hundred, are no longer", () => {
  const waits = Array.from({ length: 200 }, (_, at) => 200 - at);
  expect(latency(waits)).toEqual({ p50: 100, p99: 198 });
  expect(latency([7])).toEqual({ p50: 7, p99: 7 });
});

test("operations of a decoded token on the same model", () => {
  const shape = { width: 2, feedForward: 3, layers: 1, vocabulary: 5, heads: 2, keyValueHeads: 1, headWidth: 1 };
  // 30 weights of the layer and 10 of the head; scores and mix of 2 heads over the token itself and those before.
  expect(decodeFlops(shape as NativeModelInfo, 0)).toBe(2 * 40 + 4 * 2);
  expect(decodeFlops(shape as NativeModelInfo, 6)).toBe(2 * 40 + 4 * 2 * 7);
});
