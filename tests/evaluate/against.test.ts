// The predictions file: what was written is read back, and nothing else is taken for one.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { compareWith } from "../../src/evaluate/against.js";
import { type RowScore, readPredictions, writePredictions } from "../../src/evaluate/index.js";
import type { Task } from "../../src/task/index.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-against-"));
const file = path.join(folder, "predictions.jsonl");
const row = (index: number, answer: string, prediction: string): RowScore => ({
  ...{ index, answer, prediction },
  probabilities: { a: prediction === "a" ? 0.75 : 0.25, b: prediction === "a" ? 0.25 : 0.75 },
});
const task = { name: "letters", kind: "classify" } as Task;
const labels = ["a", "b"].map((text) => ({ value: text, text }));
const compare = async (first: RowScore[]) =>
  compareWith(file, await readPredictions(file), { task, labels, seed: 0, first });

describe("predictions", () => {
  it("come back as they were written, a line a row", async () => {
    const rows = [row(0, "a", "b"), { ...row(3, "ü\n", ""), probabilities: null }];
    await writePredictions(file, rows);
    expect(readFileSync(file, "utf8").split("\n")).toHaveLength(3);
    expect(await readPredictions(file)).toEqual(rows);
  });

  it.each([
    "{",
    "[]",
    "{}",
    "null",
    '{"index":0.5,"answer":"a","prediction":"a","probabilities":null}',
    '{"index":0,"answer":"a","prediction":"a","probabilities":{"a":"1"}}',
  ])("refuses the line %s", async (line) => {
    writeFileSync(file, `\n${line}\n`);
    await expect(readPredictions(file)).rejects.toMatchObject({
      code: "input",
      message: expect.stringContaining(`${file}:2: `),
    });
  });

  it("of a file that is not there are missing", async () => {
    await expect(readPredictions(path.join(folder, "none.jsonl"))).rejects.toMatchObject({ code: "missing" });
  });
});

describe("compareWith", () => {
  it("counts the rows that only one has right, whatever the order of the file", async () => {
    await writePredictions(file, [row(7, "b", "b"), row(2, "a", "b"), row(1, "a", "b"), row(9, "a", "a")]);
    const found = await compare([row(1, "a", "a"), row(2, "a", "a"), row(7, "b", "a")]);
    expect(found).toMatchObject({ rows: 3, only_first: 2, only_second: 1, p_value: 1 });
    expect(found.metrics.accuracy!.value).toBeCloseTo(1 / 3, 12);
  });

  it("refuses predictions of other rows", async () => {
    await writePredictions(file, [row(1, "b", "b")]);
    await expect(compare([row(1, "a", "a")])).rejects.toMatchObject({
      code: "input",
      message: `${file} is of other rows: expected the answer "a" for row 1, received the answer "b"`,
    });
    await expect(compare([row(2, "a", "a")])).rejects.toThrow(/for row 2, received nothing/);
  });
});
