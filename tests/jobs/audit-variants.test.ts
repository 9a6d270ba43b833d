// All variants in one call against their slow twin, each asked in a call of its own: the same answers, of fewer tokens; examples, refusals, progress and cancelling.
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { beforeAll, expect, it, vi } from "vitest";
import { judge, planAudit, type Variant, variantsOf } from "../../src/audit/index.js";
import { type Row, readRows } from "../../src/dataset/index.js";
import { evaluateRows, type RowScore, type ScoringJob, withPredictor } from "../../src/evaluate/index.js";
import { variantAnswers } from "../../src/jobs/audit-variants.js";
import type { Model } from "../../src/model/index.js";
import { readTask, type Task } from "../../src/task/index.js";
import { writeTextToy } from "../support/text_toy.js";

let task: Task;
let model: string;
const train = ["one of them, the first", "another, and much later", "nobody at all", "the last in the row"];
/** With a name of three letters it just fits, behind its examples, the toy's context of 256 bytes. */
const longest = `Zoe ${"+".repeat(185)}`;
const test = ["Zoe said +", "- said Bob", "Ann, his and hers", "Zoe and nobody", "nobody", longest, "at last Ann"];

beforeAll(async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "stillroom-audit-variants-"));
  for (const [name, texts] of Object.entries({ train, test })) {
    const lines = texts.map((text, at) => `${JSON.stringify({ text, label: at % 2 === 0 ? "later" : "now" })}\n`);
    writeFileSync(path.join(folder, `${name}.jsonl`), lines.join(""));
  }
  const file = path.join(folder, "task.yaml");
  writeFileSync(
    file,
    `name: names
kind: classify
data: { train: { path: train.jsonl }, test: { path: test.jsonl } }
prompt: { template: "{{ text }}:" }
answer: { field: label }
audit:
  terms:
    people: { north: [Zoe], south: [Bob], far: [Maximilian Bartholomew] }
    others: { one: [Ann], two: [Eve], three: [Ida] }
`,
  );
  task = await readTask(file);
  model = writeTextToy();
});

/** The work, with the variants of the test rows and what asks them: each row behind two training rows of its own. */
async function withVariants(work: (variants: readonly Variant[], job: ScoringJob) => Promise<void>): Promise<void> {
  const pool = (await readRows(task, "train")).rows;
  const examples = ({ index }: Row) => [pool[index % 4]!, pool[(index + 1) % 4]!];
  await withPredictor(task, { model, threads: 1 }, async ({ job, seed }) => {
    const asked = { ...job, examples };
    const { rows } = await evaluateRows(asked);
    const judged = rows.map((score, place) => judge(task, job.rows[place]!, score));
    await work(variantsOf(planAudit(task, job.rows, job.labels, { seed }).lists, task, judged), asked);
  });
}

/** The slow twin: every variant alone, behind the examples of its row; null for one that does not fit. */
async function askedAlone(variants: readonly Variant[], job: ScoringJob): Promise<(RowScore | null)[]> {
  const answers: (RowScore | null)[] = [];
  for (const { row, of } of variants) {
    const examples = (job.examples as (row: Row) => readonly Row[])(of.row);
    const alone = await evaluateRows({ ...job, rows: [row], examples }).catch(() => null);
    answers.push(alone && alone.rows[0]!);
  }
  return answers;
}

/** Counts the tokens that go through a model. */
function tokensThrough({ native }: Model): () => number {
  const score = vi.spyOn(native, "score");
  return () => score.mock.calls.reduce((sum, [{ tokens }]) => sum + tokens.length, 0);
}

it("gives in one call what each variant is answered alone, of two thirds of the tokens", () =>
  withVariants(async (variants, job) => {
    expect(variants.map(({ row, to }) => `${row.index} ${to}`)).toEqual([
      ...["0 south", "0 far", "1 north", "1 far", "3 south", "3 far", "5 south", "5 far"],
      ...["2 two", "2 three", "6 two", "6 three"],
    ]);
    const tokens = tokensThrough(job.model);
    const answers = await variantAnswers(variants, job, () => undefined);
    const together = tokens();
    const alone = await askedAlone(variants, job);
    expect(together).toBeLessThan(((tokens() - together) * 2) / 3);
    // With the longer name it does not fit.
    expect(alone.flatMap((answer, place) => (answer ? [] : place))).toEqual([7]);
    for (const [place, answer] of answers.entries()) {
      const { probabilities, ...rest } = alone[place] ?? { probabilities: null };
      if (alone[place] === null) expect(answer).toBeNull();
      else expect(answer).toEqual({ ...rest, probabilities: expect.any(Object) });
      for (const [label, value] of Object.entries(probabilities ?? {}))
        expect(answer!.probabilities![label]).toBeCloseTo(value, 5);
    }
    // Not all the same, whatever is asked.
    expect(new Set(alone.map((answer) => answer?.probabilities?.now)).size).toBe(12);
  }));

it("has no answer where none of the variants fits, and goes on", () =>
  withVariants(async (variants, job) => {
    expect(await variantAnswers([variants[7]!], job, () => undefined)).toEqual([null]);
  }));

it("tells how many of all variants are answered, and stops where it is told to", () =>
  withVariants(async (variants, job) => {
    const told: string[] = [];
    const controller = new AbortController();
    const small = { ...job, tokenBudget: 1 };
    await variantAnswers(variants, small, ({ rows, totalRows }) => told.push(`${rows} of ${totalRows}`));
    // One is refused before the first is answered.
    expect(told).toEqual(Array.from({ length: 12 }, (_, at) => `${at + 1} of 12`));
    const cut = variantAnswers(variants, { ...small, signal: controller.signal }, ({ rows }) => {
      if (rows === 4) controller.abort();
      expect(rows).toBeLessThanOrEqual(4);
    });
    await expect(cut).rejects.toMatchObject({ code: "cancelled", message: /scoring, after 4 of 12 rows/ });
  }));

it("asks nothing where no row has other groups' words", () =>
  withVariants(async (_, job) => {
    const tokens = tokensThrough(job.model);
    expect(await variantAnswers([], job, () => expect.fail("nothing to tell"))).toEqual([]);
    expect(tokens()).toBe(0);
  }));
