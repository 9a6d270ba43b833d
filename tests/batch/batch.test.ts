// Batches on a toy: what comes out, what is computed and what is known, in which order, within which limits, and after which changes.
import { appendFileSync, copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { type BatchOptions, batch } from "../../src/batch/index.js";
import { evaluate } from "../../src/evaluate/index.js";
import { tune } from "../../src/jobs/index.js";
import { openModel } from "../../src/model/index.js";
import { serve } from "../../src/serve/index.js";
import { openStore, storeStats, verifyStore } from "../../src/store/index.js";
import { readTask } from "../../src/task/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { flipped, tamper } from "../store/make.js";
import { jsonLines } from "../support/json-lines.js";
import { writeTextToy } from "../support/text_toy.js";
import { chat, completion, freshFolder, manyRequests, writeLines, writeOpenTask } from "./requests.js";

process.env.XDG_CACHE_HOME = path.join(freshFolder(), "cache");
let model = "";
beforeAll(() => {
  model = writeTextToy({
    "tokenizer.chat_template": "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>",
  });
});

function options(given: Partial<BatchOptions> = {}): BatchOptions {
  const folder = freshFolder();
  return { model, threads: 1, store: path.join(folder, "store"), out: path.join(folder, "out.jsonl"), ...given };
}

const lines = (file: string): { [name: string]: never }[] => jsonLines(file);

describe("a task", () => {
  it("gets the predictions of eval, once, and look-ups find them", async () => {
    const task = await readTask(writeToyTask().file);
    const to = options();
    const predictions = path.join(freshFolder(), "predictions.jsonl");
    await evaluate(task, { model, threads: 1, predictions });
    const result = await batch(task, to);
    expect(result).toMatchObject({ rows: 20, errors: 0, errors_file: null, stopped: null });
    expect(result.computed + result.from_store).toBe(20);
    const [ours, theirs] = [lines(to.out), lines(predictions)];
    expect(ours.map(({ index, answer, prediction }) => ({ index, answer, prediction }))).toEqual(
      theirs.map(({ index, answer, prediction }) => ({ index, answer, prediction })),
    );
    for (const [row, { probabilities }] of ours.entries())
      for (const [label, p] of Object.entries(probabilities as unknown as Record<string, number>))
        expect(p).toBeCloseTo((theirs[row]!.probabilities as unknown as Record<string, number>)[label]!, 4);
    const before = readFileSync(to.out);
    expect(await batch(task, to)).toMatchObject({ rows: 20, computed: 0, from_store: 20 });
    expect(readFileSync(to.out)).toEqual(before);
    const store = await openStore(to.store, { readOnly: true });
    const rows = readFileSync(path.join(path.dirname(task.file), "test.jsonl"), "utf8")
      .trim()
      .split("\n");
    for (const [row, line] of rows.entries()) {
      const { text } = JSON.parse(line) as { text: string };
      const found = store.lookup(` ${text.toUpperCase()}!`);
      expect(found).toMatchObject({
        hit: true,
        answer: ours[row]!.prediction,
        ended: "label",
        made_by: { model: "text-toy", adapter: null },
      });
      expect(found.probabilities).toEqual(ours[row]!.probabilities);
    }
    await store.close();
  });

  it("needs no answers in its rows, takes shots, and answers in words", async () => {
    const open = await readTask(writeOpenTask("generate", 30));
    const to = options();
    expect(await batch(open, to)).toMatchObject({ rows: 30, errors: 0 });
    expect(lines(to.out)[0]).toMatchObject({
      index: 0,
      answer: null,
      prediction: expect.any(String),
      probabilities: null,
    });
    const shots = await readTask(writeToyTask().file);
    const behind = options();
    await batch(shots, { ...behind, shots: 2 });
    expect(await batch(shots, { ...behind, shots: 2 })).toMatchObject({ computed: 0 });
    expect((await batch(shots, { ...behind, shots: 3 })).from_store).toBeLessThan(5);
  });

  it("a bad row costs that row", async () => {
    const toy = writeToyTask();
    appendFileSync(path.join(toy.folder, "test.jsonl"), `${JSON.stringify({ text: "x".repeat(300) })}\nno JSON\n`);
    const to = options();
    const bad: number[] = [];
    const result = await batch(await readTask(toy.file), { ...to, onBad: ({ line }) => bad.push(line) });
    expect(result).toMatchObject({ rows: 20, errors: 2, errors_file: `${to.out}.errors.jsonl` });
    expect(lines(result.errors_file!)).toMatchObject([
      { line: 21, reason: expect.stringMatching(/the prompt has 301 tokens/) },
      { line: 22, reason: expect.stringMatching(/is not JSON/) },
    ]);
    expect(bad).toEqual([21, 22]);
    // Once the rows are good, nothing speaks of them any more.
    writeFileSync(
      path.join(toy.folder, "test.jsonl"),
      readFileSync(path.join(toy.folder, "test.jsonl"), "utf8").split("\n").slice(0, 20).join("\n"),
    );
    expect(await batch(await readTask(toy.file), to)).toMatchObject({ computed: 0, errors: 0 });
    expect(existsSync(result.errors_file!)).toBe(false);
  });
});

/** What a server says to such a body. */
async function answerOf(body: Uint8Array) {
  const server = await serve({ store: path.join(freshFolder(), "store"), model, threads: 1, port: 0 });
  const response = await fetch(`${server.url}/v1/lookup`, { method: "POST", body: new Uint8Array(body) });
  const json = (await response.json()) as { error: { message: string } };
  await server.close();
  return { json };
}

describe("OpenAI's format", () => {
  it("answers come in it, equal requests are computed once, and look-ups find them", async () => {
    const to = options();
    const file = writeLines([
      completion("a", "plum"),
      chat("b", "Is a plum a drupe?"),
      completion("c", "plum", { model: "another name", user: "x" }),
      chat("d", "Is a plum a drupe?", { logprobs: true, top_logprobs: 2 }),
      {
        ...chat("e", "and now?"),
        body: {
          model: "m",
          max_tokens: 3,
          seed: 5,
          messages: [
            { role: "developer", content: "Be brief." },
            { role: "user", content: [{ type: "text", text: "and now?" }] },
          ],
        },
      },
    ]);
    expect(await batch(file, to)).toMatchObject({ rows: 5, computed: 4, from_store: 1, errors: 0 });
    const [a, b, c, d, e] = lines(to.out) as unknown as {
      custom_id: string;
      response: { status_code: number; body: { [name: string]: never } };
    }[];
    expect([a, b, c, d, e].map((line) => line!.custom_id)).toEqual(["a", "b", "c", "d", "e"]);
    expect(a!.response).toMatchObject({
      status_code: 200,
      body: {
        object: "text_completion",
        model: "text-toy",
        choices: [{ index: 0, finish_reason: "length" }],
        usage: { prompt_tokens: 4, completion_tokens: 4, total_tokens: 8 },
      },
    });
    expect(c!.response.body.choices).toEqual(a!.response.body.choices);
    expect(b!.response.body).toMatchObject({
      object: "chat.completion",
      choices: [{ message: { role: "assistant", content: expect.any(String) }, logprobs: null }],
    });
    expect(d!.response.body).toMatchObject({
      choices: [{ logprobs: { content: [{ top_logprobs: [{}, {}] }, {}, {}, {}] } }],
    });
    expect(e!.response.body).toMatchObject({ usage: { completion_tokens: 3 } });
    const store = await openStore(to.store, { readOnly: true });
    expect(store.lookup("Plum")).toMatchObject({ hit: true });
    expect(store.lookup("is a plum a drupe")).toMatchObject({ hit: true });
    expect(store.lookup("and now?")).toMatchObject({ hit: false });
    await store.close();
  });

  it("what cannot be answered is an error line with its reason, and the others go on", async () => {
    const to = options();
    const wrong: [object | string, RegExp][] = [
      ["{", /is not JSON/],
      [{ method: "POST" }, /has no custom_id/],
      [{ ...completion("x", "a"), method: "GET" }, /expected POST/],
      [{ ...completion("x", "a"), url: "/v1/images" }, /expected one of/],
      [completion("x", "a", { n: 2 }), /body\.n: n other than 1 is not supported/],
      [completion("x", "a", { stream: true }), /body\.stream/],
      [completion("x", "a", { temprature: 1 }), /body: unknown field temprature$/],
      [completion("x", "a", { model: undefined }), /body\.model: expected a text, received none$/],
      [completion("x", "a", { temperature: 3 }), /body\.temperature: expected a number of at most 2, received 3$/],
      [completion("x", "a", { stop: 3 }), /body\.stop: expected a text, or a list/],
      [chat("x", "a", { response_format: "json" }), /body\.response_format: expected type text/],
      [completion("x", "a", { max_tokens: 1000 }), /the model's context 256/],
      [completion("x", "a", { grammar: "no grammar" }), /GBNF/],
      [chat("x", "a", { tools: [] }), /body\.tools: tools is not supported/],
      [
        chat("x", "a", { response_format: { type: "json_schema", json_schema: { schema: { $ref: "http://x" } } } }),
        /./,
      ],
      [chat("x", "a", { messages: [{ role: "robot", content: "a" }] }), /body\.messages\[0\]\.role/],
    ];
    const file = writeLines([
      completion("good", "plum"),
      ...wrong.map(([line]) => line),
      completion("also good", "pear"),
    ]);
    const result = await batch(file, to);
    expect(result).toMatchObject({ rows: 2, errors: wrong.length });
    const errors = lines(result.errors_file!) as unknown as {
      custom_id: string | null;
      response: { status_code: number; body: { error: { message: string } } } | null;
      error: { message: string } | null;
    }[];
    for (const [place, [, reason]] of wrong.entries()) {
      const { response, error } = errors[place]!;
      expect(response?.body.error.message ?? error?.message).toMatch(reason);
      if (response) expect(response.status_code).toBe(400);
    }
    expect(await batch(file, to)).toMatchObject({ rows: 2, computed: 0, errors: wrong.length });
  });

  it("a line that is not UTF-8 is an error, and no other request", async () => {
    const file = writeLines([completion("a", "plum"), completion("b", "pear")]);
    const bytes = readFileSync(file);
    bytes[bytes.indexOf("pear")] = 0xff;
    writeFileSync(file, bytes);
    const result = await batch(file, options());
    expect(result).toMatchObject({ rows: 1, errors: 1 });
    expect(lines(result.errors_file!)[0]).toMatchObject({
      error: { message: expect.stringMatching(/:2: is not UTF-8/) },
    });
    const { json } = await answerOf(bytes);
    expect(json.error.message).toBe("the body is not UTF-8");
  });

  it("a schema holds, and a whole number below zero is refused as a seed", async () => {
    const to = options();
    const schema = { type: "object", properties: { a: { enum: [1, 2] } }, required: ["a"] };
    const file = writeLines([
      chat("a", "go", { max_tokens: 40, response_format: { type: "json_schema", json_schema: { name: "x", schema } } }),
    ]);
    await batch(file, to);
    const [line] = lines(to.out) as unknown as {
      response: { body: { choices: { message: { content: string } }[] } };
    }[];
    expect(JSON.parse(line!.response.body.choices[0]!.message.content)).toMatchObject({ a: expect.any(Number) });
  });
});

describe("order and limits", () => {
  it("windows of any size give the same bytes, and lines as they are finished the same lines", async () => {
    const file = writeLines(manyRequests(120));
    const [large, small, finished] = [options(), options({ window: 7 }), options({ order: "finished" })];
    const result = await batch(file, large);
    expect(result).toMatchObject({ rows: 119, errors: 1 });
    await batch(file, small);
    expect(readFileSync(small.out)).toEqual(readFileSync(large.out));
    expect(await batch(file, finished)).toMatchObject({ rows: 119, computed: result.computed });
    const sorted = (at: string) => readFileSync(at, "utf8").trim().split("\n").sort();
    expect(sorted(finished.out)).toEqual(sorted(large.out));
  });

  it.each(["classify", "generate"] as const)(
    "limits stop the work, and what follows ends with the bytes of one go: %s",
    async (kind) => {
      const task = await readTask(writeOpenTask(kind, 60));
      const [whole, pieces] = [options(), options()];
      const all = await batch(task, whole);
      const first = await batch(task, { ...pieces, maxRows: 7 });
      expect(first).toMatchObject({ computed: 7, stopped: "max_rows" });
      expect(lines(pieces.out)).toHaveLength(first.rows);
      expect(await batch(task, { ...pieces, maxTokens: 1 })).toMatchObject({ stopped: "max_tokens" });
      expect(await batch(task, { ...pieces, maxTime: 1e-6 })).toMatchObject({ stopped: "max_time" });
      expect(await batch(task, { ...pieces, maxRows: 1000 })).toMatchObject({ rows: all.rows, stopped: null });
      expect(readFileSync(pieces.out)).toEqual(readFileSync(whole.out));
    },
  );

  it("a signal ends it with what was done kept, and no file", async () => {
    const file = writeLines(manyRequests(300));
    const [whole, to] = [options(), options()];
    await batch(file, whole);
    const controller = new AbortController();
    const onProgress = ({ computed }: { computed: number }) => {
      if (computed > 0) controller.abort();
    };
    const cut = batch(file, { ...to, window: 64, signal: controller.signal, onProgress });
    await expect(cut).rejects.toMatchObject({
      code: "cancelled",
      message: expect.stringMatching(/what was done is kept/),
    });
    expect(existsSync(to.out)).toBe(false);
    const rest = await batch(file, to);
    expect(rest.computed).toBeLessThan((await batch(file, options())).computed);
    expect(readFileSync(to.out)).toEqual(readFileSync(whole.out));
  });
});

describe("a second run", () => {
  it.each(["a task", "requests"] as const)("makes no tokens of what is known, and writes nothing: %s", async (kind) => {
    const input =
      kind === "a task"
        ? await readTask(writeOpenTask("classify", 40))
        : writeLines([
            ...manyRequests(40).slice(0, 39),
            chat("a chat", "plum"),
            chat("no limit", "a", { max_tokens: null }),
          ]);
    const open = await openModel(model, { threads: 1 });
    const to = options({ model: open });
    await batch(input, to);
    const [before, store] = [readFileSync(to.out), readFileSync(path.join(to.store, "data.mdb"))];
    const prompts = vi.spyOn(open.tokenizer, "tokenize");
    const again = await batch(input, to);
    expect(again).toMatchObject({ computed: 0, errors: 0 });
    const texts = prompts.mock.calls.map(([text]) => text);
    expect(texts.filter((text) => /plum|Fruit|Herb|Tree|alphabet/.test(text))).toEqual([]);
    expect(readFileSync(to.out)).toEqual(before);
    expect(readFileSync(path.join(to.store, "data.mdb")).equals(store)).toBe(true);
    await open.close();
  });

  it("of a store that knows requests by their tokens only learns the rest once", async () => {
    const file = writeLines(manyRequests(40).slice(0, 39));
    const to = options();
    const first = await batch(file, to);
    const store = await openStore(to.store);
    for (const { key } of [...store.tables.aliases.getRange()])
      if (key[8] === 0x20) store.write(() => store.tables.aliases.removeSync(key));
    const { aliases } = await storeStats(store);
    await store.close();
    expect(await batch(file, to)).toMatchObject({ computed: 0, rows: first.rows });
    const after = await openStore(to.store, { readOnly: true });
    expect((await storeStats(after)).aliases).toBeGreaterThan(aliases);
    await after.close();
  });
});

describe("what can change an answer", () => {
  it("another model under the same path, adapter, precision or namespace computes anew; another path does not", async () => {
    const file = writeLines([completion("a", "plum"), completion("b", "pear")]);
    const place = path.join(freshFolder(), "model.gguf");
    copyFileSync(model, place);
    const to = options({ model: place });
    expect(await batch(file, to)).toMatchObject({ computed: 2 });
    expect(await batch(file, { ...to, model })).toMatchObject({ computed: 0 });
    copyFileSync(writeTextToy({ "general.description": "another" }), place);
    expect(await batch(file, to)).toMatchObject({ computed: 2 });
    expect(await batch(file, { ...to, namespace: "b" })).toMatchObject({ computed: 2 });
    const run = path.join(freshFolder(), "run");
    const { adapter } = await tune(await readTask(writeToyTask().file), {
      model,
      out: run,
      steps: 2,
      rank: 2,
      threads: 1,
    }).result;
    expect(await batch(file, { ...to, model, adapter: run })).toMatchObject({ computed: 2 });
    expect(await batch(file, { ...to, model, adapter: adapter!.gguf })).toMatchObject({ computed: 0 });
    expect(await batch(file, { ...to, model, adapter: adapter!.peft })).toMatchObject({ computed: 0 });
    const store = await openStore(to.store, { readOnly: true });
    expect(store.lookup("plum").made_by?.adapter?.scale).toBe(2);
    expect((await verifyStore(store)).damaged).toBe(0);
    await store.close();
  });

  it("an answer that expired or was damaged is computed again", async () => {
    const file = writeLines([completion("a", "plum")]);
    const to = options({ lifetime: 0.2 });
    await batch(file, to);
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(await batch(file, to)).toMatchObject({ computed: 1 });
    const lasting = options();
    await batch(file, lasting);
    const before = readFileSync(lasting.out);
    // A bit of its text.
    await tamper(lasting.store, "answers", (value) => flipped(value, 50));
    expect(await batch(file, lasting)).toMatchObject({ computed: 1, from_store: 0 });
    expect(readFileSync(lasting.out)).toEqual(before);
    expect(await batch(file, lasting)).toMatchObject({ computed: 0, from_store: 1 });
  });
});

describe("misuse", () => {
  it.each<[string, Partial<BatchOptions>, string, RegExp]>([
    ["no store", { store: "" }, "usage", /for store, received/],
    ["an order that is none", { order: "random" as never }, "usage", /for order, received/],
    ["a limit that is none", { maxRows: 0 }, "usage", /for maxRows, received/],
    ["an unknown option", { maxRow: 1 } as never, "usage", /did you mean maxRows/],
    ["no such model", { model: "/none.gguf" }, "missing", /none\.gguf/],
    ["no such adapter", { adapter: "/none" }, "missing", /none/],
    ["no folder for the answers", { out: "/none/out.jsonl" }, "io", /there is no folder/],
  ])("%s leaves nothing", async (_name, given, code, message) => {
    const folder = freshFolder();
    const input = writeLines([completion("a", "plum")]);
    const failing = batch(input, options({ store: path.join(folder, "a", "b"), ...given }));
    await expect(failing).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(readdirSync(folder)).toEqual([]);
  });

  it("input that is none leaves nothing, and takes nothing from a store that was there", async () => {
    const folder = freshFolder();
    const store = path.join(folder, "store");
    const input = writeLines([completion("a", "plum")]);
    for (const [none, code] of [
      [`${input}.none`, "missing"],
      ["/dev/null", "usage"],
      [path.dirname(input), "usage"],
    ] as const) {
      await expect(batch(none, options({ store }))).rejects.toMatchObject({ code });
      expect(existsSync(store)).toBe(false);
    }
    await batch(input, options({ store }));
    await expect(batch(input, options({ store, model: "/none.gguf" }))).rejects.toMatchObject({ code: "missing" });
    expect(await batch(input, options({ store }))).toMatchObject({ from_store: 1 });
    // A folder that was there stays, without what was begun in it.
    const [empty, server] = [freshFolder(), path.join(folder, "server")];
    await expect(batch(input, options({ store: empty, model: "/none.gguf" }))).rejects.toThrow();
    expect(readdirSync(empty)).toEqual([]);
    await expect(serve({ store: server, model: "/none.gguf" })).rejects.toMatchObject({ code: "missing" });
    expect(existsSync(server)).toBe(false);
  });

  it("never writes over its input", async () => {
    const file = writeLines([completion("a", "plum")]);
    await expect(batch(file, options({ out: file }))).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/is the input of the batch/),
    });
  });
});
