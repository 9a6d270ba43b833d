// The store: what was written is found, by its request and by its texts, until it is too old, too much or damaged.
import { existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { open } from "lmdb";
import { describe, expect, it } from "vitest";
import { checksum, xxHash32 } from "../../src/store/checksum.js";
import {
  backupStore,
  exportStore,
  importStore,
  type OpenStoreOptions,
  openStore,
  pruneStore,
  type Store,
  sha256,
  storeStats,
  verifyStore,
} from "../../src/store/index.js";
import { packRecord, unpackRecord } from "../../src/store/record.js";
import { longest, sized } from "../support/long.js";
import { answerOf, embeddingOf, entryOf, freshFolder, maker, tamper } from "./make.js";

async function filled(count = 3, options: OpenStoreOptions = {}, folder = freshFolder()): Promise<Store> {
  const store = await openStore(folder, options);
  await store.put(
    Array.from({ length: count }, (_, number) => entryOf(number, ` answer ${number} `, [`Question ${number}?`])),
  );
  return store;
}

describe("look-ups", () => {
  it("finds a text as it was written and as people write it, and says what made the answer", async () => {
    const store = await filled();
    const hit = { hit: true, answer: "answer 1", made_by: maker, probabilities: null, ended: "end" };
    expect(store.lookup("Question 1?")).toEqual({ key: "Question 1?", ...hit });
    expect(store.lookup(" question １")).toEqual({ key: " question １", ...hit });
    expect(store.lookup("Question 11?")).toMatchObject({ hit: false, answer: null, made_by: null });
    expect(store.lookup("?")).toMatchObject({ hit: false });
    expect(store.counts).toEqual({ hits: 2, misses: 2, damaged: 0, expired: 0 });
    expect(store.get(entryOf(1, "").key)).toMatchObject({ text: " answer 1 ", made_by: maker });
    expect(store.get(entryOf(9, "").key)).toBeNull();
    await store.close();
  });

  it("an exact text goes before an evened out one, and each normalisation is its own", async () => {
    const store = await openStore(freshFolder(), { normalise: ["case"] });
    await store.put([entryOf(1, "upper", ["A"]), entryOf(2, "lower", ["a"])]);
    expect([store.lookup("A").answer, store.lookup("a").answer]).toEqual(["upper", "lower"]);
    await store.close();
    const other = await openStore(store.folder, { readOnly: true, normalise: ["space"] });
    expect([other.lookup("A").hit, other.lookup(" A").hit]).toEqual([true, false]);
    await other.close();
    const exact = await openStore(store.folder, { readOnly: true, normalise: [] });
    expect([exact.lookup("A").hit, exact.lookup("a ").hit]).toEqual([true, false]);
    await exact.close();
  });

  it("namespaces do not meet", async () => {
    const store = await filled(1, { namespace: "a" });
    await store.close();
    const other = await filled(0, { namespace: "b" }, store.folder);
    expect(other.lookup("Question 0?").hit).toBe(false);
    expect(other.get(entryOf(0, "").key)).toBeNull();
    await other.put([entryOf(0, "of b", ["Question 0?"])]);
    expect(other.lookup("Question 0?").answer).toBe("of b");
    expect((await storeStats(other)).namespaces).toEqual({ a: 1, b: 1 });
    expect(await pruneStore(other, { namespace: "a" })).toMatchObject({ removed: 1, answers: 1 });
    await other.close();
  });

  it("a text leads to what was written for it last", async () => {
    const store = await filled(1);
    await store.put([entryOf(7, "newer", ["Question 0?"])]);
    expect(store.lookup("Question 0?").answer).toBe("newer");
    // The older answer goes, and leaves the text to the newer one.
    await pruneStore(store, {});
    await store.put([entryOf(0, "again")]);
    expect(store.lookup("Question 0?").answer).toBe("newer");
    await store.close();
  });
});

describe("an interval", () => {
  const answer = answerOf("3.5", { ended: "label", interval: [1.1, -1 / 3] });

  it("comes back bit for bit, also through an export, which has it whole", async () => {
    const store = await filled(0);
    await store.put([{ ...entryOf(1, "", ["asked"]), answer }]);
    expect(store.lookup("asked")).toMatchObject({ answer: "3.5", interval: answer.interval });
    const out = path.join(path.dirname(store.folder), "export.jsonl");
    await exportStore(store, out);
    await store.close();
    const other = await openStore(freshFolder());
    expect(await importStore(other, out)).toMatchObject({ answers: 1, errors: 0 });
    expect(other.lookup("asked").interval).toEqual(answer.interval);
    const [head, text] = readFileSync(out, "utf8").split("\n");
    const { sha256: _, ...line } = JSON.parse(text!);
    line.answer.interval = [1.1];
    const checked = { ...line, sha256: sha256(Buffer.from(JSON.stringify(line))).toString("hex", 0, 16) };
    writeFileSync(out, `${head}\n${JSON.stringify(checked)}\n`);
    expect((await importStore(other, out)).bad_lines[0]).toMatchObject({ reason: "is no line of an export" });
    await other.close();
  });

  it("with half a number is none, whatever the record's checksum says", () => {
    const key = Buffer.alloc(40);
    const header = { maker: "00".repeat(8), sequence: 1, written: 0, expires: 0 };
    const whole = packRecord(key, { ...header, answer });
    expect(unpackRecord(key, whole)?.answer.interval).toEqual(answer.interval);
    const cut = Buffer.from(whole.subarray(0, -4));
    cut.writeUInt32LE(checksum(key, cut, cut.length - 4), cut.length - 4);
    expect(unpackRecord(key, cut)).toBe(null);
  });
});

describe("vectors", () => {
  it("come back bit for bit, also through an export, and one changed bit is a miss", async () => {
    const store = await filled(0);
    const embedding = embeddingOf([0.1, -0, 1e-45, 3.4e38, -1 / 3]);
    await store.put([{ ...entryOf(1, ""), answer: embedding }]);
    expect(store.answer(entryOf(1, "").key)).toEqual(embedding);
    const out = path.join(path.dirname(store.folder), "export.jsonl");
    await exportStore(store, out);
    await store.close();
    const other = await openStore(freshFolder());
    expect(await importStore(other, out)).toMatchObject({ answers: 1, errors: 0 });
    expect(other.answer(entryOf(1, "").key)).toEqual(embedding);
    await other.close();
    await tamper(other.folder, "answers", (value) => {
      value[value.length - 5]! ^= 1;
      return value;
    });
    const reader = await openStore(other.folder, { readOnly: true });
    expect(reader.answer(entryOf(1, "").key)).toBeNull();
    expect((await verifyStore(reader)).damaged).toBe(1);
    await reader.close();
  });

  it("a record with half a number is none, whatever its checksum says", () => {
    const key = Buffer.alloc(40);
    const [header, times] = [
      { maker: "00".repeat(8), sequence: 1 },
      { written: 0, expires: 0 },
    ];
    const whole = packRecord(key, { ...header, ...times, answer: embeddingOf([1, 2]) });
    expect(unpackRecord(key, whole)?.answer.embedding).toEqual(Float32Array.of(1, 2));
    const cut = Buffer.from(whole.subarray(0, -2));
    cut.writeUInt32LE(checksum(key, cut, cut.length - 4), cut.length - 4);
    expect(unpackRecord(key, cut)).toBe(null);
  });

  it("a line of an export whose vector has half a number is no line of an export, whatever its checksum says", async () => {
    const store = await filled(0);
    await store.put([{ ...entryOf(1, ""), answer: embeddingOf([1]) }]);
    const out = path.join(path.dirname(store.folder), "export.jsonl");
    await exportStore(store, out);
    const lines = readFileSync(out, "utf8").split("\n");
    const { sha256: _, ...line } = JSON.parse(lines[1]!);
    line.answer.embedding = "AAA=";
    const checked = { ...line, sha256: sha256(Buffer.from(JSON.stringify(line))).toString("hex", 0, 16) };
    writeFileSync(out, [lines[0], JSON.stringify(checked), ...lines.slice(2)].join("\n"));
    const { answers, bad_lines } = await importStore(store, out);
    expect(answers).toBe(0);
    expect(bad_lines[0]).toMatchObject({ line: 2, reason: "is no line of an export" });
    await store.close();
  });
});

describe("a request that is laid out", () => {
  const laid = Buffer.alloc(32, 7);

  it("leads to the answer of the request, in its namespace, as long as the answer is there", async () => {
    const store = await filled(0);
    const entry = entryOf(0, "known", ["Question 0?"]);
    await store.put([{ ...entry, laid: [laid] }, entryOf(1, "another")]);
    const found = store.laid(laid);
    expect(found?.known).toMatchObject({ text: "known", made_by: maker });
    expect(Buffer.from(found!.key)).toEqual(Buffer.from(entry.key));
    expect(store.laid(Buffer.alloc(32, 8))).toBeNull();
    // Written anew under a further text, it keeps what led to it.
    await store.put([{ ...entry, texts: ["Else?"] }]);
    expect(store.laid(laid)?.known.text).toBe("known");
    expect(await verifyStore(store)).toMatchObject({ damaged: 0 });
    const { folder } = store;
    await store.close();
    const other = await openStore(folder, { readOnly: true, namespace: "other" });
    expect(other.laid(laid)).toBeNull();
    await other.close();
    const writer = await openStore(folder);
    await pruneStore(writer, { namespace: "default" });
    expect(writer.laid(laid)).toBeNull();
    expect(await verifyStore(writer)).toMatchObject({ answers: 0, aliases: 0, damaged: 0 });
    await writer.close();
  });

  it("does not where the answer expired, or is not what was written", async () => {
    const store = await filled(0, { lifetime: 0.05 });
    await store.put([{ ...entryOf(0, "known"), laid: [laid] }]);
    await setTimeout(60);
    expect(store.laid(laid)).toBeNull();
    await store.close();
    for (const table of ["answers", "aliases"] as const) {
      const damaged = await filled(0);
      await damaged.put([{ ...entryOf(0, "known"), laid: [laid] }]);
      await damaged.close();
      await tamper(damaged.folder, table, (value) => {
        value[40] = value[40]! ^ 0x20;
        return value;
      });
      const reader = await openStore(damaged.folder, { readOnly: true });
      expect(reader.laid(laid)).toBeNull();
      await reader.close();
    }
  });
});

describe("what is not what was written", () => {
  it.each([
    ["answers", 1],
    ["answers", 30],
    ["answers", -20],
    ["answers", -1],
    ["aliases", 3],
    ["aliases", -1],
  ] as const)(
    "%s with another byte at %i are a miss, counted, found by verify and removed by prune",
    async (table, at) => {
      const store = await filled(1);
      await store.close();
      await tamper(store.folder, table, (value) => {
        const place = at < 0 ? value.length + at : at;
        value[place] = value[place]! ^ 0x20;
        return value;
      });
      const reader = await openStore(store.folder, { readOnly: true, normalise: [] });
      const [miss] = ["Question 0?", " question 0"].map((text) => reader.lookup(text));
      // One of two aliases is damaged: the exact or the other.
      if (table === "answers") expect(miss).toMatchObject({ hit: false });
      expect((await verifyStore(reader)).damaged).toBe(1);
      await reader.close();
      const writer = await openStore(store.folder);
      expect((await pruneStore(writer)).damaged).toBeGreaterThan(0);
      expect(await verifyStore(writer)).toMatchObject({ damaged: 0, answers: table === "answers" ? 0 : 1 });
      await writer.close();
    },
  );

  it("a record under another's key is a miss", async () => {
    const store = await filled(2);
    await store.close();
    const root = open<Buffer, Uint8Array>({
      path: store.folder,
      noSubdir: false,
      encoding: "binary",
      keyEncoding: "binary",
    });
    const db = root.openDB<Buffer, Uint8Array>({ name: "answers", encoding: "binary", keyEncoding: "binary" });
    const [a, b] = [...db.getRange()].map(({ key, value }) => ({ key: Buffer.from(key), value: Buffer.from(value) }));
    await db.put(a!.key, b!.value);
    await root.close();
    const reader = await openStore(store.folder, { readOnly: true });
    const hits = [0, 1].map((number) => reader.lookup(`Question ${number}?`).hit);
    expect(hits.sort()).toEqual([false, true]);
    expect(reader.counts.damaged).toBe(2);
    await reader.close();
  });

  it("a file that is cut off, or is something else, costs an error", async () => {
    const store = await filled(2000);
    await store.close();
    const file = path.join(store.folder, "data.mdb");
    truncateSync(file, statSync(file).size - 8192);
    await expect(openStore(store.folder, { readOnly: true })).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(/is cut off/),
    });
    writeFileSync(file, "this is no store");
    await expect(openStore(store.folder)).rejects.toMatchObject({ code: "input" });
    await expect(openStore(store.folder, { readOnly: true })).rejects.toMatchObject({ code: "input" });
  });

  it("a folder without a store, or with other things", async () => {
    const folder = freshFolder();
    await expect(openStore(folder, { readOnly: true })).rejects.toMatchObject({ code: "missing" });
    expect(existsSync(folder)).toBe(false);
    mkdirSync(folder);
    writeFileSync(path.join(folder, "letters.txt"), "");
    await expect(openStore(folder)).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/holds letters\.txt/),
    });
  });
});

describe("what is too old or too much", () => {
  it("an answer whose time is over is a miss, and prune removes it", async () => {
    const store = await filled(2, { lifetime: 0.05 });
    expect(store.lookup("Question 0?").hit).toBe(true);
    await setTimeout(80);
    expect(store.lookup("Question 0?").hit).toBe(false);
    expect(store.counts).toMatchObject({ expired: 1 });
    expect(await storeStats(store)).toMatchObject({ answers: 2, expired: 2 });
    expect(await pruneStore(store)).toMatchObject({ removed: 2, expired: 2, answers: 0 });
    expect(await storeStats(store)).toMatchObject({ answers: 0, aliases: 0, oldest: null });
    await store.close();
  });

  it("prune by age takes all that is older", async () => {
    const store = await filled(2);
    expect((await pruneStore(store, { olderThan: 3600 })).removed).toBe(0);
    expect((await pruneStore(store, { olderThan: 0 })).removed).toBe(2);
    await store.close();
  });

  it("the file stays within its limit, and the answers written first give way", { timeout: longest }, async () => {
    const maxBytes = sized(16, 256) * 2 ** 20;
    const store = await openStore(freshFolder(), { maxBytes });
    const long = "x".repeat(1000);
    const count = sized(20_000, 1_200_000);
    for (let at = 0; at < count; at += 1000) {
      await store.put(Array.from({ length: 1000 }, (_, one) => entryOf(at + one, long, [`question ${at + one}`])));
      expect(store.tables.size().file).toBeLessThanOrEqual(maxBytes);
    }
    const known = Array.from({ length: count }, (_, number) => store.lookup(`question ${number}`).hit);
    const first = known.indexOf(true);
    expect(first).toBeGreaterThan(count / 2);
    expect(known.slice(first).every(Boolean)).toBe(true);
    // Pages that random keys come into and go from are half empty, and texts and order take their part.
    expect((count - first) * 1000).toBeGreaterThan(maxBytes / 5);
    const { aliases, answers } = await storeStats(store);
    expect(aliases).toBe(2 * answers);
    expect(await verifyStore(store)).toMatchObject({ damaged: 0, answers: count - first });
    await store.close();
  });
});

describe("elsewhere", () => {
  it("an export holds everything, and its import is the same store", async () => {
    const store = await filled(50, { namespace: "ü", lifetime: 1000 });
    const out = path.join(path.dirname(store.folder), "export.jsonl");
    expect(await exportStore(store, out)).toMatchObject({ answers: 50, damaged: 0, bytes: statSync(out).size });
    await store.close();
    const other = await openStore(freshFolder());
    expect(await importStore(other, out)).toMatchObject({ answers: 50, errors: 0 });
    expect(await importStore(other, out)).toMatchObject({ answers: 50, errors: 0 });
    const again = `${out}.again`;
    await exportStore(other, again);
    expect(readFileSync(again)).toEqual(readFileSync(out));
    expect(await verifyStore(other)).toMatchObject({ answers: 50, aliases: 100, damaged: 0 });
    await other.close();
    const reader = await openStore(other.folder, { readOnly: true, namespace: "ü" });
    expect(reader.lookup("question 7").answer).toBe("answer 7");
    await reader.close();
  });

  it("a line that was changed costs that line, a file that was cut off says so, another file is refused", async () => {
    const store = await filled(3);
    const out = path.join(path.dirname(store.folder), "export.jsonl");
    await exportStore(store, out);
    await store.close();
    const lines = readFileSync(out, "utf8").split("\n");
    const changed = `${out}.changed`;
    writeFileSync(changed, lines.map((line, at) => (at === 2 ? line.replace("answer", "Answer") : line)).join("\n"));
    const other = await openStore(freshFolder());
    expect(await importStore(other, changed)).toMatchObject({
      answers: 2,
      errors: 2,
      bad_lines: [{ line: 3, reason: "is not what was written" }, { line: 5 }],
    });
    writeFileSync(changed, readFileSync(out).subarray(0, -120));
    const cut = await importStore(other, changed);
    expect(cut.errors).toBeGreaterThan(0);
    expect(cut.bad_lines.at(-1)!.reason).toMatch(/cut off/);
    writeFileSync(changed, "{}\n");
    await expect(importStore(other, changed)).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(/no export/),
    });
    await other.close();
  });

  it("a backup is a store, smaller where pages were free, and never over what is there", async () => {
    const store = await filled(3000);
    await pruneStore(store, { olderThan: 0 });
    await store.put([entryOf(1, "left", ["Question 1?"])]);
    const out = `${store.folder}-copy`;
    const made = await backupStore(store, out);
    expect(made).toMatchObject({ answers: 1 });
    expect(made.bytes).toBeLessThan(store.tables.size().file / 4);
    await expect(backupStore(store, out)).rejects.toMatchObject({ code: "usage" });
    await store.close();
    const copy = await openStore(out, { readOnly: true });
    expect(copy.lookup("Question 1?").answer).toBe("left");
    expect(await verifyStore(copy)).toMatchObject({ answers: 1, damaged: 0 });
    await copy.close();
  });
});

describe("misuse", () => {
  it("a second writer in the same process or after close is told so; closing twice is closing once", async () => {
    const store = await filled(1);
    await expect(openStore(store.folder)).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(new RegExp(`process ${process.pid}`)),
    });
    const reader = await openStore(store.folder, { readOnly: true });
    await expect(reader.put([entryOf(1, "a")])).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/reading only/),
    });
    await expect(pruneStore(reader)).rejects.toMatchObject({ code: "usage" });
    await reader.close();
    expect(store.lookup("Question 0?").hit).toBe(true);
    await Promise.all([store.close(), store.close()]);
    expect(() => store.lookup("a")).toThrow(/is closed/);
    await expect(store.put([])).rejects.toMatchObject({ code: "usage" });
    await (await openStore(store.folder)).close();
  });

  it.each<[string, OpenStoreOptions]>([
    ["maxBytes", { maxBytes: 1000 }],
    ["lifetime", { lifetime: 0 }],
    ["namespace", { namespace: "" }],
    ["normalise", { normalise: ["spaces" as never] }],
  ])("%s is named", async (name, options) => {
    await expect(openStore(freshFolder(), options)).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(new RegExp(`for ${name}, received`)),
    });
  });
});

it.each([
  // Of the reference implementation, through Python's xxhash 4.1.0.
  ["", 0, 0x02cc5d05],
  ["a", 0, 0x550d7456],
  ["abc", 0, 0x32d153ff],
  ["Nobody inspects the spammish repetition", 0, 0xe2293b2f],
  ["Nobody inspects the spammish repetition", 42, 0x4ae5ae3a],
])("xxHash32 of %j with the seed %d", (text, seed, hash) => {
  expect(xxHash32(Buffer.from(`${text}...`), text.length, seed)).toBe(hash);
});

it("a checksum is of key and bytes", () => {
  const bytes = Buffer.from("56789...");
  expect(checksum(Buffer.from("1234"), bytes, 5)).toBe(xxHash32(bytes, 5, xxHash32(Buffer.from("1234"), 4, 0)));
});
