// The slow twin of packing: checks a batch's shape and unfolds it into what each query sees and asks for.
import { expect } from "vitest";
import type { NativeBatch } from "../../src/support/native.js";

/** Throws unless segments cover the tokens without gaps, depth first, none empty, and queries are in range. */
export function checkShape({ tokens, segments, queryPositions, queryTokens }: NativeBatch): void {
  let covered = 0;
  const open: number[] = [];
  for (let index = 0; index < segments.length / 3; index++) {
    const [start, length, parent] = segments.subarray(index * 3, index * 3 + 3) as unknown as [number, number, number];
    expect(start).toBe(covered);
    expect(length).toBeGreaterThan(0);
    expect(parent).toBeLessThan(index);
    // Depth first: the parent is the segment before, or one of its ancestors.
    while (open.length > 0 && open.at(-1) !== parent) open.pop();
    expect(open.at(-1) ?? -1).toBe(parent);
    open.push(index);
    covered += length;
  }
  expect(covered).toBe(tokens.length);
  expect(queryPositions.length).toBe(queryTokens.length);
  expect(queryPositions.every((position) => position >= 0 && position < tokens.length)).toBe(true);
}

/** For each query, the tokens that its position sees (itself included), then the token that is asked for. */
export function expand(batch: NativeBatch): number[][] {
  const { tokens, segments } = batch;
  const segmentOf = (position: number) => {
    let index = 0;
    while (position >= segments[index * 3]! + segments[index * 3 + 1]!) index += 1;
    return index;
  };
  return [...batch.queryPositions].map((position, query) => {
    let index = segmentOf(position);
    let seen = [...tokens.subarray(segments[index * 3]!, position + 1)];
    for (index = segments[index * 3 + 2]!; index !== -1; index = segments[index * 3 + 2]!) {
      seen = [...tokens.subarray(segments[index * 3]!, segments[index * 3]! + segments[index * 3 + 1]!), ...seen];
    }
    return [...seen, batch.queryTokens[query]!];
  });
}
