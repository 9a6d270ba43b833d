// Label probabilities by hand: a model of ours whose next-token probabilities are a table, and a tokenizer of one token a letter.
import { describe, expect, it } from "vitest";
import type { Head } from "../../src/adapter/index.js";
import type { Row } from "../../src/dataset/index.js";
import { planBatches } from "../../src/evaluate/choices.js";
import { answerByHead } from "../../src/evaluate/head.js";
import { evaluateRows, type ScoringJob } from "../../src/evaluate/scoring.js";
import type { Model } from "../../src/model/index.js";
import type { NativeBatch, NativeLora, NativeTokenizer } from "../../src/support/native.js";
import type { Task } from "../../src/task/index.js";

const letters: NativeTokenizer = {
  ...{ vocabulary: 128, bos: -1, eos: 0, endTokens: Int32Array.of(0), addsBos: false },
  tokenize: (text) => Int32Array.from(text, (letter) => letter.charCodeAt(0)),
  detokenize: (tokens) => String.fromCharCode(...tokens),
  close: async () => undefined,
};

/** p(next letter | this letter); anything else is 0.01. */
const table: Record<string, number> = { ">y": 0.5, ">n": 0.2, no: 0.05, "<y": 0.1, "<n": 0.9 };

function modelOf(context: number, batches: NativeBatch[]): Model {
  const score = async (batch: NativeBatch) => {
    batches.push(batch);
    return Float64Array.from(batch.queryTokens, (token, query) => {
      const before = batch.tokens[batch.queryPositions[query]!]!;
      return Math.log(table[String.fromCharCode(before, token)] ?? 0.01);
    });
  };
  const info = { contextLength: context, path: "letters.gguf" };
  return { info, tunable: true, threads: 1, tokenizer: letters, native: { score } } as unknown as Model;
}

const row = (index: number, text: string, answer: string): Row => ({
  ...{ index, file: "rows.jsonl", line: index + 1, answer, value: answer },
  fields: { text },
});

function job(rows: Row[], changes: Partial<ScoringJob> = {}): ScoringJob {
  return {
    model: modelOf(64, []),
    lora: null,
    task: { name: "letters", kind: "classify" } as Task,
    rows,
    prompt: {
      render: ({ fields, answer }: Row) => ({ pieces: [{ text: String(fields.text), control: false }], answer }),
      renderAnswer: (text: string) => text,
    } as ScoringJob["prompt"],
    examples: [],
    labels: ["y", "no"].map((text) => ({ value: text, text })),
    ...changes,
  };
}

describe("evaluateRows, classify", () => {
  it("takes the mean log-probability of a label's tokens, then softmax", async () => {
    const { rows } = await evaluateRows(job([row(4, "film>", "y")]));
    // y: 0.5; no: the geometric mean of 0.2 and 0.05 is 0.1.
    expect(rows).toEqual([
      {
        index: 4,
        answer: "y",
        prediction: "y",
        probabilities: { y: expect.closeTo(5 / 6, 12), no: expect.closeTo(1 / 6, 12) },
      },
    ]);
  });

  it("gives the rows in their order, whatever the batches", async () => {
    const texts = ["a long review <", "short>", "<", "the same beginning >", "the same beginning <"];
    const rows = texts.map((text, index) => row(index, text, "y"));
    for (const tokenBudget of [1, 40, 4096]) {
      const batches: NativeBatch[] = [];
      const scores = await evaluateRows(job(rows, { tokenBudget, model: modelOf(64, batches) }));
      expect(scores.rows.map(({ prediction }) => prediction)).toEqual(["no", "y", "no", "y", "no"]);
      expect(scores.tokens).toBe(texts.join("").length + 5 * 3);
      expect(batches).toHaveLength({ 1: 5, 40: 2, 4096: 1 }[tokenBudget]!);
    }
  });

  it("refuses the rows that do not fit, with the numbers", async () => {
    const model = modelOf(10, []);
    const { rows, refused } = await evaluateRows(job([row(0, "12345678>", "y"), row(1, "1234567>", "y")], { model }));
    expect(rows.map(({ index }) => index)).toEqual([1]);
    const reason = "the prompt has 9 tokens and the answer up to 2, the model's context 10";
    expect(refused).toEqual([{ file: "rows.jsonl", line: 1, reason }]);
    const long = job([row(0, "12345678>", "y")], { model, examples: [row(9, "x", "y")] });
    await expect(evaluateRows(long)).rejects.toMatchObject({
      code: "input",
      message: `no row fits letters.gguf: of the shortest of 1 row, rows.jsonl:1, ${reason}; use fewer than 1 shot`,
    });
    await expect(evaluateRows({ ...long, examples: [] })).rejects.toMatchObject({
      code: "input",
      message: `no row fits letters.gguf: of the shortest of 1 row, rows.jsonl:1, ${reason}; give shorter rows, or a model with a longer context`,
    });
  });

  it("refuses a row whose answer is no label", async () => {
    const { refused } = await evaluateRows(job([row(0, ">", "maybe"), row(1, ">", "y")]));
    expect(refused).toEqual([{ file: "rows.jsonl", line: 1, reason: 'the answer "maybe" is none of the 2 labels' }]);
  });

  it("needs two labels", async () => {
    const one = job([row(0, ">", "y")], { labels: [{ value: "y", text: "y" }] });
    await expect(evaluateRows(one)).rejects.toMatchObject({ code: "input" });
  });

  it("tells how far it is, and stops at the piece at which it is called off", async () => {
    const controller = new AbortController();
    const seen: number[] = [];
    const rows = [1, 2, 3, 4].map((index) => row(index, ">", "y"));
    const work = evaluateRows(
      job(rows, {
        tokenBudget: 1,
        signal: controller.signal,
        onProgress: (progress) => {
          seen.push(progress.rows);
          if (progress.rows === 2) controller.abort();
        },
      }),
    );
    await expect(work).rejects.toMatchObject({
      code: "cancelled",
      message: "cancelled while scoring, after 2 of 4 rows",
    });
    expect(seen).toEqual([0, 1, 2]);
  });
});

describe("planBatches", () => {
  const rows = (...tails: number[][]) =>
    tails.map((tail) => ({
      prompt: Int32Array.of(...Array.from({ length: 10 }, (_, i) => i), ...tail),
      continuations: [Int32Array.of(1), Int32Array.of(2)],
    }));

  it("puts rows with a beginning in common together and counts it once", () => {
    // 10 tokens are shared and labels are 2: in the order of their tokens the rows cost 12, then 2 + 2, then 3 + 2.
    expect(planBatches(rows([5], [7, 7, 7], [5, 6, 6]), 21)).toEqual([[0, 2], [1]]);
    expect(planBatches(rows([5], [7, 7, 7], [5, 6, 6]), 22)).toEqual([[0, 2, 1]]);
  });

  it("counts the beginning again in every batch", () => {
    // 13 a row alone; another one adds 3.
    expect(planBatches(rows([1], [2], [3], [4]), 16)).toEqual([
      [0, 1],
      [2, 3],
    ]);
  });

  it("lets a row that is longer than the budget stand alone", () => {
    expect(planBatches(rows([1], [2]), 5)).toEqual([[0], [1]]);
    expect(planBatches([], 5)).toEqual([]);
  });
});

it.each([
  ["alone", null, "letters.gguf gives"],
  ["under an adapter", {} as NativeLora, "letters.gguf with its adapter gives"],
])("a model %s that gives no numbers is named, with what helps", async (_, lora, who) => {
  const model = modelOf(64, []);
  const broken = async ({ queryTokens }: NativeBatch) => new Float64Array(queryTokens.length).fill(Number.NaN);
  Object.assign(model.native, { score: broken, answer: async () => Float32Array.of(1, Number.NaN) });
  const remedy =
    "the file is damaged, or its training diverged; fetch it again, or train again with a smaller learning rate";
  await expect(evaluateRows(job([row(0, "a>", "y")], { model, lora }))).rejects.toMatchObject({
    code: "input",
    message: `${who} NaN as a log-probability: ${remedy}`,
  });
  if (lora === null) return;
  const head = { labels: ["y", "no"], loss: "softmax" } as unknown as Head;
  const asked = answerByHead({ model, lora, head }, [Int32Array.of(1, 2)], () => undefined);
  await expect(asked).rejects.toMatchObject({
    code: "input",
    message: `${who} NaN as an output of the head: ${remedy}`,
  });
});
