// Our side of the look-up trial. node dist/bench/ours-lookup.js JOB.json: fills a store, then each turn waits for a line on stdin.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { type Entry, type Maker, openStore, requestKey } from "../src/store/index.js";
import { answerOf, type LookupJob, playTurns, textOf } from "./lookup-turn.js";
import { emit } from "./side.js";

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as LookupJob;
const folder = path.join(job.folder, "store");
const maker: Maker = {
  ...{ model: "toy", weights: "0".repeat(64), adapter: null },
  ...{ engine: "stillroom", precision: "f32", variant: "none" },
};
const labels = ["negative", "positive"].map((text, at) => ({ text, tokens: Int32Array.of(at) }));
const entryOf = (number: number): Entry => ({
  key: requestKey(maker, { kind: "labels", prompt: Int32Array.of(number), labels }),
  answer: { ...answerOf(number), ended: "label", promptTokens: 40, answerTokens: 2, logProbabilities: null },
  maker,
  texts: [textOf(number)],
});

const together = 4096;
const began = performance.now();
const writer = await openStore(folder);
for (let at = 0; at < job.keys; at += together)
  await writer.put(Array.from({ length: Math.min(together, job.keys - at) }, (_, one) => entryOf(at + one)));
await writer.close();
const fill_seconds = (performance.now() - began) / 1000;

const store = await openStore(folder, { readOnly: true });
const settings = { fill_seconds, store_bytes: store.tables.size().file, durable: true };
emit({ event: "ready", versions: { node: process.versions.node }, settings });
await playTurns(job, (text) => store.lookup(text).answer ?? "");
await store.close();
