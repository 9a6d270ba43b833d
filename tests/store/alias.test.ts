// What is evened out in a text, and what is not.
import fc from "fast-check";
import { expect, test } from "vitest";
import { aliasOf as aliasIn, type Normalisation, normalisations, normalise } from "../../src/store/alias.js";

test.each<[string, Normalisation[], string]>([
  ["Ｐｆｉｚｅｒ’s  COVID-19 vaccine!", [...normalisations], "pfizers covid 19 vaccine"],
  ["ﬁsh ½", ["unicode"], "fish 1⁄2"],
  ["Straße ΟΔΟΣ", ["case"], "strasse οδοσ"],
  ["ısı ISI", ["case"], "ısı isi"],
  ["İ", ["case"], "i̇"],
  ["a\u00a0b\t\u2003c\u0085d ", ["space"], "a b c d"],
  ["don't, “won’t” – C#", ["punctuation"], "dont   wont    C "],
  ["A  b!", [], "A  b!"],
  ["ΐ", ["unicode", "case"], "ΐ"],
  ["コロナ・ワクチン", [...normalisations], "コロナ ワクチン"],
])("%j by %j is %j", (text, names, even) => {
  expect(normalise(text, names)).toBe(even);
});

const aliasOf = (text: string, names: readonly Normalisation[]) => aliasIn(text, names, Buffer.alloc(8));
const texts = fc.string({ unit: "grapheme", maxLength: 30 });

test("evening out twice is evening out once", () => {
  fc.assert(
    fc.property(texts, fc.subarray([...normalisations]), (text, names) => {
      const once = normalise(text, names);
      expect(normalise(once, names)).toBe(once);
    }),
    { numRuns: 2000, seed: 1 },
  );
});

test("upper, lower and composed spellings of a text meet", () => {
  fc.assert(
    fc.property(texts, (text) => {
      const even = normalise(text, normalisations);
      expect(normalise(text.normalize("NFD"), normalisations)).toBe(even);
      if (!/[ıİ]/.test(text)) expect(normalise(text.toLowerCase(), normalisations)).toBe(even);
      expect(normalise(`  ${text}  `, normalisations)).toBe(even);
    }),
    { numRuns: 2000, seed: 1 },
  );
});

test("the normalisations are part of the key, and nothing is asked for by nothing", () => {
  const keys = [[], ["case"], ["space"], ["case", "space"]].map((names) =>
    aliasOf("a", names as Normalisation[])!.toString("hex"),
  );
  expect(new Set(keys).size).toBe(4);
  expect(aliasOf("a", ["space", "case"])).toEqual(aliasOf("a", ["case", "space"]));
  expect(aliasOf("?!", normalisations)).toBeNull();
  expect(aliasOf("", [])).toBeNull();
  expect(aliasOf("\ud800", [])).not.toEqual(aliasOf("\ufffd", []));
});
