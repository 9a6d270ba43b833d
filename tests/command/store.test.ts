// stillroom lookup and stillroom store as a user meets them; a look-up loads neither engine nor model.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { beforeAll, expect, it } from "vitest";
import { packageRoot } from "../../src/model/index.js";
import { openStore } from "../../src/store/index.js";
import { entryOf, maker } from "../store/make.js";
import { writeTextToy } from "../support/text_toy.js";
import { stillroom } from "./program.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-store-command-"));
const store = path.join(folder, "answers");
const lines = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

beforeAll(async () => {
  const made = await openStore(store);
  await made.put([entryOf(1, " a drupe", ["Is a plum a drupe?"]), entryOf(2, "a berry", ["Tomato"])]);
  await made.close();
});

it("lookup prints a line a key, in their order", async () => {
  const ended = await stillroom(["lookup", "is a PLUM a drupe", "Pear", "Tomato", "--store", store]);
  expect(ended).toMatchObject({ code: 0, stderr: "" });
  expect(lines(ended.stdout)).toEqual([
    { key: "is a PLUM a drupe", hit: true, answer: "a drupe", made_by: maker, probabilities: null, ended: "end" },
    { key: "Pear", hit: false, answer: null, made_by: null, probabilities: null, ended: null },
    { key: "Tomato", hit: true, answer: "a berry", made_by: maker, probabilities: null, ended: "end" },
  ]);
  const exact = await stillroom(["lookup", "TOMATO", "--store", store, "--normalise", "none", "--json"]);
  expect(lines(exact.stdout)).toMatchObject([{ hit: false }]);
});

it("lookup reads keys from stdin, and loads no engine", async () => {
  const watch = path.join(folder, "watch.cjs");
  const seen = path.join(folder, "maps.txt");
  writeFileSync(
    watch,
    `process.on("exit", () => require("fs").writeFileSync(${JSON.stringify(seen)}, require("fs").readFileSync("/proc/self/maps")));\n`,
  );
  const program = path.join(packageRoot(), "dist/bin/stillroom.js");
  const child = spawn(process.execPath, ["--require", watch, program, "lookup", "--store", store]);
  const keys = Array.from({ length: 3000 }, (_, number) => (number % 3 === 0 ? "tomato" : `unknown ${number}`));
  child.stdin.end(keys.join("\n"));
  let out = "";
  for await (const piece of child.stdout) out += piece;
  expect(lines(out).map(({ key }) => key)).toEqual(keys);
  expect(lines(out).filter(({ hit }) => hit)).toHaveLength(1000);
  if (process.platform !== "linux") return;
  const maps = readFileSync(seen, "utf8");
  expect(maps).toContain("lmdb");
  expect(maps).not.toMatch(/stillroom\.node|libllama|libggml|\.gguf/);
});

it("a line of stdin that is no text costs that line, and is named", async () => {
  // The second is "tomato" with a byte that is no UTF-8; read as another text it would be known by what is evened out.
  const input = Buffer.from("\xef\xbb\xbfTomato\r\ntomato\xff\n\nto\0mato\ntomato", "latin1");
  const { code, stdout, stderr } = await stillroom(["lookup", "--store", store], { input });
  expect(lines(stdout).map(({ key, hit }) => [key, hit])).toEqual([
    ["Tomato", true],
    ["", false],
    ["tomato", true],
  ]);
  expect(stderr).toMatch(/stdin:2: is not valid UTF-8\n.*stdin:4: holds a NUL character\n/s);
  expect(code).toBe(2);
});

it("store stats, verify, export, import, backup and prune", async () => {
  const [out, other, copy] = ["out.jsonl", "other", "copy"].map((name) => path.join(folder, name)) as [
    string,
    string,
    string,
  ];
  const json = async (args: string[], code = 0) => {
    const ended = await stillroom(["store", ...args, "--json"]);
    expect(ended).toMatchObject({ code });
    return JSON.parse(ended.stdout) as Record<string, unknown>;
  };
  expect(await json(["stats", "--store", store])).toMatchObject({
    answers: 2,
    aliases: 4,
    namespaces: { default: 2 },
    made_by: [{ ...maker, answers: 2 }],
  });
  expect(await json(["export", "--store", store, "--out", out])).toMatchObject({ answers: 2, damaged: 0 });
  expect(await json(["import", out, "--store", other])).toMatchObject({ answers: 2, errors: 0 });
  expect(await json(["verify", "--store", other])).toMatchObject({ answers: 2, aliases: 4, damaged: 0, bad: [] });
  expect(await json(["backup", "--store", other, "--out", copy])).toMatchObject({ answers: 2 });
  expect(await json(["prune", "--store", other, "--older-than", "0s"])).toMatchObject({ removed: 2, answers: 0 });
  writeFileSync(out, readFileSync(out, "utf8").replace("a berry", "a merry"));
  expect(await json(["import", out, "--store", other], 2)).toMatchObject({ answers: 1, errors: 2 });
  const ended = await stillroom(["store", "stats", "--store", copy]);
  expect(ended.stdout).toMatch(/^answers +2$/m);
});

it("store similarity keeps what is near enough, and lookup says what it is near to", async () => {
  const model = writeTextToy();
  const pairs = path.join(folder, "pairs.jsonl");
  const write = (same: boolean) =>
    writeFileSync(
      pairs,
      Array.from({ length: 100 }, (_, row) => {
        const a = `${"abcdefghijklmnopqrstuvwxyz".slice(row % 26)}${row}`.repeat(4);
        return `${JSON.stringify({ a, b: `${a}?!x`, same })}\n`;
      }).join(""),
    );
  const fit = ["store", "similarity", "--store", store, "--model", model, "--threads", "1", "--pairs", pairs];
  const near = ["lookup", "is a plum a drupe?!!y", "--store", store, "--similar", model, "--threads", "1"];
  expect(await stillroom(near)).toMatchObject({ code: 64, stdout: "" });
  write(false);
  const refused = await stillroom([...fit, "--max-false-hits", "0.1", "--json"]);
  expect(refused).toMatchObject({ code: 1 });
  expect(refused.stderr).toMatch(/error: the similarity was not kept in .* for --max-false-hits; /);
  expect(JSON.parse(refused.stdout)).toMatchObject({
    error: { code: "gate" },
    passed: false,
    held_out: { pairs: 50, same: 0 },
  });
  write(true);
  const kept = await stillroom([...fit, "--max-false-hits", "0.1"]);
  expect(kept.stdout).toMatch(/^texts at [01]\.\d{4} or nearer by text-toy count as one/);
  expect(kept).toMatchObject({ code: 0 });
  const found = await stillroom(near);
  expect(lines(found.stdout)).toMatchObject([{ hit: false, similarity: null, similar_to: null }]);
});

it.each<[string, () => string[], number, RegExp]>([
  ["no store", () => ["lookup", "a", "--store", path.join(folder, "none")], 69, /there is no store in/],
  ["no --store", () => ["lookup", "a"], 64, /required option '--store <dir>'/],
  [
    "a normalisation that is none",
    () => ["lookup", "a", "--store", store, "--normalise", "accents"],
    64,
    /for --normalise, received "accents"/,
  ],
  [
    "a time that is none",
    () => ["store", "prune", "--store", store, "--older-than", "soon"],
    64,
    /Expected a time such as/,
  ],
  [
    "an export that is none",
    () => ["store", "import", path.join(packageRoot(), "package.json"), "--store", path.join(folder, "new")],
    65,
    /is no export of a store/,
  ],
])("%s", async (_name, args, code, message) => {
  const ended = await stillroom(args());
  expect(ended.code).toBe(code);
  expect(ended.stderr).toMatch(message);
});
