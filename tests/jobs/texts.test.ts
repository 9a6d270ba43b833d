// Texts of no task beside a task's rows: what the teacher is asked, what the cache is known by, and that a student learns them.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type DistillOptions, distill, type Task, type TeachEvent, teach } from "../../src/index.js";
import { hashFile } from "../../src/support/files.js";
import { readTask } from "../../src/task/index.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { cutAfter, stepsOf } from "./runs.js";
import { writeToyTask } from "./toy-task.js";

const base = mkdtempSync(path.join(tmpdir(), "stillroom-texts-"));
let count = 0;
const fresh = () => path.join(base, `${++count}`);
function textsOf(name: string, content: string | Buffer): string {
  const file = path.join(base, name);
  writeFileSync(file, content);
  return file;
}
const lines = ["A quick brown fox.", "", "  ", "Lazy dogs lie down and sleep."];
const plain = textsOf("plain.txt", lines.join("\r\n"));

let task: Task;
let teacher: string;
let student: string;
beforeAll(async () => {
  task = await readTask(writeToyTask({ rows: 40 }).file);
  teacher = writeTextToy();
  student = writeTextToy({}, { ...textToy, layers: 1, feedForward: 32 });
});
const asked = (texts: string, change = {}) =>
  teach(task, { ...{ teacher, texts, topK: 8, threads: 1 }, out: fresh(), ...change });
const learnt = (texts: string, change: Partial<DistillOptions> = {}) => {
  const size = { steps: 6, batchSize: 8, learningRate: 3e-3, topK: 16, threads: 1, quantize: "none", checkLimit: 5 };
  return distill(task, { ...{ teacher, student, texts, out: fresh() }, ...size, ...change });
};

describe("teach", () => {
  it("is asked about every token of every text", async () => {
    const out = fresh();
    const without = await teach(task, { teacher, topK: 8, threads: 1, out: fresh() }).result;
    const made = await asked(plain, { out }).result;
    // Of a toy a byte is a token.
    const tokens = lines[0]!.length - 1 + (lines[3]!.length - 1);
    expect(made).toMatchObject({ rows: without.rows + 2, texts: 2, bad_rows: 0, truncated_rows: 0 });
    expect(made.positions).toBe(without.positions + tokens);
    expect(await asked(plain, { out }).result).toMatchObject({ computed: 0 });
    const { texts } = JSON.parse(readFileSync(path.join(out, "cache.json"), "utf8"));
    expect(texts).toMatch(/^[0-9a-f]{64}$/);
    const other = textsOf("other.txt", lines.join("\n").replace("fox", "cat"));
    await expect(asked(other, { out }).result).rejects.toThrow(/was made with other texts \("[0-9a-f]+…/);
  });

  it("reads JSON Lines, and cuts what is longer than the longest row", async () => {
    const file = textsOf(
      "long.jsonl",
      `${JSON.stringify({ text: "a\nb" })}\n${JSON.stringify({ text: "x".repeat(70) })}\n`,
    );
    // 3 tokens, and 70 in pieces of 32, 32 and 6: of each all but the first.
    const made = await asked(file, { maxLength: 32 }).result;
    const without = await teach(task, { teacher, topK: 8, threads: 1, maxLength: 32, out: fresh() }).result;
    expect(made.texts).toBe(4);
    expect(made.positions - without.positions).toBe(2 + 31 + 31 + 5);
    // Behind BOS the first is asked about too.
    const bos = writeTextToy({ "tokenizer.ggml.add_bos_token": true });
    const behind = await asked(file, { maxLength: 32, teacher: bos }).result;
    expect(behind.positions - without.positions).toBe(3 + 31 + 31 + 8);
  });

  it("counts and tells lines that hold no text", async () => {
    const file = textsOf("bad.jsonl", '{"text":"good text"}\n{"words":"x"}\n{"text":" "}\nnot JSON\n');
    const told: TeachEvent[] = [];
    const work = asked(file);
    for await (const event of work) told.push(event);
    expect(await work.result).toMatchObject({ texts: 1, bad_rows: 3 });
    expect(told.flatMap((event) => (event.type === "warning" ? [event.message] : []))).toEqual([
      expect.stringMatching(/bad\.jsonl:2: has no text in its field "text"/),
      expect.stringMatching(/bad\.jsonl:3: has no text/),
      expect.stringMatching(/bad\.jsonl:4: is not JSON/),
    ]);
    await expect(asked(file, { strict: true }).result).rejects.toThrow(/bad\.jsonl:2: has no text/);
    const binary = textsOf("binary.txt", Buffer.from([0x61, 0x62, 0x0a, 0xff, 0x0a]));
    expect(await asked(binary).result).toMatchObject({ texts: 1, bad_rows: 1 });
  });

  it("refuses other files", async () => {
    await expect(asked(textsOf("a.csv", "text\n")).result).rejects.toThrow(
      /expected a \.txt or \.jsonl file for texts/,
    );
    await expect(asked(textsOf("empty.txt", "\n")).result).rejects.toThrow(/empty\.txt holds no text of two tokens/);
    await expect(asked(path.join(base, "none.txt")).result).rejects.toThrow(/none\.txt: there is no such file/);
  });
});

describe("distill", () => {
  it("learns the texts", async () => {
    const text = Array.from({ length: 20 }, (_, index) => `Line ${index} of a text, with Words and numbers.`).join(
      "\n",
    );
    const file = textsOf("more.txt", text);
    const change = { steps: 60, labelWeight: 0 };
    const [with_, without] = [
      await learnt(file, change).result,
      await learnt(file, { ...change, texts: undefined }).result,
    ];
    expect(with_.texts).toBe(20);
    expect(without.texts).toBe(0);
    // How far each is from the teacher on the texts alone, in one step that hardly moves anything.
    const far = async (model: string) =>
      (await learnt(file, { student: model, steps: 1, batchSize: 400, labelWeight: 0, learningRate: 1e-12 }).result)
        .loss.first;
    expect(await far(with_.model!)).toBeLessThan((await far(without.model!)) * 0.7);
  });

  it.each<Partial<DistillOptions>>([{}, { onPolicy: 0.5, seed: 2 }])(
    "cut off and gone on with, %j: the same bytes",
    async (change) => {
      const [whole, out] = [fresh(), fresh()];
      const { model } = await learnt(plain, { ...change, out: whole }).result;
      await cutAfter(3, (signal) => learnt(plain, { ...change, out, signal }));
      const resumed = await distill(task, { out, resume: true } as DistillOptions).result;
      expect(await hashFile(resumed.model!)).toBe(await hashFile(model!));
    },
  );

  it("keeps texts as they are in on-policy steps", async () => {
    const text = textsOf("150.txt", "A text. ".repeat(19));
    const { run, steps, skipped_steps, cache } = await learnt(text, { onPolicy: 1, limit: 4, batchSize: 4 }).result;
    expect({ steps, skipped_steps, cache }).toEqual({ steps: 6, skipped_steps: 0, cache: null });
    const tokens = stepsOf(run).map((line) => line.tokens);
    // Once an epoch of four rows and the text; what is written behind a row is shorter than the row's own answer may be.
    expect(Math.max(...tokens)).toBeGreaterThan(150);
    expect(Math.min(...tokens)).toBeLessThan(100);
  });
});
