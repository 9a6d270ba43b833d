// Counts and sizes as people read them.
import { expect, test } from "vitest";
import { counted, memorySize, numbered } from "../../src/support/words.js";

test("one of a thing has no s", () => {
  expect([0, 1, 2].map((count) => counted(count, "bad row"))).toEqual(["0 bad rows", "1 bad row", "2 bad rows"]);
});

test("memory is told in the units of a limit, rounded up", () => {
  const sizes = [1, 100 * 2 ** 20, 100 * 2 ** 20 + 1, 2 ** 30, 1.25 * 2 ** 30].map(memorySize);
  expect(sizes).toEqual(["1 MiB", "100 MiB", "101 MiB", "1 GiB", "1.3 GiB"]);
});

test("numbers that follow each other are told as one, and of many the first", () => {
  expect(numbered("line", [3])).toBe("line 3");
  expect(numbered("step", [1, 2, 5, 7, 8, 9])).toBe("steps 1–2, 5, 7–9");
  expect(numbered("line", [1, 3, 5, 7, 9, 11, 13, 15, 16])).toBe("lines 1, 3, 5, 7, 9, 11 and 3 more");
});
