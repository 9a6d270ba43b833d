// CSV and TSV: quotes, line numbers, recovery after broken records, flat memory.
import { open, rm } from "node:fs/promises";
import path from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { readCsv } from "../../src/dataset/csv.js";
import { readRows, streamRows } from "../../src/dataset/index.js";
import type { RawRecord } from "../../src/dataset/records.js";
import { fileOf, sourceOf, taskOf } from "./make.js";

async function read(name: string, content: string | Uint8Array, options = {}) {
  const file = await fileOf(name, content);
  return readRows(taskOf({ train: sourceOf(file) }), "train", options);
}

const lines = (rows: { line: number }[]) => rows.map((row) => row.line);

test("byte order mark, CRLF, quoted delimiters and line ends, blank lines", async () => {
  const { rows, bad } = await read("rows.csv", '\ufefftext,label\r\n"a, ""b""\r\nc",yes\r\n\r\nd,no\r\ne,no');
  expect(bad).toEqual([]);
  expect(rows.map((row) => row.fields.text)).toEqual(['a, "b"\r\nc', "d", "e"]);
  expect(lines(rows)).toEqual([2, 5, 6]);
});

test("an unclosed quote costs its own line, wherever it stands", async () => {
  const { rows, bad } = await read("rows.csv", 'text,label\na,yes\n"b,no\nc,yes\n"d",no\ne,yes\n"f,no\ng,yes\n');
  expect(rows.map((row) => row.fields.text)).toEqual(["a", "c", "d", "e", "g"]);
  expect(lines(rows)).toEqual([2, 4, 5, 6, 8]);
  expect(bad).toMatchObject([
    { line: 3, reason: expect.stringMatching(/after a closing quote/) },
    { line: 7, reason: "opens a quote that is never closed" },
  ]);
});

test("missing fields, surplus fields, NUL, invalid UTF-8, stray quotes", async () => {
  const content = Buffer.concat([
    Buffer.from('text,label\na,yes\nb\nc,yes,more\nd\0,yes\ne "x",yes\n'),
    Buffer.from([0xff, 0x2c, 0x79, 0x0a]),
    Buffer.from("f,yes\n"),
  ]);
  const { rows, bad } = await read("rows.csv", content);
  expect(rows.map((row) => row.fields.text)).toEqual(["a", "f"]);
  expect(bad.map((one) => [one.line, one.reason])).toEqual([
    [3, "has 1 column where the first line has 2"],
    [4, "has 3 columns where the first line has 2"],
    [5, "holds a NUL character"],
    [6, "has a quote inside a field that is not quoted"],
    [7, "is not valid UTF-8"],
  ]);
});

test("lines that end in a carriage return alone, and a folder, are an error and not an empty file", async () => {
  await expect(read("rows.csv", "text,label\ra,yes\rb,no\r")).rejects.toMatchObject({
    code: "input",
    message: expect.stringMatching(/rows\.csv:1: expected lines that end in LF or CRLF, received a carriage return/),
  });
  const file = await fileOf("rows.csv", "");
  const folder = path.dirname(file);
  await expect(readRows(taskOf({ train: { ...sourceOf(file), path: folder } }), "train")).rejects.toMatchObject({
    code: "input",
    message: `cannot read ${folder}: it is a folder, and a file is expected`,
  });
});

test("a column named __proto__ is only a field", async () => {
  const { rows } = await read("rows.csv", "__proto__,text,label\nx,a,yes\n");
  expect(Object.keys(rows[0]?.fields ?? {})).toEqual(["__proto__", "text", "label"]);
});

test("TSV takes quotes as text, unless its first line is quoted", async () => {
  const plain = await read("rows.tsv", 'text\tlabel\n"a\tyes\nb "c"\tno\n');
  expect(plain.rows.map((row) => row.fields.text)).toEqual(['"a', 'b "c"']);
  const quoted = await read("rows.tsv", '\ufeff"text"\t"label"\n"a\tb"\t"yes"\n');
  expect(quoted.rows.map((row) => row.fields.text)).toEqual(["a\tb"]);
});

test("a column that is not there is an error with the nearest name, before any row", async () => {
  const file = await fileOf("rows.csv", "sentence,label\na,yes\n");
  await expect(readRows(taskOf({ train: sourceOf(file) }), "train")).rejects.toThrow(
    /no column text; it has sentence, label/,
  );
  const mapped = taskOf({ train: sourceOf(file, { text: "sentense" }) });
  await expect(readRows(mapped, "train")).rejects.toThrow(
    /no column sentense for the field text; .*did you mean sentence\?/,
  );
  const { rows } = await readRows(taskOf({ train: sourceOf(file, { text: "sentence" }) }), "train");
  expect(rows[0]?.fields).toMatchObject({ text: "a", sentence: "a" });
});

test("a first line that cannot name columns is an error", async () => {
  await expect(read("rows.csv", "")).rejects.toThrow(/expected a line of column names, received an empty file/);
  await expect(read("rows.csv", "a,a\n1,2\n")).rejects.toThrow(/:1: two columns are named "a"/);
  await expect(read("rows.csv", '"a,b\n1,2\n')).rejects.toThrow(
    /:1: the line of column names opens a quote that is never closed/,
  );
});

test("a record of 50 MB costs one bad row, in flat memory", async () => {
  const file = await fileOf("rows.csv", "");
  const handle = await open(file, "w");
  await handle.write("text,label\na,yes\n");
  for (let count = 0; count < 50; count++) await handle.write(Buffer.alloc(1024 * 1024, "x"));
  await handle.write(",yes\nb,no\n");
  await handle.close();
  const before = process.memoryUsage().rss;
  let peak = before;
  const timer = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().rss);
  }, 5);
  const bad: number[] = [];
  const good: number[] = [];
  const options = { onBad: (one: { line: number }) => bad.push(one.line), maxBytes: 4 * 1024 * 1024 };
  for await (const row of streamRows(taskOf({ train: sourceOf(file) }), "train", options)) good.push(row.line);
  clearInterval(timer);
  await rm(file);
  expect(good).toEqual([2, 4]);
  expect(bad).toEqual([3]);
  expect(peak - before).toBeLessThan(100 * 1024 * 1024);
});

test("whatever was written is read back, with the line that each record begins on", async () => {
  const cell = fc.string({ unit: fc.constantFrom("a", ",", '"', "\n", "\r\n", "ü", " ", "\t") });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(cell, cell), { maxLength: 12 }),
      fc.constantFrom("\n", "\r\n"),
      async (records, end) => {
        const write = (one: string) => `"${one.replaceAll('"', '""')}"`;
        let line = 2;
        const expected = records.map(([text, label]) => {
          const record = { line, fields: Object.assign(Object.create(null), { text, label }) };
          line += 1 + text.split("\n").length - 1 + label.split("\n").length - 1;
          return record;
        });
        const content = [["text", "label"], ...records]
          .map((cells) => cells.map((one) => write(one as string)).join(",") + end)
          .join("");
        const found: RawRecord[] = [];
        for await (const record of readCsv(await fileOf("rows.csv", content), "csv", { maxBytes: 1e6 }))
          found.push(record);
        expect(found).toEqual(expected);
      },
    ),
    { numRuns: 60, seed: 14 },
  );
});

test("records across many chunks keep their lines", async () => {
  const content = `text,label\n${Array.from({ length: 40_000 }, (_, i) => `"row ${i}\nsecond line",${i % 2}`).join("\n")}\n`;
  const { rows, bad } = await read("rows.csv", content);
  expect(bad).toEqual([]);
  expect(rows).toHaveLength(40_000);
  expect(
    rows.every((row, index) => row.line === 2 + 2 * index && row.fields.text === `row ${index}\nsecond line`),
  ).toBe(true);
});
