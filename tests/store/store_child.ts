// A process for processes.test.ts: writes, reads or holds a store, and says what it did.
import { writeSync } from "node:fs";
import { setImmediate, setTimeout } from "node:timers/promises";
import { openStore } from "../../src/store/index.js";
import { Random } from "../../src/support/random.js";
import { entryOf } from "./make.js";

const [work, folder, ...rest] = process.argv.slice(2) as [string, string, ...string[]];
const [first = 0, count = 0] = rest.map(Number);

/** Says how many answers are kept, each time that it is certain. */
async function write(): Promise<void> {
  const store = await openStore(folder);
  for (let at = first; at < first + count; at += 200) {
    await store.put(
      Array.from({ length: 200 }, (_, one) => entryOf(at + one, `answer ${at + one}`, [`question ${at + one}`])),
    );
    writeSync(1, `${at + 200}\n`);
  }
  await store.close();
}

/** Looks up until it is told to end. Answers come one after the other: one that is missing below the highest seen is a step backwards. */
async function read(): Promise<void> {
  const store = await openStore(folder, { readOnly: true });
  const random = new Random(first);
  const counts = { reads: 0, torn: 0, backwards: 0, p99: 0 };
  const times: number[] = [];
  let [highest, stopping] = [-1, false];
  process.on("SIGTERM", () => {
    stopping = true;
  });
  while (!stopping) {
    for (let i = 0; i < 50; i++) {
      const number = random.below(highest < 0 ? 400 : highest + 400);
      const began = process.hrtime.bigint();
      const { hit, answer } = store.lookup(`question ${number}`);
      times.push(Number(process.hrtime.bigint() - began) / 1000);
      counts.reads++;
      if (hit && answer !== `answer ${number}`) counts.torn++;
      if (!hit && number < highest) counts.backwards++;
      if (hit) highest = Math.max(highest, number);
    }
    await setImmediate();
  }
  counts.torn += store.counts.damaged;
  counts.p99 = times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? 0;
  await store.close();
  writeSync(1, `${JSON.stringify(counts)}\n`);
}

if (work === "write") await write();
else if (work === "read") await read();
else {
  await openStore(folder);
  writeSync(1, "held\n");
  await setTimeout(60_000);
}
