// How long the scan for the nearest text takes: a store of that many answers, each with a vector at random, and look-ups by vectors that are there, alone and 16 at a
// time. Run by hand: node dist/bench/near.js TEXTS [WIDTH]. No model takes part.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { keepNear, type Maker, NearIndex, openStore, requestKey, spaceOf } from "../src/store/index.js";
import { Random } from "../src/support/random.js";

const [texts, width] = [Number(process.argv[2] ?? 10_000), Number(process.argv[3] ?? 576)];
const maker: Maker = { model: "bench", weights: "", adapter: null, engine: "bench", precision: "f32", variant: "" };
const together = 1000;
const lookups = 41;
const warmUp = 4;

const random = new Random(0);
function vector(): Float32Array {
  const drawn = Float32Array.from({ length: width }, () => random.float() - 0.5);
  const length = Math.hypot(...drawn);
  return drawn.map((value) => value / length);
}

const folder = await mkdtemp(path.join(tmpdir(), "stillroom-near-"));
const store = await openStore(path.join(folder, "store"));
const space = spaceOf(maker, "mean");
const asked: Float32Array[] = [];
for (let at = 0; at < texts; at += together) {
  const now = Array.from({ length: Math.min(together, texts - at) }, (_, i) => {
    const prompt = Int32Array.of(at + i);
    const key = requestKey(maker, { kind: "embedding", prompt, pooling: "mean", normalisation: "l2" });
    return { key, text: `text ${at + i}`, vector: vector() };
  });
  const counts = { promptTokens: 1, answerTokens: 1, logProbabilities: null };
  const answer = { text: "an answer", probabilities: null, ended: "end", ...counts } as const;
  await store.put(now.map(({ key, text }) => ({ key, maker, answer, texts: [text] })));
  keepNear(store, space, now);
  asked.push(now[0]!.vector);
}
const index = new NearIndex(store, space, width);
const loading = performance.now();
const { size } = index;
const load_seconds = (performance.now() - loading) / 1000;
/** Seconds of a look-up, of so many at a time. */
async function timed(atOnce: number) {
  const times: number[] = [];
  for (let turn = 0; turn < lookups + warmUp; turn++) {
    const vectors = Array.from({ length: atOnce }, (_, one) => asked[(turn + one) % asked.length]!);
    const began = performance.now();
    const found = await index.find(vectors, 0.9);
    times.push((performance.now() - began) / 1000 / atOnce);
    if (!found.every((one) => one && one.similarity > 0.999)) throw new Error("a vector that is there was not found");
  }
  const sorted = times.slice(warmUp).sort((a, b) => a - b);
  return { fastest: sorted[0]!, median: sorted[lookups >> 1]!, slowest: sorted.at(-1)! };
}
const [lookup_seconds, together_seconds] = [await timed(1), await timed(16)];
const memory = { peak_memory_bytes: process.resourceUsage().maxRSS * 1024, store_bytes: store.tables.size().file };
console.log(JSON.stringify({ texts: size, width, load_seconds, lookup_seconds, together_seconds, ...memory }));
await store.close();
await rm(folder, { recursive: true });
