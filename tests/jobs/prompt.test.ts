// prompt() on a toy: what is shown, tried, compared and saved, and that every other command reads the same prompt from the file.
import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { batch } from "../../src/batch/index.js";
import { readRows, sampleRows } from "../../src/dataset/index.js";
import {
  evaluate,
  evaluateRows,
  fixedShots,
  Neighbours,
  readPredictions,
  similarShots,
  summarise,
} from "../../src/evaluate/index.js";
import { audit, distill, type PromptOptions, prompt, teach, tune } from "../../src/jobs/index.js";
import { type Model, openModel } from "../../src/model/index.js";
import { compilePrompt, type PromptFile } from "../../src/prompt/index.js";
import { readTask, type Task } from "../../src/task/index.js";
import { jsonLines } from "../support/json-lines.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { writeToyTask } from "./toy-task.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-prompt-"));
process.env.XDG_CACHE_HOME = path.join(folder, "cache");
let model: Model;
let task: Task;

beforeAll(async () => {
  model = await openModel(writeTextToy(), { threads: 1 });
  task = await readTask(writeToyTask().file);
});
afterAll(() => model.close());

const named = (name: string) => path.join(folder, name);

/** Saves a prompt and gives its file. */
async function saved(name: string, options: PromptOptions): Promise<string> {
  await prompt(task, { model, ...options, save: named(name) });
  return named(name);
}

describe("prompt", () => {
  it("shows the text and the tokens, and answers a text with probabilities", async () => {
    const found = await prompt(task, { model, shots: [2], instructions: ["Which half?"], show: true, try: "xyz" });
    const { text, tokens } = found.shown!;
    const shots = found.prompt.examples!.map(({ fields, value }) => `${fields.text}: ${value}\n\n`);
    expect(text).toBe(`Which half?\n\n${shots.join("")}xyz:`);
    expect(tokens.map((token) => token.text).join("")).toContain(text);
    expect(new Set(found.prompt.examples!.map(({ value }) => value))).toEqual(new Set(["early", "late"]));
    const { answer, probabilities } = found.tried!;
    expect(probabilities!.early! + probabilities!.late!).toBeCloseTo(1, 12);
    expect(probabilities![answer]).toBe(Math.max(...Object.values(probabilities!)));
    expect(found).toMatchObject({ compared: null, saved: null });
  });

  it("compares prompts on the same rows, and keeps the best with what was measured", async () => {
    const seen: number[] = [];
    const found = await prompt(task, {
      ...{ model, shots: [0, 2], select: ["random", "similar", "diverse", "search"], calibrate: true, compare: true },
      ...{ budget: 200, save: named("best.json"), onProgress: ({ totalRows }) => void seen.push(totalRows) },
    });
    const { prompts, pairs, best, split, metric } = found.compared!;
    expect([split, metric]).toEqual(["validation", "accuracy"]);
    const ways = prompts.map(({ shots, select, calibrate }) => `${shots} ${select}${calibrate ? " calibrated" : ""}`);
    const kinds = ["random", "similar", "diverse", "search"].flatMap((way) => [`2 ${way}`, `2 ${way} calibrated`]);
    expect(ways).toEqual(["0 random", "0 random calibrated", ...kinds]);
    expect(new Set(prompts.map(({ rows }) => rows))).toEqual(new Set([12]));
    expect(prompts[best]!.metric!.value).toBe(Math.max(...prompts.map((one) => one.metric!.value)));
    expect(prompts[2]!.tokens_per_row).toBeGreaterThan(prompts[0]!.tokens_per_row!);
    expect(pairs).toHaveLength(45);
    const least = Math.min(...pairs.map(({ p_value }) => p_value));
    expect(Math.min(...pairs.map(({ p_holm }) => p_holm))).toBeCloseTo(Math.min(1, 45 * least), 12);
    const file = JSON.parse(readFileSync(named("best.json"), "utf8")) as PromptFile;
    expect(file).toEqual(found.prompt);
    expect(file.measured).toMatchObject({
      split: "validation",
      rows: 12,
      metric: "accuracy",
      ...prompts[best]!.metric,
    });
  });

  it("lists a prompt that does not fit and scores the others", async () => {
    const options = { shots: [2, 24], select: ["random", "search"], compare: true, budget: 40 } as const;
    const { prompts, pairs, best } = (await prompt(task, { model, ...options })).compared!;
    const [fits, , long, searched] = prompts;
    expect(fits).toMatchObject({ shots: 2, refused: null, rows: 12 });
    for (const one of [long, searched]) {
      expect(one).toMatchObject({ shots: 24, rows: 0, metric: null, tokens_per_row: null });
      expect(one!.refused).toMatch(/has \d+ tokens and .* context 256; use fewer than 24 shots/);
    }
    expect([pairs.length, prompts[best]!.shots]).toEqual([1, 2]);
  });

  it("draws the same examples by the same seed, others by another", async () => {
    const shown = async (seed: number) => (await prompt(task, { model, shots: [3], seed, show: true })).shown!.text;
    expect(await shown(1)).toBe(await shown(1));
    expect(await shown(2)).not.toBe(await shown(1));
  });

  it.each<[string, object, string, RegExp]>([
    ["nothing to do", {}, "usage", /expected what to do with the prompt: try, show, compare or save/],
    ["several prompts without a comparison", { shots: [1, 2], show: true }, "usage", /compare finds the best/],
    [
      "another way of choosing",
      { select: ["best"], show: true },
      "usage",
      /expected one of random, .* for select, received "best"/,
    ],
    ["a file beside shots", { prompt: "p.json", shots: [1], show: true }, "usage", /expected prompt or shots/],
    ["more examples than rows", { shots: [99], show: true }, "input", /has 48 training rows for examples, 99 were/],
    [
      "a prompt beyond the context",
      { shots: [40], try: "a" },
      "input",
      /has \d+ tokens and .* context 256; use fewer than 40/,
    ],
    [
      "a comparison that nothing fits",
      { shots: [40], compare: true },
      "input",
      /no row fits .* context 256; use fewer/,
    ],
    ["to show what does not fit", { shots: [40], show: true }, "input", /show: .* context 256; use fewer than 40/],
    ["to save what no row fits", { shots: [40], save: "NEW" }, "input", /no row fits .* use fewer than 40/],
    ["the task file to write", { save: "TASK", show: true }, "usage", /is the task file of halves/],
  ])("refuses %s", async (_name, options, code, message) => {
    const save = { TASK: task.file, NEW: named("new.json") };
    const given = "save" in options ? { ...options, save: save[options.save as keyof typeof save] } : options;
    await expect(prompt(task, { model, ...given })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });
});

describe("bad rows", () => {
  /** Of the rows that training shows, one cannot be laid out; of those to compare on the first three are bad, each in its own way. */
  async function spoiled() {
    const { folder, file } = writeToyTask({ validation: false });
    const [train, test] = ["train", "test"].map((name) => path.join(folder, `${name}.jsonl`)) as [string, string];
    const words = readFileSync(file, "utf8").replace("{{ text }}", "{{ text | trim }}");
    writeFileSync(
      file,
      words.replace(/ {2}labels: .*\n/, "").replace("data:", "data:\n  validation: { path: v.jsonl }"),
    );
    const first = [
      { text: 5, half: "late" },
      { text: "xyz", half: "noon" },
      { text: "a".repeat(300), half: "early" },
    ];
    const lines = first.map((row) => JSON.stringify(row)).join("\n");
    writeFileSync(path.join(folder, "v.jsonl"), `${lines}\n${readFileSync(test, "utf8")}`);
    writeFileSync(train, `{"text": 5, "half": "late"}\n${readFileSync(train, "utf8")}`);
    return readTask(file);
  }
  const inV = [
    "v.jsonl:1: .*trim$",
    'v.jsonl:2: the answer "noon" is none of the 2 labels',
    "v.jsonl:3: .* context 256$",
  ];

  it("are left out of a comparison for all prompts, and counted", async () => {
    const told: string[] = [];
    const select = ["random", "similar", "diverse", "search"] as const;
    const given = { model, shots: [0, 2], select, pool: 40, budget: 40, compare: true, save: named("spoiled.json") };
    const found = await prompt(await spoiled(), {
      ...given,
      onBad: ({ file, line, reason }) => told.push(`${path.basename(file)}:${line}: ${reason}`),
    });
    const { prompts } = found.compared!;
    expect(prompts.map(({ rows, refused }) => [rows, refused])).toEqual(Array(5).fill([20, null]));
    expect([found.errors, told.sort()]).toEqual([
      4,
      ["train.jsonl:1: .*trim$", ...inV].map((words) => expect.stringMatching(words) as string),
    ]);
    expect(found.prompt.measured).toMatchObject({ rows: 20 });
  });

  it("are not shown: the first row after them is", async () => {
    const task = await spoiled();
    const { shown, errors } = await prompt(task, { model, shots: [0], show: true });
    const [, , , next] = (await readRows(task, "validation")).rows;
    expect(shown!.text).toBe(`${next!.fields.text}:`);
    expect(errors).toBe(4);
    await expect(prompt(task, { model, shots: [0], compare: true, strict: true })).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(/train\.jsonl:1: .*trim$/) as string,
    });
  });

  it("are as many as a prompt can be longer for: one that leaves out more than a tenth is refused with the numbers", async () => {
    const { folder, file } = writeToyTask({ validation: false });
    const long = (rows: number) => `${JSON.stringify({ text: "a".repeat(220), half: "early" })}\n`.repeat(rows);
    const compared = async (rows: number) => {
      appendFileSync(path.join(folder, "test.jsonl"), long(rows));
      const given = { model, shots: [0, 4], split: "test", compare: true } as const;
      const found = await prompt(await readTask(file), given);
      return [found.errors, ...found.compared!.prompts.map(({ rows, refused }) => [rows, refused])];
    };
    expect(await compared(2)).toEqual([2, [20, null], [20, null]]);
    const why = /^3 of 23 rows do not fit, the first .*test.jsonl:21: .* context 256; use fewer than 4 shots$/;
    expect(await compared(1)).toEqual([0, [23, null], [0, expect.stringMatching(why)]]);
  });

  it("are refused where there are no others", async () => {
    const { folder, file } = writeToyTask({ validation: false });
    writeFileSync(file, readFileSync(file, "utf8").replace("{{ text }}", "{{ text | trim }}"));
    writeFileSync(path.join(folder, "test.jsonl"), '{"text": 5, "half": "late"}\n');
    const asked = async (given: Partial<PromptOptions>) => {
      const error = prompt(await readTask(file), { model, shots: [0], compare: true, ...given });
      return expect(error).rejects;
    };
    const because = (message: RegExp) => ({ code: "input", message: expect.stringMatching(message) as string });
    const one = await asked({ split: "test" });
    await one.toMatchObject(because(/no row can be asked about: .*test\.jsonl:1: .*trim$/));
    writeFileSync(path.join(folder, "train.jsonl"), "{broken\n");
    const none = await asked({});
    await none.toMatchObject(
      because(/has no train rows to look at prompts with; the first is bad: .*train\.jsonl:1: /),
    );
  });
});

describe("a prompt file", () => {
  it("makes eval show what was tried", async () => {
    const file = await saved("two.json", { shots: [2], instructions: ["Half?"] });
    const predictions = named("two.jsonl");
    const found = await evaluate(task, { model, prompt: file, predictions });
    expect(found).toMatchObject({ shots: 2, prompt: file, rows: 20 });
    const { rows } = await readRows(task, "test");
    const [first] = await readPredictions(predictions);
    const { tried } = await prompt(task, { model, prompt: file, try: String(rows[0]!.fields.text) });
    expect(tried!.probabilities!.early).toBeCloseTo(first!.probabilities!.early!, 6);
    await expect(evaluate(task, { model, prompt: file, shots: 2 })).rejects.toThrow(
      /expected shots or prompt, received both/,
    );
  });

  it("of similar examples leaves out a row that does not suit the template, as any prompt does", async () => {
    const { folder, file } = writeToyTask();
    const two = "{{ text | trim }}{{ note | default('') }}";
    writeFileSync(file, readFileSync(file, "utf8").replace("{{ text }}", two));
    const noted = await readTask(file);
    appendFileSync(path.join(folder, "test.jsonl"), '{"text": 5, "half": "late"}\n');
    await prompt(noted, { model, shots: [2], select: ["similar"], save: named("nearest.json") });
    const found = await evaluate(noted, { model, prompt: named("nearest.json") });
    expect(found).toMatchObject({ rows: 20, bad_rows: [{ line: 21, reason: expect.stringMatching(/trim$/) }] });
  });

  it.each(["random", "similar"] as const)("makes batch answer as eval does: %s, calibrated", async (select) => {
    const file = await saved(`${select}.json`, { shots: [2], select: [select], calibrate: true });
    const [plain, predictions, out] = [`${select}-plain`, select, `${select}-batch`].map((name) =>
      named(`${name}.jsonl`),
    );
    await evaluate(task, { model, prompt: file, predictions: predictions! });
    const { computed } = await batch(task, { model, prompt: file, store: named(`${select}-store`), out: out! });
    const told = jsonLines(out!);
    const ours = await readPredictions(predictions!);
    for (const [index, row] of ours.entries()) {
      expect(told[index].prediction).toBe(row.prediction);
      expect(told[index].probabilities.early).toBeCloseTo(row.probabilities!.early!, 6);
    }
    // Without calibration the same store knows none of these answers.
    writeFileSync(plain!, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), calibrate: null }));
    const again = await batch(task, { model, prompt: plain!, store: named(`${select}-store`), out: out! });
    expect(again.computed).toBe(computed);
  });

  it("divides by what the prompt says to nothing (Zhao et al. 2021)", async () => {
    const options = { shots: [2] };
    const asked = async (text: string, calibrate: boolean) =>
      (await prompt(task, { model, ...options, calibrate, try: text })).tried!.probabilities!;
    const free = [await asked("N/A", false), await asked("[MASK]", false), await asked("", false)];
    const prior = (label: string) => free.reduce((sum, one) => sum + one[label]!, 0) / 3;
    const before = await asked("xyz", false);
    const weight = (label: string) => before[label]! / prior(label);
    const after = await asked("xyz", true);
    expect(after.early).toBeCloseTo(weight("early") / (weight("early") + weight("late")), 6);
    expect(after.early).not.toBeCloseTo(before.early!, 4);
  });
});

describe("examples", () => {
  it("that are searched for stand in the best of their orders", async () => {
    const { rows: train } = await readRows(task, "train");
    const labels = ["early", "late"].map((text) => ({ value: text, text }));
    const compiled = compilePrompt(task, model.template);
    // Seeds whose best draw is better the other way round.
    for (const seed of [7, 13, 14]) {
      const options = { shots: [2], select: ["search"], budget: 600, seed, show: true } as const;
      const { prompt: content } = await prompt(task, { model, ...options });
      // With so many prompts to score, both orders are tried on all rows that are neither in the pool nor compared on.
      const pool = sampleRows(train, Math.ceil(train.length / 2), seed);
      const rows = train.filter((row) => !pool.includes(row));
      const found = content.examples!.map(({ fields }) => pool.find((row) => row.fields.text === fields.text)!);
      const worth = async (order: number[]) => {
        const { of } = fixedShots(
          task,
          order.map((place) => found[place]!),
        );
        const job = { model, lora: null, task, rows, prompt: compiled, examples: of, labels };
        const { accuracy, log_loss } = summarise(task, (await evaluateRows(job)).rows, labels, 0).metrics;
        return 1000 * accuracy!.value - log_loss!.value;
      };
      expect(await worth([0, 1])).toBeGreaterThanOrEqual(await worth([1, 0]));
    }
  });

  it("never show a row its own answer, and the most alike stands last", async () => {
    const { rows } = await readRows(task, "train");
    const [first, second] = [rows[0]!, rows[1]!];
    expect(fixedShots(task, [first, second]).of({ ...first, file: "elsewhere", line: 99 })).toEqual([second]);
    const pool = new Neighbours(model, task, rows);
    const shots = similarShots(pool, 5);
    await shots.prepare(rows);
    for (const row of rows.slice(0, 10)) {
      expect(shots.of(row).map(({ fields }) => fields.text)).not.toContain(row.fields.text);
      expect(shots.of(row).at(-1)).toBe(similarShots(pool, 1).of(row)[0]);
    }
    expect(new Set(rows.map((row) => shots.of(row)[0]!.line)).size).toBeGreaterThan(1);
    // Looked for once a row.
    const looked = vi.spyOn(pool, "nearest");
    for (const row of rows) expect(shots.of(row)).toBe(shots.of(row));
    expect(looked).not.toHaveBeenCalled();
  });
});

it("tune learns rows behind a prompt file's examples", async () => {
  const file = await saved("tune.json", { shots: [1], instructions: ["Half?"] });
  const options = { model: model.info.path, threads: 1, steps: 1, rank: 2 };
  const bare = await tune(task, { ...options, out: named("bare") }).result;
  const { tokens } = await tune(task, { ...options, out: named("shown"), prompt: file }).result;
  const { prompt: content } = await prompt(task, { model, prompt: file, show: true });
  const shown = `Half?\n\n${content.examples![0]!.fields.text}: ${content.examples![0]!.value}\n\n`;
  // A token a byte, for each of the step's 16 rows, but where the example is the row itself.
  expect(tokens - bare.tokens).toBeLessThanOrEqual(16 * shown.length);
  expect(tokens - bare.tokens).toBeGreaterThan(14 * shown.length);
});

describe("a student", () => {
  const student = writeTextToy({}, { ...textToy, layers: 1, feedForward: 32 });
  const asked = (file: string) => ({ teacher: model.info.path, prompt: file, threads: 1 });

  it("is taught and measured behind a prompt file's examples", async () => {
    const file = await saved("taught.json", { shots: [2], instructions: ["Half?"] });
    const cache = named("taught");
    const { rows } = await teach(task, { ...asked(file), out: cache }).result;
    const options = { ...asked(file), student, cache, steps: 2 };
    const { comparison } = await distill(task, { ...options, out: named("student"), quantize: "Q8_0" }).result;
    for (const { metrics, model: one } of comparison)
      expect(metrics).toEqual((await evaluate(task, { model: one, prompt: file, threads: 1 })).metrics);
    expect(comparison.map(({ name }) => name)).toEqual(["teacher", "student", "quantized"]);
    const bare = distill(task, { ...options, prompt: undefined, out: named("bare-student") }).result;
    await expect(bare).rejects.toThrow(/does not fit: it was made with (an)?other/);
    // An audit looks at a cache by the prompt that it was made with.
    const { teacher } = await audit(task, { model, limit: 4, cache, prompt: file });
    expect(teacher!.rows + teacher!.silent).toBe(rows);
    await expect(audit(task, { model, limit: 4, cache })).rejects.toThrow(/does not fit/);
  });

  it("learns the answers that its teacher gives behind them", async () => {
    const file = await saved("own.json", { shots: [3], seed: 1 });
    const run = named("own-student");
    await distill(task, { ...asked(file), student, out: run, steps: 1, answers: "teacher", quantize: "none" }).result;
    const { answers } = JSON.parse(readFileSync(path.join(run, "answers.json"), "utf8")) as { answers: unknown[] };
    const { rows, metrics } = await evaluate(task, { model, prompt: file, split: "train" });
    expect(answers).toHaveLength(Math.round(rows * metrics.accuracy!.value));
  });

  it("has no teacher's cache of a prompt that gives each row its own examples", async () => {
    const file = await saved("each.json", { shots: [2], select: ["similar"] });
    await expect(teach(task, { ...asked(file), out: named("each") }).result).rejects.toThrow(/its own examples/);
  });
});

it("says where the rows are that are no examples, and what helps", async () => {
  const three = await readTask(writeToyTask({ rows: 3, validation: false }).file);
  await expect(prompt(three, { model, shots: [4], compare: true })).rejects.toMatchObject({
    code: "input",
    message:
      "halves has 2 training rows for examples (others judge the prompts), 4 were asked for: ask for no more with shots, or give more rows as data.train",
    options: ["shots"],
  });
});

it("tries no row without a field that the template prints", async () => {
  const template = "{{ text }}{% if more %}{{ more }}{% endif %}:";
  const two: Task = { ...task, prompt: { ...task.prompt, template } };
  const answered = (row: object) => prompt(two, { model, shots: [0], try: JSON.stringify(row) });
  expect((await answered({ text: "abc" })).tried).not.toBeNull();
  for (const row of [{ more: "x" }, { text: null, more: "x" }])
    await expect(answered(row)).rejects.toThrow(/^expected a JSON object with the fields more, text for try, received/);
});
