// The rows of the creatures example: what its README says of them.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "csv-parse/sync";
import { describe, expect, it } from "vitest";
import { readRows } from "../../src/dataset/index.js";
import { readTask } from "../../src/task/index.js";

const folder = new URL("../../examples/creatures/", import.meta.url);
const read = (file: string) =>
  parse(readFileSync(new URL(file, folder), "utf8"), { columns: true }) as Record<string, string>[];
const train = read("train.csv");
const test = read("test.csv");

describe("the rows of creatures", () => {
  it("are as many as the README says, with trimmed fields, and no definition stands twice", () => {
    expect([train.length, test.length]).toEqual([422, 282]);
    for (const row of [...train, ...test]) {
      expect(Object.keys(row)).toEqual(["name", "definition", "kind", "region"]);
      for (const text of Object.values(row)) expect(text).toMatch(/^\S(.*\S)?$/);
    }
    expect(new Set([...train, ...test].map(({ definition }) => definition)).size).toBe(704);
  });

  it("have nine kinds, all of them in both files; mammals are 29 % of the test rows", () => {
    const kinds = new Set(train.map(({ kind }) => kind));
    expect(kinds.size).toBe(9);
    expect(new Set(test.map(({ kind }) => kind))).toEqual(kinds);
    expect(test.filter(({ kind }) => kind === "mammal").length / test.length).toBeCloseTo(0.29, 2);
  });

  it("are read by the task without a bad row", async () => {
    const task = await readTask(fileURLToPath(new URL("task.yaml", folder)));
    for (const split of ["train", "validation", "test"] as const) {
      const { rows, bad } = await readRows(task, split);
      expect(bad).toEqual([]);
      expect(rows.length).toBeGreaterThan(50);
    }
  });
});
