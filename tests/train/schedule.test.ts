// Learning rates by hand.
import { expect, test } from "vitest";
import { learningRateAt, type Schedule, warmupSteps } from "../../src/train/schedule.js";

const rates = (name: Schedule["name"], warmup: number, steps: number) =>
  Array.from({ length: steps }, (_, index) => learningRateAt({ name, learningRate: 8, warmup, steps }, index + 1));

test("constant stays at the peak after warm-up", () => {
  expect(rates("constant", 2, 4)).toEqual([4, 8, 8, 8]);
});

test("linear falls from the peak to one step above zero", () => {
  expect(rates("linear", 0, 4)).toEqual([8, 6, 4, 2]);
  expect(rates("linear", 2, 6)).toEqual([4, 8, 8, 6, 4, 2]);
});

test("cosine is at the peak first and at half of it midway", () => {
  const [first, second, third, fourth] = rates("cosine", 0, 4) as [number, number, number, number];
  expect(first).toBe(8);
  expect(second).toBeCloseTo(4 * (1 + Math.SQRT1_2), 12);
  expect(third).toBeCloseTo(4, 12);
  expect(fourth).toBeCloseTo(4 * (1 - Math.SQRT1_2), 12);
});

test("a run that is all warm-up only rises", () => {
  expect(rates("linear", 4, 4)).toEqual([2, 4, 6, 8]);
});

test("warm-up below 1 is a fraction rounded up, from 1 on a number of steps, and no longer than the run", () => {
  expect(warmupSteps(0, 100)).toBe(0);
  expect(warmupSteps(0.03, 125)).toBe(4);
  expect(warmupSteps(1, 125)).toBe(1);
  expect(warmupSteps(500, 125)).toBe(125);
});
