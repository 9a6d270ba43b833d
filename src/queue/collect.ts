// From the shared store to the file of answers, in the order of the input, a window at a time. Writes nothing where an answer is not there.
import { rm } from "node:fs/promises";
import { errorsOf, type Item, lineOf, type Outcome, usualWindow, windowsOf } from "../batch/index.js";
import { type Answer, type Entry, requestKey, type Store } from "../store/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { WholeFile } from "../support/files.js";
import type { QueueBatchOptions } from "./options.js";
import type { Queue } from "./queue.js";
import type { Asked } from "./submit.js";

export interface Collected {
  lines: number;
  errors: number;
  errorsFile: string | null;
}

/** Null where an answer is missing: another batch has begun the job anew, or somebody took answers away. */
export async function collect(
  queue: Queue,
  job: number,
  { input, maker }: Asked,
  store: Store | null,
  options: QueueBatchOptions,
): Promise<Collected | null> {
  const counts = { lines: 0, errors: 0 };
  const out = await WholeFile.create(options.out);
  let errors: WholeFile | null = null;
  const fail = async (item: Item, reason: string) => {
    errors ??= await WholeFile.create(errorsOf(options));
    counts.errors++;
    options.onBad?.({ file: item.file, line: item.line, reason });
    await errors.write(lineOf(item.failed(reason)));
  };
  try {
    for await (const items of windowsOf(input.items(), usualWindow)) {
      throwIfCancelled(options.signal, "writing the answers; they stay in the queue's store");
      const keys = items.map(({ request }) => (typeof request === "string" ? null : requestKey(maker, request)));
      const outcomes = await outcomesOf(queue, job, store, keys);
      const entries: Entry[] = [];
      for (const [place, item] of items.entries()) {
        const key = keys[place];
        const outcome: Outcome | undefined =
          typeof item.request === "string" ? { reason: item.request } : outcomes.get(hex(key!));
        if (outcome === undefined) return null;
        if ("reason" in outcome) await fail(item, outcome.reason);
        else {
          counts.lines++;
          await out.write(lineOf(item.answered(outcome)));
          if (store && !store.leads(key!, item.texts))
            entries.push({ key: key!, answer: outcome, maker, texts: item.texts });
        }
      }
      if (store && entries.length > 0) await store.put(entries);
    }
    await out.finish();
    const file = errorsOf(options);
    if (errors) await (errors as WholeFile).finish();
    else await rm(file, { force: true });
    return { ...counts, errorsFile: errors ? file : null };
  } finally {
    // After finish there is nothing to discard.
    await out.discard();
    await (errors as WholeFile | null)?.discard();
  }
}

async function outcomesOf(
  queue: Queue,
  job: number,
  store: Store | null,
  keys: readonly (Uint8Array | null)[],
): Promise<Map<string, Outcome>> {
  const outcomes = new Map<string, Outcome>();
  const asked = new Map<string, Uint8Array>();
  for (const key of keys) {
    if (key === null) continue;
    const known = store?.get(key);
    if (known) {
      const { made_by: _, written: __, ...answer } = known;
      outcomes.set(hex(key), answer);
    } else asked.set(hex(key), key);
  }
  const found: Map<string, Answer> = await queue.answers([...asked.values()]);
  for (const [name, answer] of found) {
    outcomes.set(name, answer);
    asked.delete(name);
  }
  if (asked.size === 0) return outcomes;
  for (const [name, reason] of await queue.failures(job, [...asked.values()])) outcomes.set(name, { reason });
  return outcomes;
}

const hex = (key: Uint8Array): string => Buffer.from(key).toString("hex");
