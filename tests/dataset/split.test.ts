// Seeded splits: disjoint, complete, of the promised size, the same every time; strata keep their shares, groups stay whole.
import fc from "fast-check";
import { expect, test } from "vitest";
import { readRows } from "../../src/dataset/index.js";
import { assignParts, largestRemainder } from "../../src/dataset/split.js";
import { fileOf, sourceOf, taskOf } from "./make.js";

const count = (parts: Uint8Array, part: number) => parts.filter((one) => one === part).length;

test("by row: the size is the rounded fraction, and both sides keep a row", () => {
  const draw = { by: "row", fraction: 0.25, seed: 3, keys: new Int32Array(0) } as const;
  expect(count(assignParts(100, [draw]), 1)).toBe(25);
  expect(count(assignParts(2, [{ ...draw, fraction: 0.01 }]), 1)).toBe(1);
  expect(count(assignParts(2, [{ ...draw, fraction: 0.99 }]), 1)).toBe(1);
  expect(count(assignParts(1, [draw]), 1)).toBe(0);
  expect(assignParts(0, [draw])).toHaveLength(0);
});

test("the seed alone decides", () => {
  const draw = (seed: number) => ({ by: "row", fraction: 0.5, seed, keys: new Int32Array(0) }) as const;
  expect(assignParts(64, [draw(1)])).toEqual(assignParts(64, [draw(1)]));
  expect(assignParts(64, [draw(1)])).not.toEqual(assignParts(64, [draw(2)]));
});

test("strata: largest remainders of 7 of 10 + 5 + 5 are 3.5, 1.75, 1.75", () => {
  expect(largestRemainder([10, 5, 5], 7)).toEqual([3, 2, 2]);
  expect(largestRemainder([1, 1, 1], 2)).toEqual([1, 1, 0]);
  expect(largestRemainder([], 0)).toEqual([]);
  const keys = Int32Array.from({ length: 100 }, (_, row) => (row % 10 === 0 ? 1 : 0));
  const parts = assignParts(100, [{ by: "stratum", fraction: 0.2, seed: 5, keys }]);
  expect(count(parts, 1)).toBe(20);
  expect([...parts].filter((part, row) => part === 1 && keys[row] === 1)).toHaveLength(2);
});

test("no group is ever on both sides, and neither side is empty", () => {
  const draws = fc.record({
    keys: fc.array(fc.nat(8), { minLength: 1, maxLength: 60 }),
    fraction: fc.double({ min: 0.01, max: 0.99, noNaN: true }),
    seed: fc.nat(),
  });
  fc.assert(
    fc.property(draws, ({ keys, fraction, seed }) => {
      const parts = assignParts(keys.length, [{ by: "group", fraction, seed, keys: Int32Array.from(keys) }]);
      const sides = new Map<number, number>();
      for (const [row, key] of keys.entries()) {
        expect(sides.get(key) ?? parts[row]).toBe(parts[row]);
        sides.set(key, parts[row]!);
      }
      if (sides.size > 1) expect(new Set(sides.values()).size).toBe(2);
    }),
    { seed: 14 },
  );
});

const file = () =>
  fileOf(
    "rows.jsonl",
    Array.from({ length: 60 }, (_, i) =>
      i === 7 ? "broken\n" : `{"text": "row ${i}", "label": "${i % 3}", "plant": ${i % 20}}\n`,
    ).join(""),
  );

test("train, validation and test from one file: disjoint and complete; bad rows are the file's owner's", async () => {
  const task = taskOf({
    train: sourceOf(await file()),
    validation: { from: "train", fraction: 0.1, stratify: "label", seed: 1 },
    test: { from: "train", fraction: 0.25, group: "plant", seed: 2 },
  });
  const [train, validation, held] = [
    await readRows(task, "train"),
    await readRows(task, "validation"),
    await readRows(task, "test"),
  ];
  const indices = [...train.rows, ...validation.rows, ...held.rows].map((row) => row.index).sort((a, b) => a - b);
  expect(indices).toEqual(Array.from({ length: 59 }, (_, index) => index));
  expect(validation.rows).toHaveLength(6);
  const plants = new Set(held.rows.map((row) => row.fields.plant));
  expect([...train.rows, ...validation.rows].filter((row) => plants.has(row.fields.plant))).toEqual([]);
  expect([train.bad.length, validation.bad.length, held.bad.length]).toEqual([1, 0, 0]);
  await expect(readRows(task, "validation", { strict: true })).rejects.toThrow(/rows\.jsonl:8: is not JSON/);
});

test("a limit takes the first good rows after the split", async () => {
  const task = taskOf({ train: sourceOf(await file()), validation: { from: "train", fraction: 0.5, seed: 1 } });
  const all = (await readRows(task, "train")).rows;
  expect((await readRows(task, "train", { limit: 5 })).rows).toEqual(all.slice(0, 5));
  expect((await readRows(task, "train", { limit: 0 })).rows).toEqual([]);
});

test("a row without the field that the split needs is a bad row", async () => {
  const source = sourceOf(await fileOf("rows.jsonl", '{"text":"a","label":"x","plant":1}\n{"text":"b","label":"x"}\n'));
  const task = taskOf({ train: source, validation: { from: "train", fraction: 0.5, group: "plant", seed: 1 } });
  expect((await readRows(task, "train")).bad).toMatchObject([{ line: 2, reason: "has no plant" }]);
});
