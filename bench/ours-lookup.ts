// Our side of the look-up trial. node dist/bench/ours-lookup.js JOB.json: fills a store, then each turn waits for a line on stdin.
import { readFile } from "node:fs/promises";
import path from "node:path";
import pino from "pino";
import { serve } from "../src/serve/index.js";
import { type Entry, type Maker, openStore, requestKey } from "../src/store/index.js";
import { answerOf, filledOnce, type LookupJob, playTurns, textOf, whileServing } from "./lookup-turn.js";
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
const fill_seconds = await filledOnce(job, async () => {
  const writer = await openStore(folder);
  for (let at = 0; at < job.keys; at += together)
    await writer.put(Array.from({ length: Math.min(together, job.keys - at) }, (_, one) => entryOf(at + one)));
  await writer.close();
});

const store = await openStore(folder, { readOnly: true });
const settings = { fill_seconds, store_bytes: store.tables.size().file, durable: true };
const versions = { node: process.versions.node };
if (job.http) {
  // As `stillroom serve --store` runs it.
  const log = pino({ level: "info" }, pino.destination({ dest: 2, sync: true }));
  const server = await serve({ store: folder, port: 0, log });
  emit({ event: "ready", versions, settings, url: server.url });
  await whileServing();
  await server.close();
} else {
  emit({ event: "ready", versions, settings });
  await playTurns(job, (text) => store.lookup(text).answer ?? "");
}
await store.close();
