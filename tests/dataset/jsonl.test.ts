// JSON Lines: good rows are done, bad rows are named, memory stays flat.
import { open, rm } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { readRows, streamRows } from "../../src/dataset/index.js";
import { readLines } from "../../src/dataset/lines.js";
import { fileOf, sourceOf, taskOf } from "./make.js";

const good = '{"text": "fine", "label": "yes"}';

async function read(content: string | Uint8Array, options = {}) {
  const file = await fileOf("rows.jsonl", content);
  return readRows(taskOf({ train: sourceOf(file) }), "train", options);
}

test("byte order mark, CRLF, blank lines, no last line end", async () => {
  const { rows, bad } = await read(`\ufeff${good}\r\n\r\n${good}\n   \n{"text": 3, "label": true}`);
  expect(bad).toEqual([]);
  expect(rows.map((row) => row.line)).toEqual([1, 3, 5]);
  expect(rows.map((row) => row.index)).toEqual([0, 1, 2]);
  expect(rows[2]).toMatchObject({ fields: { text: 3, label: true }, value: "true", answer: "true" });
});

describe("one bad row between two good ones", () => {
  const cases: [string, string | Uint8Array, RegExp][] = [
    ["a raw NUL", '{"text": "a\0b", "label": "yes"}', /is not JSON/],
    ["an escaped NUL", '{"text": "a\\u0000b", "label": "yes"}', /holds a NUL character/],
    ["a lone surrogate", '{"text": "a\\ud800b", "label": "yes"}', /holds a lone surrogate/],
    [
      "a lone surrogate in a nested key",
      '{"text": "a", "label": "yes", "x": [{"\\udc00": 1}]}',
      /holds a lone surrogate/,
    ],
    ["invalid UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), /not valid UTF-8/],
    ["deep nesting", `{"text": ${"[".repeat(100_000)}${"]".repeat(100_000)}, "label": "yes"}`, /nested deeper than 32/],
    ["deep nesting that is never closed", `{"text": ${"[".repeat(100_000)}`, /nested deeper than 32/],
    ["no object", "[1, 2]", /is not a JSON object/],
    ["null", "null", /is not a JSON object/],
    ["half a line", '{"text": "a", "lab', /is not JSON/],
    ["a missing field", '{"label": "yes"}', /has no text/],
    ["a null field", '{"text": null, "label": "yes"}', /has no text \(it is null\)/],
    ["a missing answer", '{"text": "a"}', /has no label/],
    ["an empty answer", '{"text": "a", "label": " "}', /has an empty label/],
    ["an answer that is an object", '{"text": "a", "label": {"a": 1}}', /label is no text/],
  ];
  test.each(cases)("%s", async (_name, line, reason) => {
    const bytes = Buffer.concat([Buffer.from(`${good}\n`), Buffer.from(line as string), Buffer.from(`\n${good}\n`)]);
    const { rows, bad } = await read(bytes);
    expect(rows.map((row) => row.line)).toEqual([1, 3]);
    expect(bad).toHaveLength(1);
    expect(bad[0]).toMatchObject({ line: 2, reason: expect.stringMatching(reason) });
    expect(bad[0]?.file).toMatch(/rows\.jsonl$/);
    await expect(read(bytes, { strict: true })).rejects.toThrow(/rows\.jsonl:2: /);
  });
});

test("numbers: what is none is a bad row, with how one is written", async () => {
  const none = ["nan", "abc", "inf", "-Infinity", "1,5", "1_000", "0x10", "1e400", "3 4", ".", "true"];
  const taken = ["3.5", " 2 ", "-1", "+1.", ".5", "1e-3", "2E2"];
  const lines = [...none, "", ...taken].map((label) => JSON.stringify({ text: "a", label }));
  const file = await fileOf("numbers.jsonl", [...lines, '{"text": "a", "label": 1e400}'].join("\n"));
  const task = { ...taskOf({ train: sourceOf(file) }), kind: "regress" as const };
  const { rows, bad } = await readRows(task, "train");
  expect(rows.map(({ answer }) => Number(answer))).toEqual([3.5, 2, -1, 1, 0.5, 1e-3, 200]);
  const remedy = "is no number; write it such as 1.5 or -2e-3, or leave the row out";
  expect(bad.map(({ reason }) => reason)).toEqual([
    ...none.map((text) => `label "${text}" ${remedy}`),
    "has an empty label",
    `label "Infinity" ${remedy}`,
  ]);
  expect(bad.map(({ line }) => line)).toEqual([...[...none, ""].keys(), lines.length].map((place) => place + 1));
});

test("brackets inside of texts are no nesting", async () => {
  const { rows, bad } = await read(`${JSON.stringify({ text: `\\"${"[{".repeat(500)}`, label: "yes" })}\n`);
  expect(bad).toEqual([]);
  expect(rows).toHaveLength(1);
});

test("a field named __proto__ is only a field", async () => {
  const { rows } = await read('{"__proto__": {"polluted": 1}, "constructor": 2, "text": "a", "label": "toString"}\n');
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  expect(Object.getPrototypeOf(rows[0]?.fields)).toBeNull();
  expect(Object.keys(rows[0]?.fields ?? {})).toContain("__proto__");
  expect(rows[0]?.answer).toBe("toString");
});

test("labels named in the task: another value is a bad row, also one that every object has", async () => {
  const file = await fileOf(
    "rows.jsonl",
    `{"text":"a","label":0}\n{"text":"a","label":7}\n{"text":"a","label":"toString"}\n`,
  );
  const labels = Object.assign(Object.create(null), { "0": "negative", "1": "positive" });
  const { rows, bad } = await readRows(
    taskOf({ train: sourceOf(file) }, { answer: { field: "label", labels } }),
    "train",
  );
  expect(rows).toMatchObject([{ value: "0", answer: "negative" }]);
  expect(bad.map((one) => one.reason)).toEqual(['label "7" is none of 0, 1', 'label "toString" is none of 0, 1']);
});

test("lines of 50 MB cost one bad row each, in flat memory", async () => {
  const file = await fileOf("rows.jsonl", "");
  const handle = await open(file, "w");
  const megabyte = Buffer.alloc(1024 * 1024, "x");
  await handle.write(`${good}\n`);
  for (let line = 0; line < 3; line++) {
    await handle.write('{"text": "');
    for (let count = 0; count < 50; count++) await handle.write(megabyte);
    await handle.write('", "label": "yes"}\n');
  }
  await handle.write(`${good}\n`);
  await handle.close();
  const before = process.memoryUsage().rss;
  let peak = before;
  const timer = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().rss);
  }, 5);
  const bad: number[] = [];
  const lines: number[] = [];
  const task = taskOf({ train: sourceOf(file) });
  const options = { onBad: (one: { line: number }) => bad.push(one.line), maxBytes: 1024 * 1024 };
  for await (const row of streamRows(task, "train", options)) lines.push(row.line);
  clearInterval(timer);
  peak = Math.max(peak, process.memoryUsage().rss);
  await rm(file);
  expect(lines).toEqual([1, 5]);
  expect(bad).toEqual([2, 3, 4]);
  expect(peak - before).toBeLessThan(40 * 1024 * 1024);
});

test("the limit of a line is an option", async () => {
  const { rows, bad } = await read(`${good}\n${JSON.stringify({ text: "y".repeat(100), label: "no" })}\n${good}\n`, {
    maxBytes: 64,
  });
  expect(rows).toHaveLength(2);
  expect(bad).toMatchObject([{ line: 2, reason: "is longer than 64 bytes" }]);
});

test("lines know their byte offsets, whatever the chunks", async () => {
  const text = `\ufeffone\r\n\ntwo ${"ü".repeat(300_000)}\nthree`;
  const file = await fileOf("rows.txt", text);
  const bytes = Buffer.from(text);
  for await (const line of readLines(file, { maxBytes: 1e6 })) {
    const end = bytes.indexOf(0x0a, line.offset);
    const raw = bytes.subarray(line.offset, end === -1 ? bytes.length : end).toString();
    expect(line.bytes?.toString()).toBe(raw.replace("\ufeff", "").replace("\r", ""));
  }
});

test("a missing file and a cancelled reading are errors by name", async () => {
  const task = taskOf({ train: sourceOf("/nowhere/rows.jsonl") });
  await expect(readRows(task, "train")).rejects.toThrow(
    "cannot read /nowhere/rows.jsonl: there is no such file or folder",
  );
  await expect(readRows(task, "test")).rejects.toThrow(/no data for the split test; there is train/);
  await expect(read(good, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "cancelled" });
});
