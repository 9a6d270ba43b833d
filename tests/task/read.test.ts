// Task files: the contract's own example, the defaults, and a named place and remedy for every mistake.
import { mkdtemp, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { StillroomError } from "../../src/support/errors.js";
import { readTask } from "../../src/task/index.js";

const contract = `name: sst2
kind: classify                    # classify | regress | generate
data:
  train: { path: train.tsv, columns: { text: sentence } }   # field: column; a field of the same name needs no entry
  test:  { path: dev.tsv,   columns: { text: content } }
  validation: { from: train, fraction: 0.05, stratify: label, seed: 1 }   # or group: FIELD, or a path
prompt:
  instruction: Decide whether the sentiment of a movie review is positive or negative.
  template: "Review: {{ text }}\\nSentiment:"                # Jinja over the row's fields
  separator: "\\n\\n"                                         # between examples
  chat: false                                               # true: through the model's own chat template
answer:
  field: label
  labels: { "0": negative, "1": positive }                  # classify; omitted: the values themselves
metric: accuracy
`;

async function write(text: string, name = "task.yaml"): Promise<string> {
  const file = path.join(await mkdtemp(path.join(os.tmpdir(), "stillroom-task-")), name);
  await writeFile(file, text);
  return file;
}

async function refusal(text: string, name?: string): Promise<string> {
  const error = await readTask(await write(text, name)).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(StillroomError);
  expect((error as StillroomError).code).toBe("input");
  return (error as StillroomError).message;
}

test("reads the example of the contract", async () => {
  const file = await write(contract);
  const folder = path.dirname(file);
  expect(await readTask(file)).toEqual({
    name: "sst2",
    kind: "classify",
    file,
    data: {
      train: { path: path.join(folder, "train.tsv"), format: "tsv", columns: { text: "sentence" } },
      test: { path: path.join(folder, "dev.tsv"), format: "tsv", columns: { text: "content" } },
      validation: { from: "train", fraction: 0.05, stratify: "label", seed: 1 },
    },
    prompt: {
      instruction: "Decide whether the sentiment of a movie review is positive or negative.",
      template: "Review: {{ text }}\nSentiment:",
      separator: "\n\n",
      chat: false,
    },
    answer: { field: "label", labels: { "0": "negative", "1": "positive" } },
    metric: "accuracy",
    maxTokens: 64,
  });
});

test("the folder of --data replaces the task file's own", async () => {
  const task = await readTask(await write(contract), { data: "/elsewhere" });
  expect(task.data.train?.path).toBe("/elsewhere/train.tsv");
});

test("reads JSON, and gives defaults", async () => {
  const text = JSON.stringify({
    name: "echo",
    kind: "generate",
    data: { train: "rows.data", test: { path: "/abs/rows.ndjson" } },
    prompt: { chat: true },
  }).replace('"rows.data"', '{"path":"rows.data","format":"parquet"}');
  const task = await readTask(await write(text, "task.json"));
  expect(task.data.train?.format).toBe("parquet");
  expect(task.data.test).toMatchObject({ path: "/abs/rows.ndjson", format: "jsonl" });
  expect(task.prompt).toEqual({ template: "", separator: "\n\n", chat: true });
  expect(task).toMatchObject({ answer: { field: "answer" }, metric: "exact_match", maxTokens: 64 });
});

test("a label named __proto__ stays a label", async () => {
  const task = await readTask(await write(contract.replace('"0": negative', '"__proto__": negative')));
  expect(Object.entries(task.answer.labels ?? {})).toContainEqual(["__proto__", "negative"]);
  expect(({} as Record<string, unknown>).negative).toBeUndefined();
});

describe("refusals name the file, the field and the remedy", () => {
  const cases: [string, (text: string) => string, RegExp][] = [
    [
      "an unknown field",
      (text) => text.replace("prompt:", "promt:"),
      /task\.yaml: unknown field promt; did you mean prompt\?/,
    ],
    [
      "an unknown field inside",
      (text) => text.replace("columns: { text: sentence", "colums: { text: sentence"),
      /unknown field data\.train\.colums; did you mean columns\?/,
    ],
    [
      "an unknown field of a split",
      (text) => text.replace("fraction", "fracton"),
      /unknown field data\.validation\.fracton; did you mean fraction\?/,
    ],
    ["an unknown field far from all", (text) => `${text}zzzzzzzz: 1\n`, /unknown field zzzzzzzz; known are name, kind/],
    [
      "a metric of another kind",
      (text) => text.replace("kind: classify", "kind: regress"),
      /expected one of mae, rmse, pearson, spearman, r2 \(kind regress\) for metric in .*task\.yaml, received "accuracy"/,
    ],
    [
      "no kind",
      (text) => text.replace(/^kind: .*$/m, ""),
      /expected one of classify, multilabel, regress, generate for kind in .*task\.yaml, received undefined$/,
    ],
    [
      "an unknown kind",
      (text) => text.replace("kind: classify", "kind: clasify"),
      /expected one of classify, multilabel, regress, generate for kind in .*task\.yaml, received "clasify"; did you mean classify\?$/,
    ],
    [
      "a metric of the other kind",
      (text) => text.replace("metric: accuracy", "metric: f1"),
      /expected one of accuracy, macro_f1, weighted_f1, log_loss, brier \(kind classify\) for metric/,
    ],
    [
      "a value of the wrong type",
      (text) => text.replace("fraction: 0.05", "fraction: many"),
      /expected a number for data\.validation\.fraction in .*, received "many"/,
    ],
    [
      "a fraction of 1",
      (text) => text.replace("fraction: 0.05", "fraction: 1"),
      /expected a number below 1 for data\.validation\.fraction in .*, received 1/,
    ],
    [
      "a nested value of the wrong type",
      (text) => text.replace("columns: { text: sentence", "columns: { text: 3"),
      /expected a text that is not empty for data\.train\.columns\.text in .*, received 3/,
    ],
    [
      "a blank column of the audit",
      (text) => `${text}audit: { columns: [label, " "] }\n`,
      /expected a text that is not blank for audit\.columns\.1 in .*, received " "/,
    ],
    [
      "a missing field",
      (text) => text.replace("name: sst2\n", ""),
      /expected a text for name in .*, received undefined/,
    ],
    [
      "stratify and group",
      (text) => text.replace("stratify: label", "stratify: label, group: label"),
      /takes stratify or group, not both/,
    ],
    [
      "an unknown extension",
      (text) => text.replace("train.tsv", "train.xlsx"),
      /expected a file ending in \.jsonl, .* for data\.train\.path/,
    ],
    [
      "a broken template",
      (text) => text.replace("{{ text }}", "{{ text }"),
      /expected a Jinja template for prompt\.template in .*task\.yaml/,
    ],
    [
      "a template that prints the answer",
      (text) => text.replace("{{ text }}", "{{ text }} {{ label }}"),
      /prompt\.template prints label, which is answer\.field/,
    ],
    [
      "two values of one text",
      (text) => text.replace('"1": positive', '"1": negative'),
      /two values have the same text "negative"/,
    ],
    [
      "two values whose texts differ by white space",
      (text) => text.replace('"1": positive', '"1": "negative "'),
      /two values have the same text "negative"/,
    ],
    [
      "an empty template",
      (text) => text.replace(/template: ".*"/, 'template: ""'),
      /expected a Jinja template over the fields of a row for prompt\.template in .*, received ""$/,
    ],
    ["a blank template", (text) => text.replace(/template: ".*"/, 'template: " "'), /template in .*, received " "$/],
    ["no template", (text) => text.replace(/ {2}template: .*\n/, ""), /template in .*, received undefined$/],
    [
      "a template that ends too early",
      (text) => text.replace("{{ text }}", "{% for c in text %}"),
      /expected a Jinja template for .*: a block or an expression is not closed$/,
    ],
    ["two documents", (text) => `${text}---\n${text}`, /not a readable task file: it holds more than one document$/],
    [
      "a drawn split without its file",
      (text) => text.replace(/ {2}train: .*\n/, ""),
      /data\.validation\.from names train, and data\.train is no file/,
    ],
    ["broken YAML", (text) => text.replace("data:", "data: ["), /task\.yaml is not a readable task file/],
    [
      "the same field twice",
      (text) => `${text}metric: accuracy\n`,
      /not a readable task file: Map keys must be unique/,
    ],
  ];
  test.each(cases)("%s", async (_name, change, message) => {
    const text = change(contract);
    expect(text).not.toBe(contract);
    expect(await refusal(text)).toMatch(message);
  });

  test("labels of a generate task", async () => {
    expect(await refusal(contract.replace("kind: classify", "kind: generate").replace("metric: accuracy", ""))).toMatch(
      /answer\.labels is for kinds classify, multilabel and regress, not generate$/,
    );
  });

  test("a separator of labels where there is one label", async () => {
    expect(await refusal(contract.replace("  field: label", '  field: label\n  separator: ";"'))).toMatch(
      /answer\.separator is for kind multilabel, not classify$/,
    );
  });

  test("YAML that grows by aliases", async () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${[..."bcdefghi"].map((c, i) => `${c}: &${c} [${Array(9).fill(`*${"abcdefgh"[i]}`).join(",")}]`).join("\n")}\n`;
    expect(await refusal(bomb)).toMatch(/Excessive alias count/);
  });

  test("no file, no text", async () => {
    await expect(readTask("/nowhere/task.yaml")).rejects.toThrow(
      /cannot read the task file \/nowhere\/task\.yaml: there is no such file or folder$/,
    );
    await expect(readTask(os.tmpdir())).rejects.toThrow(
      /cannot read the task file .*: it is a folder, and a file is expected$/,
    );
    const latin = await write("");
    await writeFile(latin, Buffer.from("name: caf\xe9\n", "latin1"));
    await expect(readTask(latin)).rejects.toThrow(/task\.yaml: it is not valid UTF-8$/);
    expect(await refusal("", "task.json")).toMatch(/not a readable task file/);
    expect(await refusal("just a text")).toMatch(/expected a mapping for .*task\.yaml, received "just a text"/);
  });
});
