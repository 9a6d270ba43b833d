// The rows that the example's student.sh learns and measures with, made of files like banking77's.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readRows } from "../../src/dataset/index.js";
import { readTask } from "../../src/task/index.js";

const example = fileURLToPath(new URL("../../examples/banking77/", import.meta.url));
let folder: string;
const file = (name: string) => path.join(folder, name);
const intents = ["card_arrival", "lost_card", "top_up"];
const csv = (count: number, kind: string) =>
  ["text,category", ...Array.from({ length: count }, (_, i) => `"${kind} ${i},\nplease",${intents[i % 3]}`)].join("\n");
const makeRows = () =>
  spawnSync(process.execPath, [path.join(example, "rows.mjs"), folder, folder], { encoding: "utf8" });
const textsOf = (name: string) =>
  readFileSync(file(name), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => (JSON.parse(line) as { text: string }).text);

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "stillroom-banking77-"));
  writeFileSync(file("train.csv"), csv(3500, "train"));
  writeFileSync(file("test.csv"), csv(30, "test"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("the rows of banking77's student", () => {
  it("are 3,000 with labels, 400 for validation and the texts of all others, none in two files", async () => {
    expect(makeRows().stderr).toBe("");
    const files = ["labelled.jsonl", "validation.jsonl", "texts.jsonl"].map(textsOf);
    expect(files.map(({ length }) => length)).toEqual([3000, 400, 100]);
    expect(new Set(files.flat()).size).toBe(3500);
    expect(readFileSync(file("texts.jsonl"), "utf8")).not.toMatch(/card_arrival|lost_card|top_up/);
    const task = await readTask(file("labels.yaml"));
    const splits = await Promise.all((["train", "validation", "test"] as const).map((split) => readRows(task, split)));
    expect(splits.flatMap(({ bad }) => bad)).toEqual([]);
    expect(splits.map(({ rows }) => rows.length)).toEqual([3000, 400, 30]);
  });

  it("do not keep the order of the file, and are the same ones each time", () => {
    makeRows();
    const first = textsOf("labelled.jsonl");
    expect(first).not.toEqual(
      [...first].sort((a, b) => Number.parseInt(a.slice(6), 10) - Number.parseInt(b.slice(6), 10)),
    );
    makeRows();
    expect(textsOf("labelled.jsonl")).toEqual(first);
  });

  it("are not written over others, nor made of files without text and category", () => {
    makeRows();
    const before = readFileSync(file("test.jsonl"), "utf8");
    writeFileSync(file("train.csv"), csv(3500, "other"));
    writeFileSync(file("test.csv"), csv(30, "other"));
    const refused = {
      status: 65,
      stderr: expect.stringContaining("has a labelled.jsonl of other rows: choose another"),
    };
    expect(makeRows()).toMatchObject(refused);
    expect(readFileSync(file("test.jsonl"), "utf8")).toBe(before);
    writeFileSync(file("test.csv"), "a,b\n1,2\n");
    const nameless = { status: 65, stderr: expect.stringContaining("expected rows with text and category") };
    expect(makeRows()).toMatchObject(nameless);
    writeFileSync(file("test.csv"), csv(30, "test"));
    writeFileSync(file("train.csv"), csv(3400, "train"));
    const few = { status: 65, stderr: expect.stringMatching(/more than 3400 rows in .*train\.csv, found 3400/) };
    expect(makeRows()).toMatchObject(few);
  });

  it("take what the teacher said of the other texts where it is a label", async () => {
    makeRows();
    const texts = textsOf("texts.jsonl");
    const predictions = ["lost_card", "lost card", "top_up"];
    writeFileSync(
      file("written.jsonl"),
      predictions.map((prediction, index) => `${JSON.stringify({ index, prediction })}\n`).join(""),
    );
    expect(makeRows().stdout).toBe("2 of 100 texts with an answer that is a label\n");
    const { rows } = await readRows(await readTask(file("told.yaml")), "train");
    expect(rows).toHaveLength(3002);
    expect(rows.slice(3000).map(({ fields, answer }) => [fields.text, answer])).toEqual([
      [texts[0], "lost_card"],
      [texts[2], "top_up"],
    ]);
  });
});

it("student.sh names what it was not given, before anything is made", () => {
  const run = (...args: string[]) => spawnSync(path.join(example, "student.sh"), args, { encoding: "utf8" });
  const directory = mkdtempSync(path.join(tmpdir(), "stillroom-banking77-"));
  try {
    expect(run(directory)).toMatchObject({ status: 64, stderr: expect.stringContaining("FOLDER MODEL.gguf OUT") });
    const missing = run(directory, "none.gguf", path.join(directory, "out"));
    expect(missing).toMatchObject({ status: 69, stderr: expect.stringContaining("no file") });
  } finally {
    rmSync(directory, { recursive: true });
  }
});
