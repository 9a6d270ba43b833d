// The data sets that the results are measured on, read as their task files would.
import { expect } from "vitest";
import { labelsOf, readRows, streamRows } from "../../src/dataset/index.js";
import { needs, sharedPath } from "../support/needs.js";
import { sourceOf, taskOf } from "./make.js";

const testShared = needs("shared");

testShared("SST-2: 67,349 training and 872 development rows, one validation row in twenty", async () => {
  const data = (name: string, column: string) => sourceOf(sharedPath("data", "sst2", name), { text: column });
  const labels = { "0": "negative", "1": "positive" };
  const task = taskOf(
    {
      train: data("train.tsv", "sentence"),
      test: data("dev.tsv", "content"),
      validation: { from: "train", fraction: 0.05, stratify: "label", seed: 1 },
    },
    { answer: { field: "label", labels } },
  );
  const counts: Record<string, number> = {};
  for (const split of ["train", "validation", "test"] as const) {
    const onBad = (bad: unknown) => expect(bad).toBeUndefined();
    let rows = 0;
    for await (const _row of streamRows(task, split, { onBad })) rows += 1;
    counts[split] = rows;
  }
  expect(counts).toEqual({ train: 67349 - 3367, validation: 3367, test: 872 });
  const unsplit = await readRows(taskOf({ test: data("test.tsv", "content") }, { answer: task.answer }), "test");
  expect([unsplit.rows.length, unsplit.bad.length]).toEqual([1821, 0]);
});

testShared("banking77: 10,003 and 3,080 rows in 77 intents, line ends inside fields", async () => {
  const data = (name: string) => sourceOf(sharedPath("data", "banking77", name));
  const task = taskOf({ train: data("train.csv"), test: data("test.csv") }, { answer: { field: "category" } });
  const [train, held] = [await readRows(task, "train"), await readRows(task, "test")];
  expect([train.rows.length, held.rows.length, train.bad.length + held.bad.length]).toEqual([10003, 3080, 0]);
  expect(labelsOf(task, train.rows)).toHaveLength(77);
  expect(train.rows.some((row) => String(row.fields.text).includes("\n"))).toBe(true);
});
