// The misuse matrix of a queue: each call before there is a PostgreSQL or a model, while another is at it, with a closed model, after abort.
import { existsSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import { type Model, openModel, openStore, queueBatch, queueStatus, work } from "../../src/index.js";
import { completion, freshFolder, writeLines } from "../batch/requests.js";
import { postgresOfFile } from "../queue/postgres.js";
import { needs } from "../support/needs.js";
import { writeTextToy } from "../support/text_toy.js";

process.env.XDG_CACHE_HOME = path.join(freshFolder(), "cache");
const it = needs("postgres");
const folder = freshFolder();
const nowhere = "postgres://me@127.0.0.1:9/none";
const input = writeLines([completion("a", "plum"), completion("b", "pear")]);
const aborted = AbortSignal.abort();
let count = 0;
const fresh = () => path.join(folder, `place-${++count}`);
const file = writeTextToy();
const postgres = await postgresOfFile();

interface Given {
  queue: string;
  model?: string | Model;
  store?: string;
  signal?: AbortSignal;
}
interface Call {
  name: string;
  run: (given: Given) => Promise<unknown>;
  /** It takes a model and a store. */
  models: boolean;
  /** What a worker is told is when to end: it ends, having done nothing. */
  ends?: unknown;
}
const calls: Call[] = [
  { name: "queueStatus", run: ({ model: _, store: __, ...given }) => queueStatus(given), models: false },
  { name: "queueBatch", run: (given) => queueBatch(input, { ...given, out: fresh(), threads: 1 }), models: true },
  {
    name: "work",
    run: (given) => work({ store: fresh(), ...given, threads: 1, drain: true }),
    models: true,
    ends: { rows: 0 },
  },
];
const withModels = calls.filter(({ models }) => models);

// Each waits some seconds for a server to come: side by side.
it("before there is a PostgreSQL, each says that it is missing", async () => {
  const missing = { code: "missing", message: expect.stringContaining("127.0.0.1:9") };
  const all = calls.map(({ run }) => expect(run({ queue: nowhere, model: file })).rejects.toMatchObject(missing));
  await Promise.all(all);
});

for (const { name, run } of calls) {
  it(`with another's URL, ${name} names the option`, async () => {
    await expect(run({ queue: "mysql://me@host/db", model: file })).rejects.toMatchObject({ code: "usage" });
  });
}

for (const { name, run, ends } of withModels) {
  it(`before there is a model, ${name} says that it is missing`, async () => {
    const model = fresh();
    await expect(run({ queue: postgres.url, model })).rejects.toMatchObject({
      code: "missing",
      message: expect.stringContaining(model),
    });
  });

  it(`with a closed model, ${name} says so`, async () => {
    const model = await openModel(file, { threads: 1 });
    await model.close();
    await expect(run({ queue: postgres.url, model })).rejects.toMatchObject({
      code: "usage",
      message: `the model ${file} is closed`,
    });
  });

  it(`while another writes to its store, ${name} names that process`, async () => {
    const store = await openStore(fresh());
    await expect(run({ queue: postgres.url, model: file, store: store.folder })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining(String(process.pid)),
    });
    await store.close();
  });

  it(`after abort, ${name} does nothing, and leaves model and store usable`, async () => {
    const [model, store] = [await openModel(file, { threads: 1 }), fresh()];
    const called = run({ queue: postgres.url, model, store, signal: aborted });
    if (ends) expect(await called).toMatchObject(ends);
    else await expect(called).rejects.toMatchObject({ code: "cancelled" });
    expect(existsSync(path.join(folder, `place-${count}`))).toBe(false);
    expect(await model.tokenizer.tokenize("a", false, false)).toHaveLength(1);
    await (await openStore(store)).close();
    await model.close();
  });
}

it("queueBatch and work on one open model are done beside each other", async () => {
  const model = await openModel(file, { threads: 1 });
  const out = fresh();
  const asked = queueBatch(input, { queue: postgres.url, model, out, threads: 1 });
  while ((await queueStatus({ queue: postgres.url }))[0]?.state !== "answering")
    await new Promise((resolve) => setTimeout(resolve, 20));
  const [result, worker] = await Promise.all([
    asked,
    work({ queue: postgres.url, model, store: fresh(), drain: true }),
  ]);
  expect(result).toMatchObject({ rows: 2, computed: 2 });
  expect(worker).toMatchObject({ rows: 2 });
  await model.close();
});
