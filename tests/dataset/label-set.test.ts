// Sets of labels in data files: as lists, as JSON in a text and behind a separator; what is none is a bad row that says why.
import { expect, it, test } from "vitest";
import { labelsOf, labelsOfSet, readRows, setText } from "../../src/dataset/index.js";
import type { Task } from "../../src/task/index.js";
import { fileOf, sourceOf, taskOf } from "./make.js";

async function read(name: string, content: string, answer: Partial<Task["answer"]> = {}) {
  const task = taskOf(
    { train: sourceOf(await fileOf(name, content)) },
    { kind: "multilabel", answer: { field: "tags", ...answer } },
  );
  return { task, ...(await readRows(task, "train")) };
}

const jsonl = (...tags: unknown[]) => tags.map((one) => `${JSON.stringify({ text: "a", tags: one })}\n`).join("");

test("lists of JSON Lines: sorted, scalars as their texts, the empty one included; labels are those of the rows", async () => {
  const { rows, bad, task } = await read("rows.jsonl", jsonl(["red", "big"], [], [2, true], '["big","red"]'));
  expect(bad).toEqual([]);
  expect(rows.map(({ answer }) => answer)).toEqual(['["big","red"]', "[]", '["2","true"]', '["big","red"]']);
  expect(labelsOf(task, rows).map(({ text }) => text)).toEqual(["2", "big", "red", "true"]);
});

test("values of the task file stand for their texts", async () => {
  const { rows, bad } = await read("rows.jsonl", jsonl(["0", 1], ["2"]), { labels: { 0: "zero", 1: "one" } });
  expect(rows).toMatchObject([{ answer: '["one","zero"]', value: '["0","1"]' }]);
  expect(bad).toMatchObject([{ line: 2, reason: 'tags lists "2", which is none of 0, 1' }]);
});

test("CSV: JSON in a field, or labels behind a separator, where an empty field is the empty set", async () => {
  const json = await read("rows.csv", 'text,tags\na,"[""red"",""big""]"\nb,[]\nc,red\nd,\n');
  expect(json.rows.map(({ answer }) => answer)).toEqual(['["big","red"]', "[]"]);
  expect(json.bad.map(({ line }) => line)).toEqual([4, 5]);
  const parted = await read("rows.csv", "text,tags\na,red; big\nb,\nc,red;;big\nd,red\n", { separator: ";" });
  expect(parted.rows.map(({ answer }) => answer)).toEqual(['["big","red"]', "[]", '["red"]']);
  expect(parted.bad).toMatchObject([{ line: 4, reason: 'tags lists "", which is no label' }]);
});

it.each<[string, unknown, string]>([
  [
    "a label alone",
    "red",
    'tags "red" is no list of labels: write ["a", "b"], or name answer.separator in the task file',
  ],
  ["a number", 3, "tags 3 is no list of labels"],
  ["an object", { red: true }, 'tags {"red":true} is no list of labels'],
  ["a label twice", ["red", "big", "red"], 'tags lists "red" twice'],
  ["null among them", ["red", null], "tags lists null, which is no label"],
  ["a list among them", [["red"]], 'tags lists ["red"], which is no label'],
  ["a blank one", ["red", " "], 'tags lists " ", which is no label'],
  ["null", null, "has no tags (it is null)"],
])("%s is a bad row", async (_name, tags, reason) => {
  const { rows, bad } = await read("rows.jsonl", jsonl(["red"], tags));
  expect(rows).toHaveLength(1);
  expect(bad).toMatchObject([{ line: 2, reason }]);
});

test("equal sets have equal texts, and other texts are none", () => {
  expect(setText(["b", "a"])).toBe(setText(["a", "b"]));
  expect(labelsOfSet(setText(["b", 'a"'])).sort()).toEqual(['a"', "b"]);
  for (const wrong of ["a", '"a"', "[1]", "{}", ""])
    expect(() => labelsOfSet(wrong)).toThrow(/expected a JSON list of labels for an answer/);
});
