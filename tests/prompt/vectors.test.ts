// Space on points that can be drawn on paper.
import { expect, test } from "vitest";
import { Space } from "../../src/prompt/index.js";

const at = (...numbers: number[]) => Float32Array.from(numbers);

test("nearest looks at directions from the common centre, the nearest first", () => {
  // All lie far out in one direction, as the states of decoders do; about their centre (10, 0) they are up, down, right and left.
  const space = new Space([at(10, 1), at(10, -1), at(11, 0), at(9, 0)]);
  expect(space.nearest(at(10.1, 5), 4)).toEqual([0, 2, 3, 1]);
  // About the origin this would be most like the one that is up.
  expect(space.nearest(at(8.5, 0.9), 4)).toEqual([3, 0, 1, 2]);
  expect(space.nearest(at(10, -5), 2)).toEqual([1, 2]);
  expect(space.nearest(at(10, -5), 2, (index) => index === 1)).toEqual([2, 3]);
  // The centre itself is like none of them: the first ones.
  expect(space.nearest(at(10, 0), 2)).toEqual([0, 1]);
});

test("spread takes one of each group, and all where there are no more", () => {
  const groups = [at(1, 0.01), at(1, -0.01), at(1, 0), at(-1, 0.01), at(-1, 0), at(0, 1), at(0.01, -1), at(0, -1)];
  const space = new Space(groups);
  for (const seed of [0, 1, 2, 3]) {
    const found = space.spread(4, seed);
    expect(found.map((index) => [0, 0, 0, 1, 1, 2, 3, 3][index])).toEqual([0, 1, 2, 3]);
  }
  expect(space.spread(9, 0)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(space.spread(2, 0, [5, 7, 6])).toEqual([5, expect.any(Number)]);
  // Points that are one point have only so many places.
  expect(new Space([at(1, 0), at(1, 0), at(1, 0)]).spread(2, 0)).toHaveLength(2);
});
