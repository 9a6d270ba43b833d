// Outputs that would take the place of something else: refused before any work, and what lies there stays as it is.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { beforeAll, expect, it } from "vitest";
import { openStore } from "../../src/store/index.js";
import { stillroom } from "../command/program.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { entryOf } from "../store/make.js";
import { writeTextToy } from "../support/text_toy.js";
import { refusedToNobody } from "./nobody.js";

const folder = mkdtempSync(path.join(tmpdir(), "stillroom-outputs-"));
const answers = path.join(folder, "answers");
const model = writeTextToy();
const task = writeToyTask({ rows: 40 }).file;

beforeAll(async () => {
  const store = await openStore(answers);
  await store.put([entryOf(1, "one", ["a"])]);
  await store.close();
});

it.each<[string, string, string[]]>([
  ["a page over the task", task, ["eval", task, "--model", model, "--limit", "2", "--report", task]],
  ["a page over the model", model, ["eval", task, "--model", model, "--limit", "2", "--report", model]],
  ["a student over a task", task, ["student", "--teacher", model, "--task", task, "--layers", "1", "--out", task]],
  ["an export over a task", task, ["export", "--model", model, "--quantize", "Q8_0", "--out", task]],
  [
    "an export of a store over the store",
    path.join(answers, "data.mdb"),
    ["store", "export", "--store", answers, "--out", path.join(answers, "data.mdb")],
  ],
])("%s is refused", async (_, file, args) => {
  const before = readFileSync(file);
  const { code, stderr } = await stillroom(args);
  expect(code, stderr).toBe(64);
  expect(stderr).toContain(file);
  expect(stderr).toMatch(/choose another/);
  expect(readFileSync(file).equals(before)).toBe(true);
});

it.each<[string, string, string[]]>([
  ["a page", "folder.html", ["eval", task, "--model", model, "--limit", "2", "--report"]],
  ["a student", "folder.gguf", ["student", "--teacher", model, "--task", task, "--layers", "1", "--out"]],
])("%s over a folder is refused", async (_, name, args) => {
  const taken = path.join(folder, name);
  mkdirSync(taken);
  const { code, stderr } = await stillroom([...args, taken]);
  expect(code, stderr).toBe(74);
  expect(stderr).toContain(`cannot write ${taken}: it is a folder; choose another file`);
});

it.each([
  ["a page", "closed.html", "report/place.js", "requirePlace(file)", "so it may be no HTML page"],
  ["a model", "closed.gguf", "support/inputs.js", 'requireSameKind(file, "GGUF", "GGUF")', "so it may be no GGUF"],
  ["a model card", "closed.md", "export/card.js", "requireOwnCard(file)", "is the name of the model card"],
])("%s over a file that this user may not read is refused", async (_, name, module, call, said) => {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "stillroom-closed-")), name);
  writeFileSync(file, "precious");
  chmodSync(path.dirname(file), 0o777);
  chmodSync(file, 0);
  const stdout = await refusedToNobody(file, module, call);
  expect(stdout).toMatch(/^io /);
  expect(stdout).toContain(file);
  expect(stdout).toContain(said);
  expect(stdout).toContain("this user has no right to it; chmod or chown gives it; or choose another file");
});

it("a page and the predictions of one evaluation are two files", async () => {
  const both = path.join(folder, "both");
  const { code, stderr } = await stillroom(["eval", task, "--model", model, "--predictions", both, "--report", both]);
  expect(code, stderr).toBe(64);
  expect(existsSync(both)).toBe(false);
});

it("a page that is there is written anew", async () => {
  const page = path.join(folder, "page.html");
  for (const limit of ["2", "3"]) {
    const { code, stderr } = await stillroom(["eval", task, "--model", model, "--limit", limit, "--report", page]);
    expect(code, stderr).toBe(0);
  }
  expect(readFileSync(page, "utf8")).toContain("--limit 3");
});

it.each([
  ["a folder", "errors", "it is a folder; choose another file"],
  ["below a file", "plain/errors.jsonl", "a file stands where a folder is expected"],
])("a batch whose errors are to lie at %s begins no work", async (_, name, said) => {
  const [store, out, errors] = ["begun", "begun.jsonl", name].map((one) => path.join(folder, one)) as [
    string,
    string,
    string,
  ];
  mkdirSync(path.join(folder, "errors"), { recursive: true });
  writeFileSync(path.join(folder, "plain"), "");
  const args = ["batch", task, "--model", model, "--store", store, "--out", out, "--errors", errors];
  const { code, stderr } = await stillroom(args);
  expect(code, stderr).toBe(74);
  expect(stderr).toContain(`cannot write ${errors}: ${said}`);
  expect(existsSync(out) || existsSync(store)).toBe(false);
});

it("plots that cannot be written are told before anything is measured", async () => {
  const out = path.join(folder, "blocked");
  mkdirSync(path.join(out, "rows.json"), { recursive: true });
  const args = ["bench", "growth", "--model", model, "--plots", "length,rows", "--peer", "none", "--repeat", "1"];
  for (const [place, said] of [
    [out, `cannot write ${path.join(out, "rows.json")}: it is a folder`],
    [path.join(task, "below"), `cannot make the folder ${path.join(task, "below")}: ${task} is there and is no folder`],
  ]) {
    const { code, stderr } = await stillroom([...args, "--out", place!]);
    expect(code, stderr).toBe(74);
    expect(stderr).toContain(said);
    expect(readdirSync(out)).toEqual(["rows.json"]);
  }
});

it("store prune begins no store", async () => {
  const none = path.join(folder, "none");
  const { code, stderr } = await stillroom(["store", "prune", "--store", none]);
  expect(code, stderr).toBe(69);
  expect(existsSync(none)).toBe(false);
});
