// The misuse matrix of a store: each call on it before it is there, while another writes, opened for reading, after close, after abort.
import { mkdtempSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import {
  backupStore,
  exportStore,
  importStore,
  openStore,
  pruneStore,
  type Store,
  storeStats,
  verifyStore,
} from "../../src/index.js";
import { entryOf } from "../store/make.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-misuse-"));
const exported = path.join(folder, "export.jsonl");
const aborted = AbortSignal.abort();
let count = 0;
const fresh = () => path.join(folder, `place-${++count}`);
const entries = (from: number) =>
  Array.from({ length: 50 }, (_, one) => entryOf(from + one, `answer ${from + one}`, [`question ${from + one}`]));

interface Call {
  name: string;
  run: (store: Store, signal?: AbortSignal) => Promise<unknown>;
  /** What it says of a store of 50 answers, whoever reads beside it. */
  finds: unknown;
  writes?: true;
  /** It takes no signal. */
  short?: true;
}
const signalled = (signal?: AbortSignal) => (signal ? { signal } : {});
const calls: Call[] = [
  { name: "lookup", run: async (store) => store.lookup("question 7"), finds: { answer: "answer 7" }, short: true },
  { name: "storeStats", run: (store, signal) => storeStats(store, signalled(signal)), finds: { expired: 0 } },
  { name: "verifyStore", run: (store, signal) => verifyStore(store, signalled(signal)), finds: { damaged: 0 } },
  {
    name: "exportStore",
    run: (store, signal) => exportStore(store, fresh(), signalled(signal)),
    finds: { damaged: 0 },
  },
  { name: "backupStore", run: (store) => backupStore(store, fresh()), finds: { out: expect.any(String) }, short: true },
  {
    name: "importStore",
    run: (store, signal) => importStore(store, exported, signalled(signal)),
    finds: { answers: 50, errors: 0 },
    writes: true,
  },
  {
    name: "pruneStore",
    run: (store, signal) => pruneStore(store, { olderThan: 3600, ...signalled(signal) }),
    finds: { removed: 0 },
    writes: true,
  },
];

async function filled(): Promise<Store> {
  const store = await openStore(fresh());
  await store.put(entries(0));
  return store;
}
beforeAll(async () => {
  const store = await filled();
  await exportStore(store, exported);
  await store.close();
});

describe("before there is a store", () => {
  it("to read says that it is missing, and makes none", async () => {
    const nowhere = fresh();
    for (let turn = 0; turn < 2; turn++)
      await expect(openStore(nowhere, { readOnly: true })).rejects.toMatchObject({
        code: "missing",
        message: expect.stringContaining(nowhere),
      });
  });
});

describe("while answers are written", () => {
  it.each(calls)(
    "$name on the same store, and from a second reader unless it writes",
    async ({ run, finds, writes }) => {
      const store = await filled();
      const [, found] = await Promise.all([store.put(entries(100)), run(store)]);
      expect(found).toMatchObject(finds as object);
      if (!writes) {
        const reader = await openStore(store.folder, { readOnly: true });
        const [, beside] = await Promise.all([store.put(entries(200)), run(reader)]);
        expect(beside).toMatchObject(finds as object);
        await reader.close();
      }
      for (const number of [0, 100, writes ? 149 : 249])
        expect(store.lookup(`question ${number}`).answer).toBe(`answer ${number}`);
      await store.close();
    },
  );

  it("a second writer is refused by name, and the first goes on", async () => {
    const store = await filled();
    await expect(openStore(store.folder)).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining(String(process.pid)),
    });
    await store.put(entries(100));
    await store.close();
  });
});

describe("opened for reading only", () => {
  it.each(calls.filter(({ writes }) => writes))("$name says so, and changes nothing", async ({ run }) => {
    const store = await filled();
    await store.close();
    const reader = await openStore(store.folder, { readOnly: true });
    await expect(run(reader)).rejects.toMatchObject({
      code: "usage",
      message: `the store ${store.folder} was opened for reading only`,
    });
    expect(await storeStats(reader)).toMatchObject({ answers: 50 });
    await reader.close();
  });
});

describe("after close", () => {
  it.each(calls)("$name says that the store is closed", async ({ run }) => {
    const store = await filled();
    expect(store.close()).toBe(store.close());
    await store.close();
    await expect(run(store)).rejects.toMatchObject({ code: "usage", message: `the store ${store.folder} is closed` });
  });
});

describe("after abort", () => {
  it.each(calls.filter(({ short }) => !short))(
    "$name does nothing, and leaves the store usable",
    async ({ run, finds }) => {
      const store = await filled();
      await expect(run(store, aborted)).rejects.toMatchObject({ code: "cancelled" });
      expect(await storeStats(store)).toMatchObject({ answers: 50 });
      expect(await run(store)).toMatchObject(finds as object);
      await store.close();
    },
  );
});
