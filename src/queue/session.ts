// What a batch through a queue and a worker stand on, opened in order and closed whatever happens. Knows no row.
import { Model, type OpenModelOptions, openModel } from "../model/index.js";
import { type OpenStoreOptions, openStore, type Store } from "../store/index.js";
import { rethrow } from "../support/native.js";
import { type QueuePlace, usualPatience } from "./options.js";
import { Queue, type QueueOptions } from "./queue.js";

interface SessionOptions extends QueuePlace, OpenModelOptions {
  model?: string | Model | undefined;
  /** The folder of this machine's own store (default: none). */
  store?: string | undefined;
}

export interface Session {
  queue: Queue;
  store: Store | null;
  model: Model;
}

/** The queue first, so that a wrong URL costs no time. */
export async function inSession<T>(
  options: SessionOptions,
  how: { store: OpenStoreOptions; supervise?: QueueOptions["supervise"] },
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const { patience = usualPatience, signal, onWarning, model: given } = options;
  const queue = await Queue.open(options.queue, { patience, signal, onWarning, supervise: how.supervise });
  let store: Store | null = null;
  try {
    if (options.store !== undefined) store = await openStore(options.store, how.store);
    const model = given instanceof Model ? given : await openModel(given, options);
    try {
      return await work({ queue, store, model });
    } finally {
      if (model !== given) await model.close();
    }
  } catch (error) {
    await store?.abandon();
    return rethrow(error);
  } finally {
    await store?.close();
    await queue.close();
  }
}
