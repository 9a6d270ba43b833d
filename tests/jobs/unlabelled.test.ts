// Training rows without a label: bad rows, but with the teacher's own answers; and all other rows stay what they are without them.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { type DistillOptions, distill, readRows } from "../../src/index.js";
import { readTask } from "../../src/task/index.js";
import { stillroom } from "../command/program.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { runFolder } from "./runs.js";
import { writeToyTask } from "./toy-task.js";

const teacher = writeTextToy();
const student = writeTextToy({}, { ...textToy, layers: 1, feedForward: 32 });

/** The toy task of 100 rows, of which every fifth has no label in one of three ways, and with wrong one a label that is none. */
async function task({ wrong = true, edit = (text: string) => text } = {}) {
  const { file, folder } = writeToyTask({ rows: 100 });
  const train = path.join(folder, "train.jsonl");
  const lines = readFileSync(train, "utf8").trim().split("\n");
  const empty = [{}, { half: null }, { half: " " }];
  const open = lines.map((line, place) => {
    const { text, half } = JSON.parse(line);
    if (wrong && place === 7) return JSON.stringify({ text, half: "middle" });
    return JSON.stringify(place % 5 === 0 ? { text, ...empty[(place / 5) % 3] } : { text, half });
  });
  writeFileSync(train, `${open.join("\n")}\n`);
  writeFileSync(file, edit(readFileSync(file, "utf8")));
  return readTask(file);
}

const learnt = (of: Awaited<ReturnType<typeof task>>, change: Partial<DistillOptions> = {}) => {
  const size = { steps: 2, topK: 8, threads: 1, quantize: "none", checkLimit: 5 };
  return distill(of, { teacher, student, out: runFolder(), answers: "teacher", ...size, ...change }).result;
};

const keptBy = ({ run }: { run: string }): [number, string][] =>
  JSON.parse(readFileSync(path.join(run, "answers.json"), "utf8")).answers;

test("are read beside the others, which keep their numbers and their splits", async () => {
  const of = await task();
  for (const split of ["train", "validation"] as const) {
    const { rows, bad } = await readRows(of, split);
    const all = await readRows(of, split, { unanswered: "training" });
    expect(all.rows.filter(({ answer }) => answer !== "")).toEqual(rows);
    const open = all.rows.filter(({ answer }) => answer === "");
    expect(open.map(({ index }) => index - 2 ** 40)).toEqual(split === "train" ? [...Array(20).keys()] : []);
    expect([bad.length, all.bad.length]).toEqual(split === "train" ? [21, 1] : [0, 0]);
  }
  // A file of its own is not the training rows'.
  const own = { ...of, data: { ...of.data, test: { ...of.data.train! } } };
  const { bad } = await readRows(own, "test", { unanswered: "training" });
  expect(bad).toHaveLength(21);
});

test("are learnt with the teacher's answer, whatever it is, and counted", async () => {
  const of = await task();
  const run = await learnt(of);
  const { rows } = await readRows(of, "train");
  const answers = keptBy(run);
  const open = answers.filter(([index]) => index >= 2 ** 40);
  const right = answers.filter(([index, answer]) => rows.find((row) => row.index === index)?.answer === answer);
  expect(open).toHaveLength(20);
  for (const [, answer] of open) expect(["early", "late"]).toContain(answer);
  expect(right.length).toBeGreaterThan(5);
  expect(right.length).toBeLessThan(rows.length - 5);
  expect(run).toMatchObject({
    ...{ bad_rows: 1, truncated_rows: 0 },
    answers: { labelled: rows.length, right: right.length, unlabelled: 20, learnt: right.length + 20 },
  });
  expect(await distill(of, { out: run.run, resume: true } as DistillOptions).result).toMatchObject({
    answers: run.answers,
  });
  // With the data's answers they stay bad rows.
  expect(await learnt(of, { answers: "data" })).toMatchObject({ bad_rows: 21, answers: null });
});

test("strictly, only a wrong label is an error", async () => {
  await expect(learnt(await task(), { strict: true })).rejects.toThrow(/train\.jsonl:8: half "middle" is none of/);
  const { answers } = await learnt(await task({ wrong: false }), { strict: true });
  expect(answers).toMatchObject({ unlabelled: 20 });
});

test("take a text, or several draws", async () => {
  const edit = (text: string) =>
    text
      .replace("classify", "generate")
      .replace("accuracy", "exact_match")
      .replace(/.*labels:.*\n/, "");
  const of = await task({ wrong: false, edit });
  const run = await learnt(of, { samples: 2, answerScore: 1 });
  const open = keptBy(run).filter(([index]) => index >= 2 ** 40);
  expect(run.answers).toMatchObject({ unlabelled: 20, learnt: keptBy(run).length });
  expect(open.length).toBeGreaterThan(20);
  for (const [, text] of open) expect(text).not.toBe("");
});

test("where no row has a label, the task file names them, or it is refused", async () => {
  const bare = (of: Awaited<ReturnType<typeof task>>) => {
    const { path: train } = of.data.train!;
    const lines = readFileSync(train, "utf8").trim().split("\n");
    const texts = lines.map((line) => JSON.stringify({ text: JSON.parse(line).text }));
    writeFileSync(train, `${texts.join("\n")}\n`);
    return of;
  };
  const edit = (text: string) => text.replace(/ {2}validation:.*\n/, "");
  const named = bare(await task({ edit }));
  const args = ["distill", named.file, "--teacher", teacher, "--student", student, "--out", runFolder()];
  const { stdout, stderr, code } = await stillroom([...args, ..."--answers teacher --steps 2 --top-k 8".split(" ")]);
  expect(stderr).not.toContain("error");
  expect(code).toBe(0);
  expect(stdout).toContain(
    "the teacher's own answers: right to 0 of 0 labelled rows, and those to 100 rows without a label",
  );
  const unnamed = bare(await task({ edit: (text) => edit(text).replace(/ {2}labels:.*\n/, "") }));
  await expect(learnt(unnamed)).rejects.toThrow(
    "no training row of halves has a label, and the task file names none: expected them as answer.labels",
  );
});
