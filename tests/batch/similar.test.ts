// Similarity on a toy, to which texts are near that share their letters: fitted and measured on pairs, refused where too much is false, and only then used.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { batch, fitSimilarity, Similar, type Similarity } from "../../src/batch/index.js";
import { wilson } from "../../src/evaluate/index.js";
import { embed } from "../../src/index.js";
import { checksum } from "../../src/store/checksum.js";
import { exportStore, openStore, pruneStore, storeStats, verifyStore } from "../../src/store/index.js";
import { unpackNear } from "../../src/store/near.js";
import { Random } from "../../src/support/random.js";
import { metric, post, started } from "../serve/server.js";
import { flipped, tamper } from "../store/make.js";
import { writeBrokenToy, writeTextToy } from "../support/text_toy.js";
import { completion, freshFolder, writeLines } from "./requests.js";

process.env.XDG_CACHE_HOME = path.join(freshFolder(), "cache");
const model = writeBrokenToy("Z");
const threads = 1;

const random = new Random(4);
const word = (length: number) => Array.from({ length }, () => String.fromCharCode(97 + random.below(26))).join("");

/** Texts of 40 letters: the same ones but for two at the end, or two at random. */
function pairs(
  count: number,
  truth: (same: boolean) => boolean = (same) => same,
): { a: string; b: string; same: boolean }[] {
  return Array.from({ length: count }, (_, row) => {
    const a = word(40);
    const same = row % 2 === 0;
    return { a, b: same ? `${a}${word(2)}` : word(42), same: truth(same) };
  });
}

const given = pairs(240);
const file = writeLines(given);
const newStore = () => openStore(path.join(freshFolder(), "store"));

/** A closed store with a fit, and this text's answer and vector; its folder. */
async function storeThatKnows(text: string): Promise<string> {
  const store = await newStore();
  await fitSimilarity(store, { model, threads, pairs: file, maxFalseHits: 0.1 });
  await store.close();
  const out = `${store.folder}.jsonl`;
  await batch(writeLines([completion("a", text)]), { model, threads, store: store.folder, out, similar: model });
  return store.folder;
}

it("fits on one half, measures on the other, and says what it measured", async () => {
  const store = await newStore();
  const trivial = [{ a: "A plum!", b: "a  plum", same: true }];
  const found = await fitSimilarity(store, {
    model,
    threads,
    pairs: writeLines([...given, ...trivial]),
    maxFalseHits: 0.1,
  });
  expect(found).toMatchObject({ passed: true, model: "text-toy", pooling: "mean", trivial: 1, max_false_hits: 0.1 });
  expect([found.fitted.pairs, found.held_out.pairs]).toEqual([120, 120]);
  // Of all pairs, by hand: those of both halves are those of the file.
  const vectors = await embed(
    model,
    given.flatMap(({ a, b }) => [a, b]),
    { threads },
  );
  const similarities = given.map((_, row) =>
    vectors[2 * row]!.reduce((sum, x, i) => sum + x * vectors[2 * row + 1]![i]!, 0),
  );
  const hits = given.filter((_, row) => similarities[row]! >= found.threshold);
  expect(found.fitted.hits + found.held_out.hits).toBe(hits.length);
  expect(found.fitted.false_hits + found.held_out.false_hits).toBe(hits.filter(({ same }) => !same).length);
  expect(similarities).toContain(found.threshold);
  const { hits: held, false_hits, same, false_hit_rate } = found.held_out;
  expect(held).toBeGreaterThan(30);
  expect(false_hit_rate).toEqual(wilson(false_hits, held));
  expect(found.held_out.found).toEqual(wilson(held - false_hits, same));
  // The next lower pair of the half that it was fitted on would break the limit, or there is none.
  expect(wilson(found.fitted.false_hits, found.fitted.hits).high).toBeLessThanOrEqual(0.1);
  const different = similarities.filter((_, row) => !given[row]!.same).sort((x, y) => y - x);
  expect(different).toContain(found.nearest_different[0]!.similarity);
  expect(await fitSimilarity(store, { model, threads, pairs: file, maxFalseHits: 0.1, seed: 1 })).not.toEqual(found);
  await store.close();
});

it("is refused where too many hits are false, and leaves what was there", async () => {
  const store = await newStore();
  const wrong = writeLines(pairs(120, () => false));
  const refused = await fitSimilarity(store, { model, threads, pairs: wrong }).catch((error) => error);
  expect(refused).toMatchObject({ code: "gate" });
  expect(refused.message).toMatch(
    /of \d+ hits that it was not fitted on, \d+ are false, .* above 0\.01 for maxFalseHits; .* differ and are at/,
  );
  expect((refused.cause as Similarity).passed).toBe(false);
  await expect(Similar.open(store, model, { threads })).rejects.toThrow(
    /no similarity was fitted in .* store similarity --store/,
  );
  // Too few for so low a limit, though none is false.
  await expect(fitSimilarity(store, { model, threads, pairs: file })).rejects.toMatchObject({ code: "gate" });
  const { threshold } = await fitSimilarity(store, { model, threads, pairs: file, maxFalseHits: 0.1 });
  await expect(fitSimilarity(store, { model, threads, pairs: wrong })).rejects.toMatchObject({ code: "gate" });
  const similar = await Similar.open(store, model, { threads });
  expect(similar.fit.threshold).toBe(threshold);
  expect(await storeStats(store)).toMatchObject({
    vectors: 0,
    similarity: [{ model: "text-toy", threshold, pooling: "mean" }],
  });
  await similar.close();
  await expect(Similar.open(store, writeTextToy({ "general.description": "another" }), { threads })).rejects.toThrow(
    /no similarity was fitted/,
  );
  await store.close();
});

it("what a batch answered is found by near texts, which say what they are near to, until the answer is gone", async () => {
  const store = await newStore();
  await fitSimilarity(store, { model, threads, pairs: file, maxFalseHits: 0.1 });
  await store.close();
  const texts = Array.from({ length: 30 }, () => word(40));
  const requests = writeLines(texts.map((text, row) => completion(`${row}`, text, { max_tokens: 2 })));
  const out = path.join(freshFolder(), "out.jsonl");
  const to = { model, threads, store: store.folder, out };
  // Answered before, without vectors: these come with the next run, and no answer is computed again.
  await batch(requests, { ...to, out: `${out}.plain` });
  expect(await batch(requests, { ...to, similar: model })).toMatchObject({ rows: 30, computed: 0 });
  expect(readFileSync(out)).toEqual(readFileSync(`${out}.plain`));
  await batch(requests, { ...to, similar: model });
  const writer = await openStore(store.folder);
  expect(await verifyStore(writer)).toMatchObject({ vectors: 30, damaged: 0 });
  const similar = await Similar.open(writer, model, { threads });
  expect(similar.size).toBe(30);
  const asked = [texts[3]!, `${texts[3]!}qx`, word(42), `${texts[7]!}ab`, "", "Z", "x".repeat(400)];
  const [exact, near, far, other, ...none] = await similar.lookup(asked);
  expect(exact).toMatchObject({ hit: true, similarity: null, similar_to: null });
  expect(near).toMatchObject({
    key: asked[1],
    hit: true,
    similar_to: texts[3],
    answer: exact!.answer,
    made_by: exact!.made_by,
  });
  expect(near!.similarity).toBeGreaterThanOrEqual(similar.fit.threshold);
  expect(other).toMatchObject({ hit: true, similar_to: texts[7] });
  for (const miss of [far, ...none])
    expect(miss).toMatchObject({ hit: false, answer: null, similarity: null, similar_to: null });
  // Without it, nothing but the texts themselves.
  expect(writer.lookup(asked[1]!).hit).toBe(false);
  const lines = path.join(freshFolder(), "export.jsonl");
  await exportStore(writer, lines);
  const kept = readFileSync(lines, "utf8")
    .split("\n")
    .slice(1, 31)
    .map((line) => JSON.parse(line).aliases.length);
  expect(new Set(kept)).toEqual(new Set([3]));
  expect(await pruneStore(writer, { olderThan: 0 })).toMatchObject({ removed: 30, damaged: 0 });
  expect((await similar.lookup([asked[1]!]))[0]).toMatchObject({ hit: false });
  expect(await verifyStore(writer)).toMatchObject({ aliases: 0, vectors: 0 });
  await similar.close();
  await writer.close();
});

it("a vector or a fit that is not what was written is not used", async () => {
  const text = word(40);
  const folder = await storeThatKnows(text);
  const look = async () => {
    const reader = await openStore(folder, { readOnly: true });
    try {
      const similar = await Similar.open(reader, model, { threads });
      const [found] = await similar.lookup([`${text}ab`]);
      await similar.close();
      return { hit: found!.hit, damaged: (await verifyStore(reader)).damaged };
    } finally {
      await reader.close();
    }
  };
  expect(await look()).toEqual({ hit: true, damaged: 0 });
  const wide = Buffer.alloc(16);
  wide.writeUInt32LE(1000, 8);
  wide.writeUInt32LE(checksum(Buffer.alloc(41), wide, 12), 12);
  expect(unpackNear(Buffer.alloc(41), wide)).toBe(null);
  await tamper(folder, "vectors", (value) => flipped(value, 60));
  expect(await look()).toEqual({ hit: false, damaged: 1 });
  await tamper(folder, "meta", (value) => flipped(value, 60), "similarity:");
  await expect(look()).rejects.toMatchObject({ code: "input" });
});

it("after close, and on a closed store, a look-up says so", async () => {
  const store = await newStore();
  await fitSimilarity(store, { model, threads, pairs: file, maxFalseHits: 0.1 });
  const similar = await Similar.open(store, model, { threads });
  await similar.close();
  await similar.close();
  await expect(similar.lookup(["a"])).rejects.toMatchObject({ code: "usage" });
  const other = await Similar.open(store, model, { threads });
  await store.close();
  await expect(other.lookup(["a"])).rejects.toMatchObject({ code: "usage" });
  await other.close();
});

it("serve finds near texts by /v1/lookup, where it was asked to", async () => {
  const text = word(40);
  const folder = await storeThatKnows(text);
  const [plain, near] = [await started({ store: folder }), await started({ store: folder, similar: model })];
  expect((await post(plain, "/v1/lookup", { key: `${text}ab` })).json).toMatchObject({ hit: false });
  expect((await post(near, "/v1/lookup", { key: `${text}ab` })).json).toMatchObject({ hit: true, similar_to: text });
  const { json } = await post(near, "/v1/lookup", { keys: [text, `${text}ab`, word(40)] });
  expect(json.answers).toMatchObject([
    { hit: true, similarity: null },
    { hit: true, similar_to: text },
    { hit: false },
  ]);
  expect(await metric(near, 'stillroom_lookups_total{result="similar"}')).toBe(2);
  const narrow = await started({ store: folder, similar: model, waiting: 1 });
  const ask = () => post(narrow, "/v1/lookup", { keys: Array.from({ length: 200 }, () => word(40)) });
  const all = await Promise.all(Array.from({ length: 12 }, ask));
  expect(new Set(all.map(({ status }) => status))).toEqual(new Set([200, 429]));
  expect((await ask()).status).toBe(200);
  await Promise.all([plain.close(), near.close(), narrow.close()]);
});

it.each<[string, string, RegExp]>([
  ["no JSON", "{", /:2: is not JSON/],
  ["half a pair", '{"a":"\\ud83d","b":"y","same":true}', /:2: holds a lone surrogate/],
  ["a field too many", '{"a":"x","b":"y","same":true,"c":1}', /:2: expected \{"a": TEXT/],
  ["same as a text", '{"a":"x","b":"y","same":"yes"}', /:2: expected \{"a": TEXT/],
  ["both", '{"a":"two","b":"one","same":false}', /:2: is said to be the same and not the same/],
  ["no vector", '{"a":"Z","b":"y","same":true}', /the model has no vector for "Z"/],
])("a line with %s is named", async (_name, line, message) => {
  const store = await newStore();
  const wrong = path.join(freshFolder(), "pairs.jsonl");
  writeFileSync(wrong, `{"a":"one","b":"two","same":true}\n${line}\n`);
  await expect(fitSimilarity(store, { model, threads, pairs: wrong })).rejects.toThrow(message);
  await expect(fitSimilarity(store, { model, threads, pairs: wrong, maxFalseHits: 1 })).rejects.toThrow(
    /for maxFalseHits/,
  );
  await store.close();
});
