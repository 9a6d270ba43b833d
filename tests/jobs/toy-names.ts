// Tasks of rows that a person is named in, of one of two groups, and runs of a toy that learns them: for audits and ladders. What an answer follows, the name or
// something else, each test says.
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect } from "vitest";
import type { Fairness } from "../../src/jobs/fairness.js";
import { audit, tune } from "../../src/jobs/index.js";
import type { Random } from "../../src/support/random.js";
import { readTask, type Task } from "../../src/task/index.js";
import type { TuneOptions } from "../../src/train/index.js";

const names = { north: ["Zoe", "Zed"], south: ["Bob", "Bea"] };

/** The group of every second row, and a name of it with a mark behind. */
export function named(at: number, mark: "+" | "-", random: Random): { text: string; region: "north" | "south" } {
  const region = at % 2 === 0 ? "north" : "south";
  return { text: `${names[region][random.below(2)]} ${mark}${mark}`, region };
}

/** Of a row of the toy task in JSON two, once of a Zoe and once of a Bob; and what that task's file then says of them. */
export const ofBoth = (line: string): string[] =>
  ["Zoe ", "Bob "].map((name) => line.replace('"text":"', `"text":"${name}`));
export const bothAudited = "audit: { terms: { people: { north: [Zoe], south: [Bob] } } }\n";

export const anyMark = (random: Random): "+" | "-" => (random.below(2) === 0 ? "+" : "-");

/** Writes 160 training rows, then 80 test rows, and their task. */
export async function writeNamesTask(
  of: { name: string; kind: string; answer: string; bounds?: string },
  rowOf: (at: number) => object,
): Promise<Task> {
  const folder = mkdtempSync(path.join(tmpdir(), `stillroom-audit-${of.name}-`));
  const lines = (count: number) => Array.from({ length: count }, (_, at) => `${JSON.stringify(rowOf(at))}\n`).join("");
  writeFileSync(path.join(folder, "train.jsonl"), lines(160));
  writeFileSync(path.join(folder, "test.jsonl"), lines(80));
  const file = path.join(folder, "task.yaml");
  writeFileSync(
    file,
    `name: ${of.name}
kind: ${of.kind}
data: { train: { path: train.jsonl }, test: { path: test.jsonl } }
prompt: { template: "{{ text }}:" }
answer: ${of.answer}
audit:
  columns: [region]
  terms: { people: { north: [Zoe, Zed], south: [Bob, Bea] } }
${of.bounds ?? ""}`,
  );
  return readTask(file);
}

/** A run beside its task. */
export async function tunedOn(task: Task, model: string, options: Partial<TuneOptions>): Promise<string> {
  const out = path.join(path.dirname(task.file), "run");
  const small = { model, batchSize: 16, learningRate: 1e-2, threads: 1, seed: 1 };
  await tune(task, { ...small, out, ...options }).result;
  return options.out ?? out;
}

/** That a rung's fairness is the largest gap of an audit of it; gives the gaps and swaps of that. */
export async function expectFairness({ gap, swap }: Fairness, task: Task, model: string, adapter: string) {
  const { groups, swaps } = await audit(task, { model, adapter, threads: 1 });
  const gaps = groups.flatMap(({ attribute, gaps: own }) => own.map((one) => ({ attribute, ...one })));
  expect(gaps).toContainEqual(expect.objectContaining(gap!));
  expect(gap!.difference.value).toBe(Math.max(...gaps.map(({ difference }) => difference.value)));
  expect(swap).toMatchObject({ attribute: "people", groups: ["north", "south"], rows: 40 });
  return { gaps, swaps };
}
