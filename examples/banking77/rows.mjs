// The rows that student.sh learns and measures with. node examples/banking77/rows.mjs FOLDER OUT: FOLDER has train.csv and test.csv. Of the training
// rows, in the order of a hash, 3,000 keep their labels, 400 are for validation, and of all others only the texts are used. With OUT/written.jsonl
// there, the teacher's answers to those texts, OUT/told.yaml too: the labelled rows and what the teacher said, where it is one of the labels.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parse } from "csv-parse/sync";

const [folder, out] = process.argv.slice(2);
const refuse = (message) => {
  process.stderr.write(`examples/banking77/rows.mjs: ${message}\n`);
  process.exit(65);
};
if (!out) refuse("expected FOLDER OUT");
const file = (name) => path.join(out, name);
const hash = ({ text, category }) => createHash("sha256").update(`${category}\0${text}`).digest("hex");
const shuffled = (name) =>
  parse(readFileSync(path.join(folder, name)), { columns: true, bom: true })
    .map((row) => ({ row, key: hash(row) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map(({ row }) => row);
const linesOf = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
const jsonLines = (name, rows) => writeFileSync(file(name), linesOf(rows));
const task = (name, kind, data, metric) =>
  writeFileSync(
    file(`${name}.yaml`),
    `name: banking77
kind: ${kind}
data: ${JSON.stringify(data)}
prompt:
  instruction: Name the intent of a bank customer's message.
  template: "Message: {{ text | trim }}\\nIntent:"
  separator: "\\n\\n"
answer: { field: category }
metric: ${metric}
`,
  );

const rows = shuffled("train.csv");
const tests = shuffled("test.csv");
for (const row of [rows[0], tests[0]])
  if (!row?.text || !row.category)
    refuse(`expected rows with text and category in train.csv and test.csv of ${folder}`);
if (rows.length <= 3400) refuse(`expected more than 3400 rows in ${folder}/train.csv, found ${rows.length}`);
const labelled = rows.slice(0, 3000);
const texts = rows.slice(3400).map(({ text }) => ({ text }));
const others = { validation: "validation.jsonl", test: "test.jsonl" };
mkdirSync(out, { recursive: true });
// What is there was made of these rows, or is somebody else's.
if (existsSync(file("labelled.jsonl")) && readFileSync(file("labelled.jsonl"), "utf8") !== linesOf(labelled))
  refuse(`${out} has a labelled.jsonl of other rows: choose another OUT`);
jsonLines("labelled.jsonl", labelled);
jsonLines("validation.jsonl", rows.slice(3000, 3400));
jsonLines("texts.jsonl", texts);
jsonLines("test.jsonl", tests);
task("labels", "classify", { train: "labelled.jsonl", ...others }, "accuracy");
task("write", "generate", { test: "texts.jsonl" }, "exact_match");
if (existsSync(file("written.jsonl"))) {
  const known = new Set(labelled.map(({ category }) => category));
  const told = readFileSync(file("written.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line))
    .map(({ index, prediction }) => ({ text: texts[index].text, category: prediction }))
    .filter(({ category }) => known.has(category));
  jsonLines("told.jsonl", [...labelled, ...told]);
  task("told", "classify", { train: "told.jsonl", ...others }, "accuracy");
  process.stdout.write(`${told.length} of ${texts.length} texts with an answer that is a label\n`);
}
