// Rows of a task by HTTP: the answers of eval and batch, with all that is saved beside an adapter or in a prompt file; known ones from the store.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type BatchOptions, batch } from "../../src/batch/index.js";
import { type ServeOptions, serve } from "../../src/serve/index.js";
import { openStore } from "../../src/store/index.js";
import { readTask, type Task } from "../../src/task/index.js";
import { freshFolder } from "../batch/requests.js";
import { calibratedPrompt, calibratedRun } from "../batch/runs.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { jsonLines } from "../support/json-lines.js";
import { writeTextToy } from "../support/text_toy.js";
import { metric, post, started } from "./server.js";

let [model, task]: [string, Task] = ["", null as never];
let texts: string[] = [];
beforeAll(async () => {
  model = writeTextToy();
  const toy = writeToyTask();
  task = await readTask(toy.file);
  texts = jsonLines(path.join(toy.folder, "test.jsonl")).map(({ text }) => text as string);
});

interface Predicted {
  answer: string;
  probabilities: Record<string, number> | null;
}

/** What batch answers, and its store. */
async function batched(given: Partial<BatchOptions>): Promise<{ answers: Predicted[]; store: string }> {
  const folder = freshFolder();
  const [store, out] = [path.join(folder, "store"), path.join(folder, "out.jsonl")];
  await batch(task, { model, threads: 1, ...given, store, out });
  const answers = jsonLines(out).map(({ prediction, probabilities }) => ({ answer: prediction, probabilities }));
  return { answers, store };
}

describe("rows of the task are answered as batch answers them", () => {
  it.each<[string, () => Promise<Partial<BatchOptions> & Partial<ServeOptions>>]>([
    ["as they are", async () => ({})],
    ["with a calibrated adapter", async () => ({ adapter: await calibratedRun(task, model, false) })],
    ["with a head and its calibration", async () => ({ adapter: await calibratedRun(task, model, true) })],
    ["with a calibrated prompt file", async () => ({ prompt: await calibratedPrompt(task, model) })],
    ["with answered rows before each prompt", async () => ({ shots: 2, seed: 3 })],
  ])("%s", async (name, options) => {
    const given = await options();
    const { answers, store } = await batched(given);
    if (given.adapter) {
      const open = answers.filter(({ answer }) => answer === "").length;
      expect(open).toBeGreaterThan(0);
      expect(open).toBeLessThan(answers.length);
    }
    const rows = texts.map((text) => ({ text }));
    // A server of its own computes the same bits; one on the batch's store computes nothing.
    const fresh = await started({ model, task, ...given });
    const [one, ...rest] = rows;
    const first = await post(fresh, "/v1/predict", { row: one });
    expect(first.headers.get("x-stillroom-cache"), name).toBe("miss");
    const others = await post(fresh, "/v1/predict", { rows: rest });
    const all = [first.json, ...others.json.answers];
    expect(all.map(({ answer, probabilities }: Predicted) => ({ answer, probabilities }))).toEqual(answers);
    expect((await post(fresh, "/v1/predict", { row: one })).headers.get("x-stillroom-cache")).toBe("hit");
    // What live traffic asked is found by its text.
    const { hit, answer } = (await post(fresh, "/v1/lookup", { key: texts[0] })).json;
    expect({ hit, answer }).toEqual({ hit: true, answer: answers[0]!.answer });
    await fresh.close();
    const known = await serve({ store, model, task, port: 0, threads: 1, live: false, ...given });
    const hits = await post(known, "/v1/predict", { rows });
    expect(hits.headers.get("x-stillroom-cache")).toBe("hit");
    expect(hits.json.answers.map(({ answer }: Predicted) => answer)).toEqual(answers.map(({ answer }) => answer));
    expect((await post(known, "/v1/predict", { row: { text: "new to all" } })).json.error.code).toBe(
      "answer_not_found",
    );
    await known.close();
  });

  it("in words, where the task asks for words", async () => {
    const folder = freshFolder();
    writeFileSync(path.join(folder, "rows.jsonl"), `${JSON.stringify({ text: "a plum" })}\n`);
    const lines = ["name: words", "kind: generate", "data: { test: { path: rows.jsonl } }", "maxTokens: 3"];
    writeFileSync(path.join(folder, "task.yaml"), `${[...lines, 'prompt: { template: "{{ text }}:" }'].join("\n")}\n`);
    const words = await readTask(path.join(folder, "task.yaml"));
    const out = path.join(folder, "out.jsonl");
    await batch(words, { model, threads: 1, store: path.join(folder, "store"), out });
    const server = await started({ model, task: words, sequences: 1, waiting: 0 });
    const { json } = await post(server, "/v1/predict", { row: { text: "a plum" } });
    expect(json).toMatchObject({ answer: JSON.parse(readFileSync(out, "utf8")).prediction, probabilities: null });
    // One that may write one answer at a time, and let nobody wait, writes those of one request one by one.
    const rows = Array.from({ length: 6 }, (_, row) => ({ text: `a plum ${row}` }));
    expect((await post(server, "/v1/predict", { rows })).json.answers).toHaveLength(6);
    await server.close();
  });
});

it("what is asked at once by many is computed once, and who leaves leaves nothing behind", async () => {
  const server = await started({ model, task });
  const row = { text: "asked by many" };
  const all = await Promise.all(Array.from({ length: 50 }, () => post(server, "/v1/predict", { row })));
  expect(new Set(all.map(({ json }) => JSON.stringify(json))).size).toBe(1);
  expect(await metric(server, 'stillroom_answers_total{from="model"}')).toBe(1);
  const leaving = new AbortController();
  const body = JSON.stringify({ rows: Array.from({ length: 400 }, (_, n) => ({ text: `left behind ${n}` })) });
  const left = fetch(`${server.url}/v1/predict`, { method: "POST", body, signal: leaving.signal });
  setTimeout(() => leaving.abort(), 50);
  await expect(left).rejects.toThrow();
  expect((await post(server, "/v1/predict", { row: { text: "after them" } })).status).toBe(200);
  expect(await metric(server, 'stillroom_answers_total{from="model"}')).toBeLessThan(300);
  await server.close();
});

const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)]);

it.each<[string, object, RegExp]>([
  ["no row", {}, /expected a row's fields for row/],
  ["both", { row: { text: "a" }, rows: [] }, /expected a row's fields for row/],
  ["a text", { row: "a" }, /^row: is not a JSON object/],
  ["a row with NUL", { rows: [{ text: "a" }, { text: "a\0b" }] }, /rows\[1\]: holds a NUL character/],
  ["a row with half a pair", { row: { text: "\ud83d" } }, /^row: holds a lone surrogate/],
  ["a row with half a pair in a field's name", { row: { text: "a", "\udc00": 1 } }, /^row: holds a lone surrogate/],
  ["a row that nests", { row: { text: "a", more: nested(40) } }, /^row: is nested deeper than 32 levels/],
  ["a row without its field", { rows: [{ text: "a" }, { txt: "b" }] }, /rows\[1\]: has no text/],
  ["a row that is too long", { row: { text: "a".repeat(300) } }, /^row: the prompt has/],
  [
    "a row that is too long, among others",
    { rows: [{ text: "a" }, { text: "a".repeat(300) }] },
    /^rows\[1\]: the prompt has/,
  ],
  ["an unknown field", { row: { text: "a" }, model: "gpt" }, /unknown field model/],
])("%s is refused with its reason", async (_name, body, message) => {
  const server = await started({ model, task });
  const { status, json } = await post(server, "/v1/predict", body);
  expect({ status, type: json.error.type }).toEqual({ status: 400, type: "invalid_request_error" });
  expect(json.error.message).toMatch(message);
  await server.close();
});

it("a server without a task says how it gets one; a task without a model, and its options without it, are refused", async () => {
  const server = await started({ model });
  expect(await post(server, "/v1/predict", { row: { text: "a" } })).toMatchObject({
    status: 404,
    json: { error: { code: "no_task", message: expect.stringMatching(/--task/) } },
  });
  await server.close();
  const store = path.join(freshFolder(), "store");
  await (await openStore(store)).close();
  for (const [options, message] of [
    [{ task }, /expected a model for task/],
    [{ model, prompt: "p.json" }, /expected a task for prompt/],
    [{ model, shots: 2 }, /expected a task for shots/],
    [{ model, task, shots: 2, prompt: "p.json" }, /expected shots or prompt, received both/],
  ] as const)
    await expect(serve({ store, port: 0, ...options })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(message),
    });
});
