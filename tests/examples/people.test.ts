// The rows of the people example: what its README says of them, and that the task reads them as sets.
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { labelsOf, labelsOfSet, readRows } from "../../src/dataset/index.js";
import { readTask } from "../../src/task/index.js";

it("are as many as the README says, none twice, and are read as sets of fourteen labels", async () => {
  const task = await readTask(fileURLToPath(new URL("../../examples/people/task.yaml", import.meta.url)));
  const splits = await Promise.all((["train", "validation", "test"] as const).map((split) => readRows(task, split)));
  expect(splits.flatMap(({ bad }) => bad)).toEqual([]);
  expect(splits.map(({ rows }) => rows.length)).toEqual([450, 150, 400]);
  const rows = splits.flatMap((split) => split.rows);
  expect(new Set(rows.map(({ fields }) => fields.definition)).size).toBe(1000);
  const sizes = rows.map(({ answer }) => labelsOfSet(answer).length);
  expect(sizes.filter((size) => size === 0)).toHaveLength(283);
  expect(sizes.filter((size) => size > 1)).toHaveLength(34);
  // Labels come from the training rows alone: all that the other rows have are among them.
  expect(labelsOf(task, splits[0]!.rows).map(({ text }) => text)).toEqual(labelsOf(task, rows).map(({ text }) => text));
  expect(labelsOf(task, rows)).toHaveLength(14);
});
