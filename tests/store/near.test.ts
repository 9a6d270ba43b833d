// The scan for the nearest text against its slow twin: the same text, the same similarity, and a threshold that is met to the last bit of f64.
import { expect, it } from "vitest";
import { keepNear, NearIndex, openStore, type Store, spaceOf } from "../../src/store/index.js";
import { native } from "../../src/support/native.js";
import { Random } from "../../src/support/random.js";
import { entryOf, freshFolder, maker } from "./make.js";

const random = new Random(6);

function unit(width: number, near?: Float32Array): Float32Array {
  const drawn = Float32Array.from({ length: width }, (_, at) =>
    near ? near[at]! + 2e-3 * (random.float() - 0.5) : random.float() - 0.5,
  );
  const length = Math.hypot(...drawn);
  return drawn.map((value) => value / length);
}

const cosine = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, at) => sum + value * b[at]!, 0);

interface Known {
  text: string;
  vector: Float32Array;
}

/** A store of texts around eight directions, each with its vector. */
async function known(width: number, count: number): Promise<{ store: Store; space: Buffer; texts: Known[] }> {
  const store = await openStore(freshFolder());
  const space = spaceOf(maker, "mean");
  const directions = Array.from({ length: 8 }, () => unit(width));
  const texts = Array.from({ length: count }, (_, at) => ({
    text: `text ${at}`,
    vector: unit(width, directions[at % 8]),
  }));
  await store.put(texts.map(({ text }, at) => entryOf(at, `answer ${at}`, [text])));
  keepNear(
    store,
    space,
    texts.map((one, at) => ({ ...one, key: entryOf(at, "").key })),
  );
  // Of another pooling: none of these.
  keepNear(store, spaceOf(maker, "last"), [{ key: entryOf(0, "").key, text: "elsewhere", vector: texts[0]!.vector }]);
  return { store, space, texts };
}

it.each([7, 64, 577])("finds what a plain loop over all of them finds: %i numbers", async (width) => {
  const { store, space, texts } = await known(width, 300);
  const index = new NearIndex(store, space, width);
  expect(index.size).toBe(300);
  // More than are looked for in one go, near to some texts and to others not.
  const asked = Array.from({ length: 41 }, (_, at) => (at % 5 === 0 ? unit(width) : unit(width, texts[at]!.vector)));
  const nearest = asked.map((vector) =>
    texts.reduce(
      (best, one) => {
        const similarity = cosine(one.vector, vector);
        return similarity > best.similarity ? { text: one.text, similarity } : best;
      },
      { text: "", similarity: -1 },
    ),
  );
  const some = [...asked.slice(0, 3), null, ...asked.slice(3)];
  const expected = [...nearest.slice(0, 3), null, ...nearest.slice(3)];
  const found = await index.find(some, 0.9);
  for (const [at, one] of expected.entries())
    if (one === null || one.similarity < 0.9) expect(found[at]).toBe(null);
    else expect(found[at]).toMatchObject({ ...one, answer: { text: one.text.replace("text", "answer") } });
  expect(found.filter((one) => one !== null).length).toBeGreaterThan(20);
  for (const [at, { similarity, text }] of nearest.entries()) {
    const [met] = await index.find([asked[at]!], similarity);
    expect(met).toMatchObject({ text, similarity });
    expect(await index.find([asked[at]!], similarity + 2 ** -53 * Math.max(1, 2 * similarity))).toEqual([null]);
  }
  await store.close();
});

it("takes the next where an answer is gone, and what came since", async () => {
  const { store, space, texts } = await known(16, 24);
  const index = new NearIndex(store, space, 16);
  const [{ vector }] = texts as [Known];
  expect((await index.find([vector], 0.9))[0]).toMatchObject({ text: "text 0" });
  // A scan that is under way goes on over the vectors that it began with.
  const under = index.find([vector], 0.9);
  const added = { key: entryOf(1, "").key, text: "new", vector: vector.map((value) => -value) };
  keepNear(store, space, [added]);
  expect((await index.find([added.vector], 0.9))[0]).toMatchObject({ text: "new", answer: { text: "answer 1" } });
  expect((await under)[0]).toMatchObject({ text: "text 0" });
  const second = texts
    .slice(1)
    .reduce((best, one) => (cosine(one.vector, vector) > cosine(best.vector, vector) ? one : best));
  store.tables.write(() => store.tables.answers.removeSync(Buffer.concat([store.namespace, entryOf(0, "").key])));
  expect((await index.find([vector], 0.9))[0]).toMatchObject({ text: second.text });
  await store.close();
});

it("what are no vectors of that width is refused", async () => {
  const [table, asked] = [new Float32Array(12), new Float32Array(4)];
  expect(await native().nearRows(4, table, asked, 0)).toEqual(Int32Array.of(0, 0, 0, 1, 0, 2));
  expect(await native().nearRows(4, new Float32Array(0), asked, 0)).toEqual(new Int32Array(0));
  for (const [given, message] of [
    [() => native().nearRows(5, table, asked, 0), /expected vectors of 5 numbers for table, received 12 numbers/],
    [() => native().nearRows(6, table, asked, 0), /expected vectors of 6 numbers for asked, received 4 numbers/],
    [() => native().nearRows(0, table, asked, 0), /for width, received 0/],
    [() => native().nearRows(4, new Float64Array(4) as never, asked, 0), /expected a Float32Array for table/],
    [() => native().nearRows(4, table, asked, Number.NaN), /for least/],
  ] as const)
    await expect(given()).rejects.toMatchObject({ code: "usage", message: expect.stringMatching(message) });
});
