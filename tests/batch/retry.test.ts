// Rows that fail at work: faults are planted in the engine, and cost the rows they are about.
import { readFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { type BatchOptions, batch } from "../../src/batch/index.js";
import { type Model, openModel } from "../../src/model/index.js";
import type { NativeBatch, NativeDecodeRequest } from "../../src/support/native.js";
import { readTask } from "../../src/task/index.js";
import { writeTextToy } from "../support/text_toy.js";
import { completion, freshFolder, writeLines, writeOpenTask } from "./requests.js";

process.env.XDG_CACHE_HOME = path.join(freshFolder(), "cache");
let file = "";
let model: Model;
beforeAll(() => {
  file = writeTextToy();
});
beforeEach(async () => {
  model = await openModel(file, { threads: 1 });
});
afterEach(() => model.close());

function options(): BatchOptions {
  const folder = freshFolder();
  return { model, store: path.join(folder, "store"), out: path.join(folder, "out.jsonl") };
}

/** Whether this is there, as the toy's tokens, which are bytes. */
const holds = (tokens: Int32Array, text: string) => Buffer.from(tokens).includes(text);

/** Scoring of a batch, or a step of a decoder, throws where `fails` says so of all tokens that are under way. */
function plant(fails: (tokens: readonly Int32Array[]) => Error | null): void {
  const { score, createDecoder } = model.native;
  vi.spyOn(model.native, "score").mockImplementation(async (given: NativeBatch, lora) => {
    const error = fails([given.tokens]);
    if (error) throw error;
    return score.call(model.native, given, lora);
  });
  vi.spyOn(model.native, "createDecoder").mockImplementation(async (...given) => {
    const decoder = await createDecoder.apply(model.native, given);
    const { add, step } = decoder;
    const alive = new Map<number, Int32Array>();
    return Object.assign(decoder, {
      add(request: NativeDecodeRequest) {
        const id = add.call(decoder, request);
        alive.set(id, request.prompt);
        return id;
      },
      async step() {
        const error = fails([...alive.values()]);
        if (error) throw error;
        const taken = await step.call(decoder);
        for (const { id } of taken.finished) alive.delete(id);
        return taken;
      },
    });
  });
}

const poison = (text: string) => (tokens: readonly Int32Array[]) =>
  tokens.some((one) => holds(one, text)) ? new Error("the log-probability is NaN") : null;

const lines = (at: string) => readFileSync(at, "utf8").trim().split("\n");

describe.each(["classify", "generate"] as const)("rows that fail: %s", (kind) => {
  it("are error rows with their reason after three tries alone, and the others are answered as ever", async () => {
    const task = await readTask(writeOpenTask(kind, 60));
    const [whole, to] = [options(), options()];
    const undisturbed = await batch(task, whole);
    const rows = lines(path.join(path.dirname(task.file), "rows.jsonl")).map((line) => JSON.parse(line).text as string);
    const bad = [3, 4, 50];
    let tries = 0;
    plant((tokens) => {
      const found = bad.some((row) => tokens.some((one) => holds(one, `${rows[row]}:`)));
      if (found && tokens.length === 1) tries++;
      return found ? new Error("the log-probability is NaN") : null;
    });
    const warnings: string[] = [];
    const told: object[] = [];
    const result = await batch(task, {
      ...to,
      onWarning: (message) => warnings.push(message),
      onBad: ({ line, reason }) => told.push({ line, reason }),
    });
    expect(result).toMatchObject({ rows: undisturbed.rows - bad.length, errors: bad.length, stopped: null });
    expect(told).toEqual(bad.map((row) => ({ line: row + 1, reason: "failed 3 times: the log-probability is NaN" })));
    expect(lines(to.out)).toEqual(lines(whole.out).filter((_, row) => !bad.includes(row)));
    expect(warnings.filter((message) => /a row failed, it is tried again/.test(message))).toHaveLength(2 * bad.length);
    // What failed is not kept: with the fault gone a rerun does the rest, and ends with the bytes of one go.
    vi.restoreAllMocks();
    await model.close();
    expect(await batch(task, { ...to, model: file, threads: 1 })).toMatchObject({ computed: bad.length, errors: 0 });
    expect(readFileSync(to.out)).toEqual(readFileSync(whole.out));
    expect(tries).toBeLessThan(60);
  });

  it("by a passing fault lose nothing", async () => {
    const task = await readTask(writeOpenTask(kind, 40));
    const [whole, to] = [options(), options()];
    await batch(task, whole);
    let left = 3;
    plant(() => (left-- > 0 ? new Error("out of memory") : null));
    expect(await batch(task, to)).toMatchObject({ rows: 40, errors: 0 });
    expect(readFileSync(to.out)).toEqual(readFileSync(whole.out));
  });

  it("one behind the other without end are the machine's failure: the job ends, what was done is kept", async () => {
    const task = await readTask(writeOpenTask(kind, 200));
    const to = options();
    await batch(task, { ...to, maxRows: 20 });
    plant(() => new Error("the device is gone"));
    const failing = batch(task, { ...to, retries: 0, window: 40 });
    await expect(failing).rejects.toMatchObject({
      code: "internal",
      message: expect.stringMatching(/^64 rows failed one behind the other, .*: the device is gone$/),
    });
    vi.restoreAllMocks();
    await model.close();
    const rest = await batch(task, { ...to, model: file, threads: 1 });
    expect(rest).toMatchObject({ rows: 200, errors: 0 });
    expect(rest.from_store).toBeGreaterThanOrEqual(20);
  });
});

it("that are many, with answers between them, do not end the job", async () => {
  plant(poison("pear"));
  const input = writeLines(
    Array.from({ length: 140 }, (_, row) => completion(`${row}`, `${row % 2 ? "pear" : "plum"} ${row}`)),
  );
  expect(await batch(input, { ...options(), retries: 0 })).toMatchObject({ rows: 70, errors: 70 });
});

it("--retries 0 tries a row that is alone once", async () => {
  let steps = 0;
  plant((tokens) => {
    steps++;
    return poison("pear")(tokens);
  });
  const input = writeLines([completion("a", "pear"), completion("b", "plum", { n: 2 })]);
  const result = await batch(input, { ...options(), retries: 0 });
  expect(result).toMatchObject({ rows: 0, errors: 2 });
  expect(steps).toBe(1);
  // What failed at work is not the request's fault.
  expect(lines(result.errors_file!).map((line) => JSON.parse(line))).toMatchObject([
    {
      custom_id: "a",
      response: {
        status_code: 500,
        body: { error: { type: "server_error", message: expect.stringMatching(/: the log-probability is NaN$/) } },
      },
    },
    { custom_id: "b", response: { status_code: 400, body: { error: { type: "invalid_request_error" } } } },
  ]);
});

it("a failure that is the job's ends it at once", async () => {
  let steps = 0;
  plant(() => {
    steps++;
    return Object.assign(new Error("the model's file is gone"), { code: "io" });
  });
  const failing = batch(writeLines([completion("a", "pear"), completion("b", "plum")]), options());
  await expect(failing).rejects.toMatchObject({
    code: "io",
    message: expect.stringMatching(/the model's file is gone/),
  });
  expect(steps).toBe(1);
});

it("a row that cannot be laid out costs that row", async () => {
  const { tokenize } = model.tokenizer;
  vi.spyOn(model.tokenizer, "tokenize").mockImplementation((...given) => {
    if (given[0].includes("pear")) throw new Error("no tokens for this");
    return tokenize.apply(model.tokenizer, given);
  });
  const input = writeLines([completion("a", "pear"), completion("b", "plum")]);
  const result = await batch(input, options());
  expect(result).toMatchObject({ rows: 1, errors: 1 });
  expect(readFileSync(result.errors_file!, "utf8")).toContain("no tokens for this");
});
