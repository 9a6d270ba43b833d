// Parquet: types as JSON has them, row groups, bad rows, and files that are not whole.
import { readFile } from "node:fs/promises";
import { parquetWriteBuffer } from "hyparquet-writer";
import { expect, test } from "vitest";
import { readRows } from "../../src/dataset/index.js";
import { fileOf, sourceOf, taskOf } from "./make.js";

type Columns = Parameters<typeof parquetWriteBuffer>[0]["columnData"];

async function read(columnData: Columns, options: { rowGroupSize?: number } = {}) {
  const buffer = parquetWriteBuffer({ columnData, ...options });
  const file = await fileOf("rows.parquet", new Uint8Array(buffer));
  return { file, ...(await readRows(taskOf({ train: sourceOf(file) }), "train")) };
}

test("texts, integers, booleans, dates and lists, over several row groups", async () => {
  const count = 25;
  const { rows, bad } = await read(
    [
      { name: "text", data: Array.from({ length: count }, (_, i) => `row ${i}`), type: "STRING" },
      { name: "label", data: Array.from({ length: count }, (_, i) => BigInt(i % 3)), type: "INT64" },
      { name: "huge", data: Array.from({ length: count }, () => 2n ** 60n), type: "INT64" },
      { name: "when", data: Array.from({ length: count }, () => new Date(0)), type: "TIMESTAMP" },
      {
        name: "meta",
        data: Array.from({ length: count }, (_, i) => ({ tags: [i, "x"], __proto__x: 1 })),
        type: "JSON",
      },
    ],
    { rowGroupSize: 10 },
  );
  expect(bad).toEqual([]);
  expect(rows).toHaveLength(count);
  expect(rows[24]).toMatchObject({
    index: 24,
    line: 25,
    value: "0",
    fields: {
      text: "row 24",
      label: 0,
      huge: "1152921504606846976",
      when: "1970-01-01T00:00:00.000Z",
      meta: { tags: [24, "x"] },
    },
  });
});

test("NUL, invalid UTF-8 and missing values are bad rows", async () => {
  const invalid = Uint8Array.of(0x61, 0xff);
  const { rows, bad } = await read([
    { name: "text", data: ["a", "b\0", invalid, null, "e"] as string[], type: "STRING", nullable: true },
    { name: "label", data: ["x", "x", "x", "x", "x"], type: "STRING" },
  ]);
  expect(rows.map((row) => row.line)).toEqual([1, 5]);
  expect(bad.map((one) => [one.line, one.reason])).toEqual([
    [2, "holds a NUL character"],
    [3, "holds bytes in text that are not valid UTF-8"],
    [4, "has no text (it is null)"],
  ]);
});

test("a file that is cut or that is none is one error naming it", async () => {
  const { file } = await read([
    { name: "text", data: ["a", "b"], type: "STRING" },
    { name: "label", data: ["x", "y"], type: "STRING" },
  ]);
  const bytes = await readFile(file);
  for (let length = 0; length < bytes.length; length += 7) {
    const cut = taskOf({ train: sourceOf(await fileOf("cut.parquet", bytes.subarray(0, length))) });
    await expect(readRows(cut, "train")).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(/cut\.parquet/),
    });
  }
});

test("flipped bits give rows or an error, never a crash", async () => {
  const { file } = await read([
    { name: "text", data: Array.from({ length: 50 }, (_, i) => `row ${i}`), type: "STRING" },
    { name: "label", data: Array.from({ length: 50 }, (_, i) => `label ${i % 2}`), type: "STRING" },
  ]);
  const bytes = await readFile(file);
  for (let offset = 0; offset < bytes.length; offset += 3) {
    const flipped = Buffer.from(bytes);
    flipped[offset]! ^= 1 << (offset % 8);
    const task = taskOf({ train: sourceOf(await fileOf("flipped.parquet", flipped)) });
    const result = await readRows(task, "train").catch((error: { code?: string }) => error.code);
    expect(result === "input" || typeof result === "object").toBe(true);
  }
});
