// From the shared store to the file of answers, in the order of the input, a window at a time. Writes nothing where an answer is not there.
import { type Outcome, Output, usualWindow, windowsOf } from "../batch/index.js";
import { type Answer, type Entry, keyText, requestKeys, type Store } from "../store/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import type { QueueBatchOptions } from "./options.js";
import type { Queue } from "./queue.js";
import type { Asked } from "./submit.js";

export interface Collected {
  lines: number;
  /** Requests that were answered: of a list of texts to embed, each text. */
  answered: number;
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
  const output = await Output.create(options);
  const keyOf = requestKeys(maker);
  let answered = 0;
  try {
    for await (const items of windowsOf(input.items(), usualWindow)) {
      throwIfCancelled(options.signal, "writing the answers; they stay in the queue's store");
      const keys = items.map((item) => {
        const request = item.request();
        return typeof request === "string" ? null : keyOf(request);
      });
      const outcomes = await outcomesOf(queue, job, store, keys);
      const entries: Entry[] = [];
      for (const [place, item] of items.entries()) {
        const key = keys[place];
        const request = item.request();
        const outcome: Outcome | undefined =
          typeof request === "string" ? { reason: request } : outcomes.get(keyText(key!));
        if (outcome === undefined) return null;
        if ("reason" in outcome) await output.failed(item, outcome);
        else {
          await output.answered(item, outcome);
          answered++;
          if (store && !store.leads(key!, item.texts))
            entries.push({ key: key!, answer: outcome, maker, texts: item.texts });
        }
      }
      if (store && entries.length > 0) await store.put(entries);
    }
    const errorsFile = await output.finish();
    return { lines: output.lines, answered, errors: output.errors, errorsFile };
  } finally {
    // After finish there is nothing to discard.
    await output.discard();
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
    const known = store?.answer(key);
    if (known) outcomes.set(keyText(key), known);
    else asked.set(keyText(key), key);
  }
  const found: Map<string, Answer> = await queue.answers([...asked.values()]);
  for (const [name, answer] of found) {
    outcomes.set(name, answer);
    asked.delete(name);
  }
  if (asked.size === 0) return outcomes;
  for (const [name, failure] of await queue.failures(job, [...asked.values()])) outcomes.set(name, failure);
  return outcomes;
}
