// The order of rows is a function of seed and step alone.
import { expect, test } from "vitest";
import { epochOrder, RowOrder, stepsPerEpoch } from "../../src/train/order.js";

test("every epoch holds every row once, in an order of its own", () => {
  const first = epochOrder(50, 1, 0);
  const second = epochOrder(50, 1, 1);
  const all = Array.from({ length: 50 }, (_, index) => index);
  expect([...first].sort((a, b) => a - b)).toEqual(all);
  expect([...second].sort((a, b) => a - b)).toEqual(all);
  expect(second).not.toEqual(first);
  expect(epochOrder(50, 2, 0)).not.toEqual(first);
  expect(epochOrder(50, 1, 0)).toEqual(first);
});

test("steps walk through the epochs, the last step of one holding the rest", () => {
  const order = new RowOrder(10, 4, 5);
  expect(stepsPerEpoch(10, 4)).toBe(3);
  const epochs = [0, 1].map((epoch) => [...epochOrder(10, 5, epoch)]);
  const steps = [1, 2, 3, 4].map((step) => [...order.step(step)]);
  expect(steps).toEqual([epochs[0]!.slice(0, 4), epochs[0]!.slice(4, 8), epochs[0]!.slice(8), epochs[1]!.slice(0, 4)]);
});

test("the step alone gives the position: a later start sees the same rows", () => {
  const walked = new RowOrder(10, 4, 5);
  for (let step = 1; step < 8; step++) walked.step(step);
  expect(new RowOrder(10, 4, 5).step(8)).toEqual(walked.step(8));
  expect(walked.position(8)).toEqual({ epoch: 2, row: 4 });
});
