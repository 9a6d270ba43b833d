// A student's vocabulary: texts of kept tokens are cut as the teacher cuts them, every other text still comes back whole, and it is told as a trimmed form of
// the teacher's.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { getLlama, LlamaLogLevel, readGgufFileInfo } from "node-llama-cpp";
import { beforeAll, describe, expect, it } from "vitest";
import { prompt } from "../../src/jobs/index.js";
import { type Model, openModel } from "../../src/model/index.js";
import { makeStudent, type StudentProgress } from "../../src/student/index.js";
import { type NativeTokenizer, native } from "../../src/support/native.js";
import { Random } from "../../src/support/random.js";
import { readTask, type Task } from "../../src/task/index.js";
import { packTexts } from "../../src/tokens/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import type { Metadata } from "../support/gguf.js";
import { needs, sharedPath } from "../support/needs.js";
import { byteAlphabet, textToy, writeTextToy } from "../support/text_toy.js";

const testShared = needs("shared");
const base = mkdtempSync(path.join(os.tmpdir(), "stillroom-vocabulary-"));
process.env.XDG_CACHE_HOME = path.join(base, "cache");
let count = 0;
const fresh = () => path.join(base, `${++count}.gguf`);

/** The metadata by node-llama-cpp's reader, as one level of keys. */
async function readMetadata(file: string): Promise<Record<string, unknown>> {
  const flat: Record<string, unknown> = {};
  const walk = (value: object, at: string) => {
    for (const [name, inner] of Object.entries(value)) {
      const key = at ? `${at}.${name}` : name;
      if (inner !== null && typeof inner === "object" && !Array.isArray(inner)) walk(inner, key);
      else flat[key] = inner;
    }
  };
  walk((await readGgufFileInfo(file, { logWarnings: false })).metadata, "");
  return flat;
}
/** For each token of a student its number in the teacher's vocabulary. */
const teacherIds = async (file: string, { path }: { path: string }) => [...(await native().trimmedTokens(file, path))!];

/** A task whose rows are these texts. */
async function taskOf(texts: readonly string[], answer = "early"): Promise<Task> {
  const { file, folder } = writeToyTask({ validation: false });
  writeFileSync(
    path.join(folder, "train.jsonl"),
    texts.map((text) => `${JSON.stringify({ text, half: answer })}\n`).join(""),
  );
  return readTask(file);
}

/** Byte-level BPE over "low", "lower", "newest" and so on, and control tokens. */
const merges = [
  "l o",
  "lo w",
  "e r",
  "low er",
  "n e",
  "ne w",
  "e s",
  "es t",
  "new est",
  "Ġ low",
  "Ġ new",
  "Ġnew est",
  "Ġlow er",
];
const bytePair = [...byteAlphabet(), ...merges.map((merge) => merge.replace(" ", "")), "<s>", "</s>"];
/** SentencePiece: unknown, controls, bytes, characters, then pieces with falling scores. */
const pieces = ["lo", "low", "er", "lower", "ne", "new", "es", "est", "newest", "▁low", "▁new", "▁newest", "▁lower"];
const characters = [..."▁abcdefghijklmnopqrstuvwxyz:.é"];
const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
const sentencePiece = ["<unk>", "<s>", "</s>", ...bytes, ...pieces, ...characters];

function writeTeacher(kind: "gpt2" | "llama", change: Metadata = {}): string {
  const tokens = kind === "gpt2" ? bytePair : sentencePiece;
  const types = tokens.map((text) =>
    /^<\/?s>$/.test(text) ? 3 : text === "<unk>" ? 2 : kind === "llama" && /^<0x/.test(text) ? 6 : 1,
  );
  const further =
    kind === "gpt2"
      ? {
          "tokenizer.ggml.merges": merges,
          "tokenizer.ggml.bos_token_id": tokens.length - 2,
          "tokenizer.ggml.eos_token_id": tokens.length - 1,
        }
      : {
          "tokenizer.ggml.model": "llama",
          "tokenizer.ggml.bos_token_id": 1,
          "tokenizer.ggml.eos_token_id": 2,
          "tokenizer.ggml.unknown_token_id": 0,
          "tokenizer.ggml.scores": {
            type: "array" as const,
            of: "f32" as const,
            value: tokens.map((_, token) => (token < 259 ? 0 : 259 - token)),
          },
        };
  return writeTextToy(
    { ...further, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types, ...change },
    { ...textToy, vocabulary: tokens.length },
  );
}

/** Student tokens in the teacher's numbers. */
const back = (ids: readonly number[], tokens: Int32Array) => [...tokens].map((token) => ids[token]!);

/** Checks a student's tokenizer on texts; gives how many of them are made of kept tokens. */
function compare(
  teacher: NativeTokenizer,
  student: NativeTokenizer,
  ids: readonly number[],
  texts: Iterable<string>,
): number {
  const kept = new Set(ids);
  let same = 0;
  for (const text of texts) {
    const [theirs, ours] = [teacher.tokenize(text, true, false), student.tokenize(text, true, false)];
    if ([...theirs].every((token) => kept.has(token))) {
      expect(back(ids, ours)).toEqual([...theirs]);
      same++;
    }
    expect(student.detokenize(ours, false)).toBe(teacher.detokenize(theirs, false));
  }
  return same;
}

it("SentencePiece of the same tokens differs by its scores, and by the space before a text", async () => {
  const one = writeTeacher("llama");
  const told = (change: Metadata) => native().tokenizerDifference(one, writeTeacher("llama", change));
  const scores = { type: "array", of: "f32", value: sentencePiece.map((_, token) => -token) } as const;
  expect(await told({ "tokenizer.ggml.scores": scores })).toMatch(
    /^tokenizer\.ggml\.scores of .*gguf and .*gguf differ$/,
  );
  const space = await told({ "tokenizer.ggml.add_space_prefix": false });
  expect(space).toMatch(/^tokenizer\.ggml\.add_space_prefix is true in .*gguf and false in /);
  // What llama.cpp takes where a file is silent.
  expect(await told({ "tokenizer.ggml.add_space_prefix": true })).toBeNull();
});

describe.each(["gpt2", "llama"] as const)("the vocabulary of a %s tokenizer", (kind) => {
  let teacher: Model;
  beforeAll(async () => {
    teacher = await openModel(writeTeacher(kind), { threads: 1 });
  });

  it("keeps what the texts need, the pieces that it is merged from, bytes and control tokens", async () => {
    const out = fresh();
    const found = await makeStudent({
      teacher,
      task: await taskOf(["newest lower"]),
      vocabulary: await taskOf(["newest lower"]),
      out,
    });
    const metadata = await readMetadata(out);
    const tokens = metadata["tokenizer.ggml.tokens"] as string[];
    expect(found.vocabulary).toBe(tokens.length);
    for (const text of ["new", "est", "lo", "low", "er", "<s>", "</s>"]) expect(tokens).toContain(text);
    expect(tokens).not.toContain(kind === "gpt2" ? "Ġnewest" : "▁lo");
    const all = kind === "gpt2" ? bytePair : sentencePiece;
    const ids = await teacherIds(out, teacher.info);
    expect(ids.map((id) => all[id])).toEqual(tokens);
    expect(metadata["tokenizer.ggml.eos_token_id"]).toBe(tokens.indexOf("</s>"));
    expect(found.tokens.student).toBe(found.tokens.teacher);
    // Softmax over fewer tokens.
    expect(found.loss.student).toBeLessThan(found.loss.teacher + 0.001);
  });

  it("agrees with the teacher's on texts of kept tokens, and loses no character of the others", async () => {
    const out = fresh();
    const words = ["low", "lower", "new", "newest", "est", " ", "  ", "er", ":", "é", "\n", "东", "🍑", "lo we", "x"];
    const random = new Random(3);
    const text = (most: number) =>
      Array.from({ length: 1 + random.below(most) }, () => words[random.below(words.length)]).join("");
    const task = await taskOf(["newest low", "est er:"]);
    await makeStudent({ teacher, task, vocabulary: task, out });
    const ids = await teacherIds(out, teacher.info);
    expect(ids.length).toBeLessThan(teacher.info.vocabulary);
    const student = await openModel(out, { threads: 1 });
    const texts = Array.from({ length: 12_000 }, () => text(12));
    expect(compare(teacher.tokenizer, student.tokenizer, ids, texts)).toBeGreaterThan(1000);
    await student.close();
  });

  it("opens in llama.cpp and node-llama-cpp with the same tokens", async () => {
    const out = fresh();
    const task = await taskOf(["newest lower"]);
    await makeStudent({ teacher, task, vocabulary: task, type: "f32", out });
    const student = await openModel(out, { threads: 1 });
    const ids = await teacherIds(out, teacher.info);
    const theirs = teacher.tokenizer.tokenize("newest lower", false, false);
    const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
    const loaded = await llama.loadModel({ modelPath: out });
    const tokens = student.tokenizer.tokenize("newest lower", false, false);
    expect(back(ids, tokens)).toEqual([...theirs]);
    expect([...loaded.tokenize("newest lower")]).toEqual([...tokens]);
    await llama.dispose();
    // What it says of a token is what the teacher says of that token.
    const logits = await teacher.native.logits(packTexts([theirs]), null);
    const found = await student.native.logits(packTexts([tokens]), null);
    expect(Math.max(...ids.map((id, token) => Math.abs(found[token]! - logits[id]!)))).toBeLessThan(1e-5);
    await student.close();
  });

  it("takes the most frequent ones up to a number, and names the least number", async () => {
    const out = fresh();
    const task = await taskOf(["lower lower lower newest"]);
    const least = kind === "gpt2" ? 258 : 259;
    const few = await makeStudent({ teacher, task, vocabulary: least + 6, out });
    expect(few.vocabulary).toBeLessThanOrEqual(least + 6);
    expect(few.tokens.student).toBeGreaterThan(few.tokens.teacher);
    const most = await makeStudent({ teacher, task, vocabulary: teacher.info.vocabulary, out });
    expect(most.vocabulary).toBe(teacher.info.vocabulary);
    const told: string[] = [];
    const onProgress = ({ phase }: StudentProgress) => told.push(phase);
    await expect(
      makeStudent({ teacher, task, vocabulary: least - 1, layers: 1, out, onProgress }),
    ).rejects.toMatchObject({
      code: "usage",
      message: `expected at least ${least}, the control tokens and bytes of the teacher, for vocabulary, received ${least - 1}`,
      options: ["vocabulary"],
    });
    expect(told).toEqual([]);
  });
});

it("refuses a tokenizer of another kind by name", async () => {
  const teacher = writeTextToy({ "tokenizer.ggml.model": "none" });
  const task = await taskOf(["a"]);
  await expect(makeStudent({ teacher, task, vocabulary: 258, out: fresh() })).rejects.toMatchObject({ code: "input" });
});

testShared(
  "of SmolLM2 agrees on 10,000 texts of SST-2 and banking77, and loses no byte that the teacher has",
  async () => {
    const teacher = await openModel(sharedPath("models/SmolLM2-135M-Instruct.Q4_1.gguf"), { threads: 2 });
    const lines = readFileSync(sharedPath("data/sst2/train.tsv"), "utf8")
      .split("\n")
      .map((line) => line.split("\t").at(-1)!);
    const out = fresh();
    const task = await taskOf(lines.slice(1, 4001));
    const found = await makeStudent({ teacher, task, vocabulary: task, limit: 1, out });
    expect(found.vocabulary).toBeLessThan(12_000);
    const ids = await teacherIds(out, teacher.info);
    const student = await openModel(out, { threads: 2 });
    const others = readFileSync(sharedPath("data/banking77/train.csv"), "utf8").split("\n");
    const same = compare(teacher.tokenizer, student.tokenizer, ids, [
      ...lines.slice(1, 15_001),
      ...others.slice(1, 3001),
    ]);
    expect(same).toBeGreaterThan(10_000);
    const every = Array.from({ length: 2048 }, (_, code) => String.fromCodePoint(code)).join("");
    expect(compare(teacher.tokenizer, student.tokenizer, ids, [every, "\u{10348}\u{1f351}"])).toBeGreaterThanOrEqual(0);
    await Promise.all([student.close(), teacher.close()]);
  },
  120_000,
);

it("of a task that is asked by a prompt file holds what the file adds", async () => {
  const task = await taskOf(["low lower", "lower low", "low low"]);
  const teacher = writeTeacher("gpt2");
  const file = path.join(base, "newest.json");
  const show = { shots: [1], instructions: ["newest"], show: true };
  await prompt(task, { model: teacher, threads: 1, ...show, save: file });
  const made = (given: object) => makeStudent({ teacher, task, vocabulary: task, threads: 1, out: fresh(), ...given });
  const [bare, found] = [await made({}), await made({ prompt: file })];
  // Its instruction has a word of its own, and its example stands before every other row.
  const has = async ({ out }: { out: string }) =>
    (await teacherIds(out, { path: teacher })).includes(bytePair.indexOf("newest"));
  expect([await has(bare), await has(found)]).toEqual([false, true]);
  expect(found.tokens.student).toBe(found.tokens.teacher);
  // Three rows with the instruction and two line ends, two of them with an example of at least five tokens.
  expect(found.tokens.teacher).toBeGreaterThanOrEqual(bare.tokens.teacher + 3 * 3 + 2 * 5);
});
