// A teacher's drawn answers: right ones only, each once, the same by the same seed.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { beforeAll, expect, it } from "vitest";
import { tokenF1 } from "../../src/evaluate/index.js";
import { type DistillOptions, distill, readRows, type Task, tune } from "../../src/index.js";
import { readTask } from "../../src/task/index.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { writeToyTask } from "./toy-task.js";

const base = mkdtempSync(path.join(tmpdir(), "stillroom-samples-"));
let count = 0;
const fresh = () => path.join(base, `${++count}`);

let classify: Task;
let task: Task;
let teacher: string;
let adapter: string;
let student: string;
beforeAll(async () => {
  const { file } = writeToyTask({ rows: 120, validation: false });
  classify = await readTask(file);
  const text = readFileSync(file, "utf8").replace("classify", "generate").replace("accuracy", "exact_match");
  writeFileSync(file, text.replace(/.*labels:.*\n/, ""));
  task = await readTask(file);
  teacher = writeTextToy();
  student = writeTextToy({}, { ...textToy, layers: 1, feedForward: 32 });
  adapter = fresh();
  await tune(task, { model: teacher, out: adapter, steps: 50, rank: 8, learningRate: 2e-2, threads: 1 }).result;
}, 60_000);

async function drawn(change: Partial<DistillOptions> = {}, of = task): Promise<[number, string][]> {
  const out = fresh();
  const options = { teacher, teacherAdapter: adapter, student, out, steps: 2, topK: 8, threads: 1, quantize: "none" };
  await distill(of, { ...options, checkLimit: 2, answers: "teacher", samples: 3, ...change }).result;
  return JSON.parse(readFileSync(path.join(out, "answers.json"), "utf8")).answers;
}

it("are learnt where they are right, by their seed", async () => {
  const answers = await drawn();
  const { rows } = await readRows(task, "train");
  const bare = (text: string) => text.toLowerCase().replaceAll(/[^a-z]/g, "");
  for (const [index, answer] of answers) expect(bare(answer)).toBe(rows.find((row) => row.index === index)!.answer);
  expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(answers.length);
  expect(await drawn()).toEqual(answers);
  expect(await drawn({ seed: 1 })).not.toEqual(answers);
  // Of one draw fewer rows have a right answer; at no heat the greedy one comes again and again.
  expect((await drawn({ samples: 1 })).length).toBeLessThan(answers.length);
  const greedy = await drawn({ samples: 0 });
  expect(await drawn({ samples: 2, sampleTemperature: 0.001 })).toEqual(greedy);
  expect(await drawn({ samples: 2, sampleTopP: 1e-6 })).toEqual(greedy);
}, 60_000);

it("are right from a value of the task's metric on", async () => {
  const { file, folder } = writeToyTask({ rows: 120, validation: false });
  const text = readFileSync(file, "utf8").replace("classify", "generate").replace("accuracy", "f1");
  writeFileSync(file, text.replace(/.*labels:.*\n/, ""));
  const train = path.join(folder, "train.jsonl");
  writeFileSync(train, readFileSync(train, "utf8").replaceAll('"early"', '"early bird"'));
  const birds = await readTask(file);
  const { rows } = await readRows(birds, "train");
  const [all, near, exact] = [
    await drawn({ samples: 0, answerScore: 0 }, birds),
    await drawn({ samples: 0, answerScore: 0.6 }, birds),
    await drawn({ samples: 0 }, birds),
  ];
  expect(all).toHaveLength(rows.length);
  const f1 = ([index, answer]: [number, string]) => tokenF1(rows.find((row) => row.index === index)!.answer, answer);
  expect(near).toEqual(all.filter((answer) => f1(answer) >= 0.6));
  expect(exact).toEqual(all.filter((answer) => f1(answer) === 1));
  expect(near.length).toBeGreaterThan(exact.length);
  expect(exact.length).toBeGreaterThan(0);
}, 60_000);

it("are checked", async () => {
  await expect(drawn({ answers: "data" })).rejects.toThrow(
    /expected 0 without answers of the teacher for samples, received 3/,
  );
  await expect(drawn({ samples: 1001 })).rejects.toThrow(/from 0 to 1000 for samples, received 1001/);
  await expect(drawn({ sampleTemperature: 0 })).rejects.toThrow(/from 0\.001 to 100 for sampleTemperature, received 0/);
  await expect(drawn({ sampleTopP: 1.5 })).rejects.toThrow(/above 0 up to 1 for sampleTopP, received 1\.5/);
  const labels = { teacher, student, out: fresh(), answers: "teacher", samples: 2, threads: 1 } as const;
  await expect(distill(classify, labels).result).rejects.toThrow(/for samples, received 2: halves is of kind classify/);
  const scored = { ...labels, samples: 0, answerScore: 0.5 };
  await expect(distill(classify, scored).result).rejects.toThrow(/for answerScore, received 0\.5: halves is of kind/);
  await expect(drawn({ samples: 0, sampleTemperature: 2 })).rejects.toThrow(
    /^sampleTemperature is of answers that are drawn, and none are: give samples too, or leave sampleTemperature out$/,
  );
  await expect(drawn({ samples: 0, sampleTopP: 0.5 })).rejects.toThrow(/^sampleTopP is of answers that are drawn/);
  await expect(drawn({ answerScore: 2 })).rejects.toThrow(/from 0 to 1 for answerScore, received 2/);
  await expect(drawn({ answers: "data", samples: 0, answerScore: 0.5 })).rejects.toThrow(
    /expected 1 without answers of/,
  );
});
