// docs/cli.md against the program: every option of --help and every field of --json stands there, in its command's section.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../src/model/index.js";
import { openStore } from "../../src/store/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { entryOf } from "../store/make.js";
import { writeTextToy } from "../support/text_toy.js";
import { stillroom } from "./program.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-docs-test-"));
const text = readFileSync(path.join(packageRoot(), "docs/cli.md"), "utf8");
const single = [
  ...["inspect", "prompt", "eval", "compare", "audit"],
  ...["tune", "teach", "distill", "ladder"],
  ...["export", "student"],
  ...["batch", "worker", "lookup", "serve"],
  ...["watch"],
];
const [shared, ...sections] = text.split(new RegExp(`^##+ (?=${[...single, "store", "bench"].join("|")})`, "m"));
const sectionOf = (command: string) => sections.find((section) => section.startsWith(command))!;
const trials = ["tune", "distill", "score", "decode", "growth", "kernels", "agree", "reference", "setup"].map(
  (trial) => `bench ${trial}`,
);
const upkeep = ["stats", "verify", "export", "import", "prune", "backup", "similarity"].map((name) => `store ${name}`);
const commands = [...single, ...upkeep, ...trials];
const run = path.join(folder, "run");
const answers = path.join(folder, "answers");
const pairs = path.join(folder, "pairs.jsonl");
let model = "";
let task = "";

beforeAll(async () => {
  model = writeTextToy();
  task = writeToyTask().file;
  const store = await openStore(answers);
  await store.put([entryOf(1, "one", ["a"])]);
  await store.close();
  writeFileSync(
    pairs,
    ["b", "c", "d", "e"].map((b) => `${JSON.stringify({ a: "aaaa", b: `aaa${b}`, same: true })}\n`).join(""),
  );
  await stillroom(["tune", task, "--model", model, "--out", run, "--steps", "2", "--rank", "2", "--threads", "1"]);
});

/** Of a trial, what all trials have in common as well. */
const sectionsOf = (command: string) =>
  command.startsWith("bench ") ? [sectionOf("bench TRIAL"), sectionOf(command)] : [sectionOf(command)];

/** Names in backquotes, options without their values. */
function named(section: string): Set<string> {
  return new Set([...section.matchAll(/`([^`]+)`/g)].map(([, name]) => name!.split(" ")[0]!));
}

describe.each(commands)("%s", (command) => {
  it("has all its options in docs/cli.md, and no others", async () => {
    const { stdout } = await stillroom([...command.split(" "), "--help"]);
    const options = [...stdout.matchAll(/^ {2}(?:-h, )?(--[\w-]+)/gm)].map(([, name]) => name!);
    const here = [...named(sectionOf(command))].filter((name) => name.startsWith("--"));
    // distill takes what tune takes.
    const alike = command === "distill" ? [...named(sectionOf("tune"))] : [];
    const known = new Set([...here, ...alike, ...named(shared!), "--help"]);
    expect(options.filter((name) => !known.has(name))).toEqual([]);
    expect(here.filter((name) => !options.includes(name))).toEqual([]);
  });
});

const briefly = ["--steps", "2", "--quantize", "Q8_0", "--threads", "1", "--out", `${run}-distilled`];

describe("the fields of --json stand in docs/cli.md:", () => {
  it.each<[string, () => string[]]>([
    ["inspect", () => ["inspect", model]],
    ["prompt", () => ["prompt", task, "--model", model, "--shots", "0,1", "--compare", "--show", "--try", "abc"]],
    ["eval", () => ["eval", task, "--model", model, "--against", model]],
    ["audit", () => ["audit", task, "--model", model, "--against", model]],
    ["compare", () => ["compare", model, `${model}+${run}`, "--task", task]],
    ["tune", () => ["tune", task, "--model", model, "--out", run, "--resume"]],
    ["teach", () => ["teach", task, "--teacher", model, "--out", `${run}-taught`]],
    ["distill", () => [...`distill ${task} --teacher ${model} --student ${model}`.split(" "), ...briefly]],
    [
      "ladder",
      () => ["ladder", task, "--model", model, "--quantize", "Q8_0", "--threads", "1", "--out", `${run}-ladder`],
    ],
    [
      "export",
      () => [
        "export",
        "--model",
        model,
        "--adapter",
        run,
        "--check",
        task,
        "--quantize",
        "Q8_0",
        "--out",
        `${run}.gguf`,
      ],
    ],
    ["student", () => ["student", "--teacher", model, "--task", task, "--layers", "1", "--out", `${run}-student.gguf`]],
    ["batch", () => ["batch", task, "--model", model, "--store", answers, "--out", `${answers}.out`]],
    ["store stats", () => ["store", "stats", "--store", answers]],
    ["store verify", () => ["store", "verify", "--store", answers]],
    ["store export", () => ["store", "export", "--store", answers, "--out", `${answers}.jsonl`]],
    ["store import", () => ["store", "import", `${answers}.jsonl`, "--store", answers]],
    ["store backup", () => ["store", "backup", "--store", answers, "--out", `${answers}-copy`]],
    [
      "store similarity",
      () => ["store", "similarity", "--store", answers, "--model", model, "--pairs", pairs, "--max-false-hits", "0.9"],
    ],
    ["lookup", () => ["lookup", "a", "--store", answers, "--similar", model]],
    ["store prune", () => ["store", "prune", "--store", answers]],
    ["bench score", () => ["bench", "score", task, "--model", model, "--peer", "none", "--rows", "4"]],
    [
      "bench decode",
      () => ["bench", "decode", "--model", model, "--peer", "none", "--sequences", "2", "--answer-tokens", "4"],
    ],
    ["bench kernels", () => ["bench", "kernels", "--types", "q4_0", "--repeat", "1"]],
  ])("%s", async (command, args) => {
    const ended = await stillroom([...args(), "--json"]);
    const found = JSON.parse(ended.stdout) as Record<string, Record<string, unknown>>;
    const inner = ["against", "gate", "compared"].flatMap((name) =>
      Array.isArray(found[name]) ? [] : Object.keys(found[name] ?? {}).map((key) => `${name}.${key}`),
    );
    const known = new Set(sectionsOf(command).flatMap((section) => [...named(section)]));
    // What a run of distill says as one of tune, and as export, is named there.
    if (command === "distill")
      for (const name of [...named(sectionOf("tune")), ...named(sectionOf("export"))]) known.add(name);
    const lines = (found.comparison as unknown as object[] | undefined)?.flatMap((line) => Object.keys(line)) ?? [];
    inner.push(...lines.map((name) => (name === "name" ? "comparison[].name" : `.${name}`)));
    expect([...Object.keys(found), ...inner].filter((name) => !known.has(name))).toEqual([]);
  });
});
