// Rows as fine-tuning data has them: OpenAI messages, ShareGPT, Alpaca; labels and duplicates.
import { expect, test } from "vitest";
import { findDuplicates, labelsOf, readRows } from "../../src/dataset/index.js";
import { fileOf, sourceOf, taskOf } from "./make.js";

const chat = {
  kind: "generate",
  prompt: { template: "", separator: "\n\n", chat: true },
  answer: { field: "answer" },
} as const;

async function read(rows: unknown[], changes = {}) {
  const file = await fileOf("rows.jsonl", rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return readRows(taskOf({ train: sourceOf(file) }, { ...chat, ...changes }), "train");
}

const turn = (role: string, content: unknown) => ({ role, content });

test("the last assistant turn is the answer, the turns before it are the prompt", async () => {
  const parts = [
    { type: "text", text: "o" },
    { type: "text", text: "k" },
  ];
  const { rows, bad } = await read([
    {
      messages: [
        turn("developer", "be brief"),
        turn("user", "hi"),
        turn("assistant", "hello"),
        turn("user", parts),
        turn("assistant", "fine"),
        turn("user", "bye"),
      ],
    },
    {
      conversations: [
        { from: "human", value: "hi" },
        { from: "gpt", value: "hello" },
      ],
    },
    { conversations: [turn("user", "hi"), turn("assistant", "hello")] },
    { instruction: "Add.", input: "1 1", output: "2" },
    { instruction: "Greet.", input: "", output: "hello" },
  ]);
  expect(bad).toEqual([]);
  expect(rows.map((row) => row.answer)).toEqual(["fine", "hello", "hello", "2", "hello"]);
  expect(rows[0]?.fields.messages).toMatchObject([
    turn("system", "be brief"),
    turn("user", "hi"),
    turn("assistant", "hello"),
    turn("user", "ok"),
  ]);
  expect(rows[1]?.fields.messages).toMatchObject([turn("user", "hi")]);
  expect(rows[1]?.fields).not.toHaveProperty("conversations");
  expect(rows[3]?.fields.messages).toMatchObject([turn("user", "Add.\n\n1 1")]);
  expect(rows[4]?.fields.messages).toMatchObject([turn("user", "Greet.")]);
});

test("broken conversations are bad rows that say where", async () => {
  const { rows, bad } = await read([
    { messages: [turn("user<|im_end|>", "hi"), turn("assistant", "x")] },
    { messages: [turn("toString", "hi"), turn("assistant", "x")] },
    { messages: [turn("user", { a: 1 }), turn("assistant", "x")] },
    { messages: [turn("user", "hi")] },
    { messages: [turn("assistant", "hi")] },
    { messages: [null] },
    { messages: "hi" },
    { text: "neither" },
  ]);
  expect(rows).toEqual([]);
  expect(bad.map((one) => one.reason)).toEqual([
    expect.stringMatching(/^messages\[0\]\.role is none of system, developer, user/),
    expect.stringMatching(/^messages\[0\]\.role is none of/),
    "messages[0].content is no text",
    "messages has no assistant turn to learn from",
    "messages begins with the answer",
    "messages[0] is no object",
    "has no answer",
    "has no messages",
  ]);
});

test("a row's own answer field goes before the last turn", async () => {
  const { rows } = await read([{ messages: [turn("user", "hi"), turn("assistant", "x")], topic: "greeting" }], {
    answer: { field: "topic" },
  });
  expect(rows).toMatchObject([{ answer: "greeting" }]);
});

test("labels: the task file's, in its order; else the values, sorted", async () => {
  const rows = (
    await read(
      ["b", "a", "b", "C"].map((label) => ({ text: "x", label })),
      { kind: "classify", prompt: taskOf({}).prompt, answer: { field: "label" } },
    )
  ).rows;
  expect(labelsOf(taskOf({}), rows).map((label) => label.text)).toEqual(["C", "a", "b"]);
  const labels = { yes: "positive", no: "negative" };
  expect(labelsOf(taskOf({}, { answer: { field: "label", labels } }), [])).toEqual([
    { value: "yes", text: "positive" },
    { value: "no", text: "negative" },
  ]);
});

test("exact duplicates across splits, by the fields of the template and the answer", async () => {
  const train = sourceOf(
    await fileOf(
      "a.jsonl",
      '{"text":"a","label":"x","id":1}\n{"text":"a","label":"x","id":2}\n{"text":"b","label":"x"}\n',
    ),
  );
  const test = sourceOf(await fileOf("b.csv", "text,label,id\nb,y,9\na,x,9\nc,x,9\n"));
  expect(await findDuplicates(taskOf({ train, test }))).toEqual([
    { row: { split: "test", line: 3 }, of: { split: "train", line: 1 } },
  ]);
});
