// A teacher whose vocabulary was trimmed from the student's, once or twice: both read the tokens that both have, on-policy as well, and a cache of teach fits.
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import {
  type DistillEvent,
  type DistillOptions,
  distill,
  inspect,
  makeStudent,
  readRows,
  teach,
} from "../../src/index.js";
import { resolveModel } from "../../src/model/index.js";
import { needs, sharedPath } from "../support/needs.js";
import { byteAlphabet, textToy, writeTextToy } from "../support/text_toy.js";
import { runFolder, stepsOf } from "./runs.js";
import { makeToyPair } from "./toy-pair.js";

const testShared = needs("shared");
const { task, adapter } = await makeToyPair();

/** A student with so many further tokens of two letters, and the toy teacher as what was left of its vocabulary. */
function pairWith(...further: string[]): { teacher: string; student: string } {
  const tokens = [...byteAlphabet(), ...further, "<s>", "</s>"];
  const [bos, eos] = [tokens.length - 2, tokens.length - 1];
  const student = writeTextToy(
    {
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.token_type": tokens.map((_, token) => (token < bos ? 1 : 3)),
      "tokenizer.ggml.merges": ["Ġ t", ...further.map((pair) => [...pair].join(" "))],
      "tokenizer.ggml.bos_token_id": bos,
      "tokenizer.ggml.eos_token_id": eos,
    },
    { ...textToy, layers: 1, feedForward: 32, vocabulary: tokens.length },
  );
  return { teacher: writeTextToy(), student };
}

const pair = pairWith("ab", "no");
const { rows } = await readRows(task, "train");
const holding = (pattern: RegExp) => rows.filter(({ fields }) => pattern.test(String(fields.text))).length;

const learnt = async (change: Partial<DistillOptions> = {}) => {
  const size = { steps: 100, batchSize: 8, learningRate: 3e-3, topK: 16, threads: 1, labelWeight: 0, quantize: "none" };
  const run = distill(task, { ...pair, teacherAdapter: adapter, out: runFolder(), ...size, ...change });
  const events: DistillEvent[] = [];
  for await (const event of run) events.push(event);
  const warnings = events.flatMap((event) => (event.type === "warning" ? [event.message] : []));
  return { ...(await run.result), warnings, asked: events.some(({ type }) => type === "teach") };
};

test.each<Partial<DistillOptions>>([{}, { loss: "jsd" }, { loss: "reverse_kl", topK: 258 }, { onPolicy: 1 }])(
  "a student learns, %j",
  async (change) => {
    const { loss, comparison, recut_rows, warnings, skipped_steps } = await learnt(change);
    expect(loss.last).toBeLessThan(loss.first / 2);
    expect(skipped_steps).toBe(0);
    expect(holding(/ab|no/)).toBeGreaterThan(5);
    expect(recut_rows).toBe(holding(/ab|no/));
    const told = `${recut_rows} rows are learnt in the 258 tokens of the teacher and not as the student, which has 260, cuts them; of 0 the answer`;
    expect(warnings).toEqual([told]);
    if (!change.onPolicy) expect(comparison[1]!.agreement).toBeGreaterThan(0.7);
  },
);

test("a cache of teach fits, and texts and hidden states are learnt", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "stillroom-trimmed-"));
  const texts = path.join(folder, "texts.txt");
  writeFileSync(texts, "cabs and notes\nabacus\n");
  const cache = path.join(folder, "taught");
  const asked = { teacher: pair.teacher, teacherAdapter: adapter, topK: 16, threads: 1 };
  const made = await teach(task, { ...asked, texts, hidden: true, out: cache }).result;
  expect(made).toMatchObject({ rows: 162, texts: 2 });
  const { run, asked: again } = await learnt({ cache, texts, steps: 2, hiddenWeight: 1 });
  expect(again).toBe(false);
  expect(stepsOf(run)[0]).toMatchObject({ hidden_distance: expect.closeTo(0.5, 0) });
});

test("what was trimmed twice learns from the first teacher, and teaches it", async () => {
  const { student: first } = pairWith("ab", "no", "la", "mi", "xy");
  const trimmed = async (teacher: string, vocabulary: number) => {
    const out = path.join(mkdtempSync(path.join(tmpdir(), "stillroom-trimmed-")), "trimmed.gguf");
    return (await makeStudent({ teacher, task, vocabulary, threads: 1, limit: 10, out })).out;
  };
  const once = await trimmed(first, 261);
  const twice = await trimmed(once, 259);
  const vocabularies = await Promise.all([first, once, twice].map(async (file) => (await inspect(file)).vocabulary));
  expect(vocabularies).toEqual([263, 261, 259]);
  const small = { teacherAdapter: undefined, steps: 2, onPolicy: 0.5 };
  const down = await learnt({ ...small, teacher: first, student: twice });
  expect(down).toMatchObject({ skipped_steps: 0, recut_rows: 0 });
  const up = await learnt({ ...small, teacher: twice, student: first });
  expect(up.skipped_steps).toBe(0);
  expect(up.recut_rows).toBeGreaterThan(0);
});

testShared(
  "a student of the box, whose own vocabulary was trimmed, learns from the model that the box was made of",
  async () => {
    const out = path.join(mkdtempSync(path.join(tmpdir(), "stillroom-trimmed-")), "student.gguf");
    const box = await resolveModel(undefined);
    await makeStudent({ teacher: box, task, layers: 1, vocabulary: 300, threads: 1, limit: 2, out });
    const teacher = sharedPath("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    const found = await learnt({ teacher, teacherAdapter: undefined, student: out, steps: 1, limit: 8, checkLimit: 2 });
    expect(found).toMatchObject({ skipped_steps: 0, recut_rows: 0 });
  },
);

test("answers that the student cuts otherwise are told with what to do", async () => {
  const { recut_rows, warnings } = await learnt({ ...pairWith("la"), steps: 2 });
  const late = rows.filter(({ answer }) => answer === "late").length;
  expect(recut_rows).toBeGreaterThanOrEqual(late);
  expect(warnings).toEqual([
    expect.stringMatching(
      new RegExp(`of ${late} the answer\\. labels are asked .*: trim the teacher to this task \\(student --vocab\\)`),
    ),
  ]);
});

test("on-policy, the place of a token that the teacher has not is asked about, and nothing behind it", async () => {
  // Two fifths of the student's tokens, in none of the rows: before it has learnt, most of what it writes holds one.
  const [early, late] = ["abcdefghijklm", "nopqrstuvwxyz"];
  const crossing = [...early].flatMap((one) => [...late].map((other) => one + other));
  const unread = crossing.filter((two) => !/ar|ly|at/.test(two));
  const { loss, run, recut_rows, warnings } = await learnt({ ...pairWith(...unread), onPolicy: 1 });
  expect({ recut_rows, warnings }).toEqual({ recut_rows: 0, warnings: [] });
  expect(loss.last).toBeLessThan(loss.first / 2);
  const tokens = stepsOf(run).map((step) => step.tokens);
  const mean = (from: number, to: number) =>
    tokens.slice(from, to).reduce((sum, count) => sum + count, 0) / (to - from);
  expect(mean(80, 100)).toBeGreaterThan(mean(0, 5) * 1.1);
});
