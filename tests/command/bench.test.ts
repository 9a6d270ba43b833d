// bench as a user meets it: what it refuses before any work, with which exit code and remedy, and how it is stopped.
import { appendFileSync, existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { DecodeBench } from "../../bench/decode.js";
import { native } from "../../src/support/native.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { writeTextToy } from "../support/text_toy.js";
import { stillroom } from "./program.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-bench-test-"));
const variants = native().variants;
let model = "";
let task = "";
let generate = "";

beforeAll(() => {
  model = writeTextToy();
  const toy = writeToyTask();
  task = toy.file;
  generate = path.join(toy.folder, "generate.yaml");
  const text = readFileSync(task, "utf8")
    .replace("kind: classify", "kind: generate")
    .replace(/^ {2}labels:.*\n/m, "");
  writeFileSync(generate, text.replace("metric: accuracy", "metric: exact_match"));
});

const score = (file: string, ...more: string[]) => [
  "bench",
  "score",
  file,
  "--model",
  model,
  "--peer",
  "none",
  ...more,
];
const tune = (...more: string[]) => ["bench", "tune", "--model", model, "--peer", "none", ...more];
const decode = (...more: string[]) => ["bench", "decode", "--model", model, "--peer", "none", ...more];
const kernels = (...more: string[]) => ["bench", "kernels", "--repeat", "1", ...more];

describe("what is refused", () => {
  it.each<[string, () => string[], number, RegExp]>([
    [
      "a precision that the kernels lack",
      () => kernels("--types", "q4_0", "--precision", "bf16", "--variant", variants.at(-1)!),
      64,
      /expected one of f32.* for --precision, received "bf16", whose products need AVX512_BF16/,
    ],
    [
      "one weight type that is none, before the others are measured",
      () => kernels("--types", "q4_0,foo"),
      64,
      /^error: expected names out of f32, .*iq2_xxs for --types, received "foo"$/m,
    ],
    [
      "a variant that is none",
      () => kernels("--types", "q4_0", "--variant", "foo"),
      64,
      new RegExp(`expected one of ${variants.join(", ")} for --variant, received "foo"`),
    ],
    ["too many products", () => kernels("--types", "q4_0", "--repeat", "1001"), 64, /for --repeat, received 1001/],
    [
      "a quantisation type that is none",
      () => decode("--type", "XYZ123"),
      64,
      /^error: expected a quantisation type for --type, received "XYZ123"; it takes .*Q4_K_M/m,
    ],
    ["a quantisation type that is nearly one", () => decode("--type", "Q8"), 64, /did you mean Q8_0\?/],
    ["agree on free text", () => ["bench", "agree", generate, "--model", model], 65, /expected classify for kind/],
    ["score on free text", () => score(generate), 65, /expected classify for kind, received "generate"/],
    [
      "more turns than there are rows",
      () => score(task, "--rows", "3", "--repeat", "9"),
      64,
      /expected at least 30 test rows for --rows 3 and --repeat 9 \(with the turn that warms up\), received 20; .*--rows 2/,
    ],
    [
      "a rank where there is no adapter",
      () => tune("--method", "full", "--rank", "4"),
      64,
      /expected method "lora" for --rank, received 4/,
    ],
    [
      "rounded products where nothing is frozen",
      () => tune("--method", "full", "--precision", "int8"),
      64,
      /expected "f32" with method "full" for --precision, received "int8"/,
    ],
    [
      "a folder without SST-2",
      () => tune("--work", "dense", "--data", folder),
      69,
      /there is no train\.tsv of SST-2 in .*; .*--data/,
    ],
    [
      "a plot that is none",
      () => ["bench", "growth", "--plots", "rows,foo"],
      64,
      /Expected names out of rows, .*, size, separated by commas/,
    ],
  ])("%s", async (_name, args, code, message) => {
    const ended = await stillroom(args(), { environment: { STILLROOM_SHARED: folder } });
    expect(ended.stderr).toMatch(message);
    expect(ended).toMatchObject({ code, stdout: "" });
    expect(ended.stderr).not.toMatch(/^ +at |GFLOP|quantising/m);
  });
});

it("kernels end after the measurement in hand when they are told to", async () => {
  const signal = { name: "SIGINT", when: /q4_0 576x576 forward/ } as const;
  const ended = await stillroom(kernels("--types", "q4_0", "--repeat", "5"), { signal });
  expect(ended).toMatchObject({ code: 130, stdout: "" });
  expect(ended.stderr).toMatch(/cancelled while measuring kernels/);
  expect(ended.stderr).not.toMatch(/2048x2048/);
});

it("score tells the rows that it leaves out, and ends with 2", async () => {
  const broken = writeToyTask();
  const file = path.join(broken.folder, "test.jsonl");
  writeFileSync(file, `{broken\n${readFileSync(file, "utf8")}`);
  appendFileSync(file, "{behind the rows that are scored\n");
  const ended = await stillroom(score(broken.file, "--rows", "4", "--repeat", "1", "--json"));
  expect(ended.stderr).toMatch(/^warning: .*test\.jsonl:1: /m);
  expect(ended.code).toBe(2);
  expect(JSON.parse(ended.stdout)).toMatchObject({ errors: 1, rows_of_turn: 4 });
});

it("tune takes SST-2 from the folder that is named", async () => {
  const lines = Array.from({ length: 60 }, (_, row) => `a film of ${row} moods that ends too soon\t${row % 2}`);
  const data = mkdtempSync(path.join(folder, "data-"));
  writeFileSync(path.join(data, "train.tsv"), `${["sentence\tlabel", ...lines].join("\n")}\n`);
  const few = await stillroom(tune("--repeat", "3", "--data", data, "--threads", "1", "--work", "sst2"));
  expect(few.stderr).toMatch(/expected at least 64 rows of SST-2 for --repeat .*, received 60/);
  expect(few.code).toBe(64);
  const ended = await stillroom(tune("--repeat", "2", "--data", data, "--threads", "1", "--json", "--work", "sst2"));
  expect(ended.code).toBe(0);
  expect(JSON.parse(ended.stdout)).toMatchObject({ ours: { work: { sst2: { losses: expect.any(Array) } } } });
});

it("decode computes the prompts in every turn, what they share once in each", async () => {
  const sizes = "--sequences 3 --prompt-tokens 40 --answer-tokens 4 --repeat 2 --threads 1".split(" ");
  const computed = async (...more: string[]) => {
    const { ours } = JSON.parse((await stillroom(decode(...sizes, "--json", ...more))).stdout) as DecodeBench;
    return ours.computed_prompt_tokens;
  };
  expect(await computed()).toBe(3 * 41);
  // Whole pages of 32 positions are shared.
  expect(await computed("--shared-prefix")).toBe(32 + 3 * 9);
});

it("decode tells waits and the shares of both peaks, and with --profile where the time went", async () => {
  const sizes = "--sequences 3 --prompt-tokens 40 --answer-tokens 4 --repeat 2 --threads 1".split(" ");
  const { stdout } = await stillroom(decode(...sizes, "--profile"));
  for (const kernel of ["forward +. linear", "forward +. attention", "head +. linear", "forward +. sampling"])
    expect(stdout).toMatch(new RegExp(`decode +. ${kernel} `));
  const { ours } = JSON.parse((await stillroom(decode(...sizes, "--json"))).stdout) as DecodeBench;
  for (const waits of [ours.first_token_seconds!, ours.token_seconds!]) {
    expect(waits.p50).toBeGreaterThan(0);
    expect(waits.p99).toBeGreaterThanOrEqual(waits.p50);
  }
  expect(Math.min(ours.bandwidth_share, ours.fma_share, ours.peak_memory_bytes)).toBeGreaterThan(0);
  expect(ours.profile!.every(({ seconds }) => seconds >= 0)).toBe(true);
});

it("decode and score take turns with node-llama-cpp, and both sides say the same", async () => {
  const sizes = "--sequences 3 --prompt-tokens 40 --answer-tokens 4 --repeat 1 --threads 1 --json".split(" ");
  const decoded = await stillroom(["bench", "decode", "--model", model, "--peer", "node-llama-cpp", ...sizes]);
  expect(decoded.code, decoded.stderr).toBe(0);
  const told = { equal: true, ratio: expect.any(Number), peer: { name: "node-llama-cpp" } };
  expect(JSON.parse(decoded.stdout)).toMatchObject({
    ...told,
    peer: { token_seconds: { p50: expect.any(Number), p99: expect.any(Number) } },
  });
  const rows = "--rows 4 --repeat 1 --shots 2 --threads 1 --json".split(" ");
  const scored = await stillroom(["bench", "score", task, "--model", model, "--peer", "node-llama-cpp", ...rows]);
  expect(scored.code, scored.stderr).toBe(0);
  expect(JSON.parse(scored.stdout)).toMatchObject({ ...told, agreement: expect.any(Number) });
});

it("growth takes names with commas between them", async () => {
  const none = path.join(folder, "none.gguf");
  const ended = await stillroom(["bench", "growth", "--plots", "rows,length", "--peer", "none", "--model", none]);
  expect(ended.code).toBe(69); // the names are taken: it is the model that is missing
});

it("reference says why there is nothing to score", async () => {
  const args = ["--model", model, "--out", path.join(folder, "reference"), "--epochs", "1", "--rank", "2"];
  const ended = await stillroom(["bench", "reference", generate, ...args, "--json"]);
  const reason = "only a task of kind classify has labels to score";
  expect(JSON.parse(ended.stdout)).toMatchObject({ eval: null, reason });
  const scored = await stillroom(["bench", "reference", task, ...args, "--json"]);
  expect(JSON.parse(scored.stdout)).toMatchObject({ eval: expect.stringMatching(/eval\.json$/), reason: null });
});

it("lookup fills the stores that it is given once, and takes turns on them", async () => {
  const stores = path.join(folder, "stores");
  const lookups = ["bench", "lookup", "--peer", "none", "--keys", "300", "--lookups", "100", "--repeat", "1"];
  for (const fill of ["first", "again"]) {
    const { code, stdout, stderr } = await stillroom([...lookups, "--stores", stores, "--json"]);
    expect(code, stderr).toBe(0);
    const result = JSON.parse(stdout);
    expect(result, fill).toMatchObject({ trial: "lookup", keys: 300, lookups_of_turn: 100, http: null, peers: [] });
    expect(result.ours.settings.fill_seconds, fill).toBe(
      Number(readFileSync(path.join(stores, "stillroom-300/filled"), "utf8")),
    );
  }
});

it("lookup --http asks the server that serve is", async ({ skip }) => {
  const found = (process.env.PATH ?? "").split(path.delimiter).some((place) => existsSync(path.join(place, "wrk")));
  if (!found) skip("apt-get install wrk");
  const lookups = ["bench", "lookup", "--http", "--peer", "none", "--keys", "300", "--seconds", "1", "--repeat", "1"];
  const { code, stdout, stderr } = await stillroom([...lookups, "--connections", "4", "--json"]);
  expect(code, stderr).toBe(0);
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({ lookups_of_turn: null, http: { connections: 4, seconds: 1 }, peer: null });
  expect(result.ours.lookups_per_second.median).toBeGreaterThan(0);
});

it("batch answers rows in bulk, and refuses labels that are no one token", async () => {
  const place = mkdtempSync(path.join(folder, "batch-"));
  const rows = Array.from({ length: 40 }, (_, row) =>
    JSON.stringify({ text: `row ${row}`, half: row % 2 ? "e" : "l" }),
  );
  writeFileSync(path.join(place, "rows.jsonl"), `${rows.join("\n")}\n`);
  const file = path.join(place, "task.yaml");
  const spec = (template: string) =>
    `name: halves\nkind: classify\ndata: { test: { path: rows.jsonl } }\nprompt: { template: "${template}" }\nanswer: { field: half, labels: { e: e, l: l } }\n`;
  writeFileSync(file, spec("{{ text }}: "));
  const args = ["bench", "batch", file, "--model", model, "--peer", "none", "--threads", "1", "--repeat", "1"];
  const { code, stdout, stderr } = await stillroom([...args, "--rows", "10", "--json"]);
  expect(code, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ trial: "batch", rows_of_turn: 10, peer: null, equal: null, errors: 0 });
  expect((await stillroom([...args, "--rows", "21"])).stderr).toMatch(
    /expected at least 42 rows of test .* received 40/,
  );
  // A space before each makes two tokens of this toy's.
  writeFileSync(file, spec("{{ text }}:"));
  expect((await stillroom([...args, "--rows", "10"])).stderr).toMatch(/expected labels of one token each/);
});
