// What the teacher of the model in the box is asked beside the rows, and the texts that its answers make: beginnings of real texts that have no answer.
// node models/asked.mjs PACKAGES OUT writes OUT/asked.jsonl, requests for batch; with OUT/answered.jsonl there, OUT/sampled.jsonl, texts for distill.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { byHash, feelingOf, feelingTexts, jsonLines, kindOf, out, sentenceOf, training, unusual } from "./wordnet.mjs";

/** So many of the beginnings that synsets give, the same ones each time. */
const some = (count, synsets, beginningsOf) =>
  synsets
    .flatMap((synset) => beginningsOf(synset).map((prompt) => ({ id: synset.id + prompt.slice(0, 40), prompt })))
    .sort(byHash("asked"))
    .slice(0, count);

const asked = [
  // What has no feeling that a list of words knows.
  ...some(9000, [...training, ...unusual], (synset) =>
    feelingOf(synset) || synset.type === "n" ? [] : feelingTexts(synset).map((text) => `Text: ${text}\nFeeling:`),
  ),
  ...some(4000, unusual, (synset) => (kindOf(synset) ? [`Definition: ${synset.meaning}\nKind:`] : [])),
  ...some(4000, unusual, (synset) =>
    [sentenceOf(synset)].flatMap((used) =>
      used ? [`Sentence: ${used.sentence}\nWord: ${used.word}\nPart of speech:`] : [],
    ),
  ),
];

const file = (name) => path.join(out, name);
const requests = asked.map(({ prompt }, seed) => ({
  ...{ custom_id: String(seed), method: "POST", url: "/v1/completions" },
  body: { model: "teacher", prompt, seed, max_tokens: 16, temperature: 0.7, top_p: 0.9, logprobs: 1 },
}));
mkdirSync(out, { recursive: true });
writeFileSync(file("asked.jsonl"), jsonLines(requests));
if (existsSync(file("answered.jsonl"))) {
  const texts = readFileSync(file("answered.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line))
    .map(({ custom_id, response }) => ({ prompt: asked[Number(custom_id)].prompt, ...response.body.choices[0] }))
    // The first token decides the label.
    .filter(({ logprobs }) => logprobs.token_logprobs[0] >= Math.log(0.8))
    .map(({ prompt, text }) => ({ text: prompt + text }));
  writeFileSync(file("sampled.jsonl"), jsonLines(texts));
  process.stdout.write(`${texts.length} texts of ${asked.length} beginnings that the teacher was sure about\n`);
}
