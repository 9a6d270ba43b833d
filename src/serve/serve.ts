// Opens what a server answers from: the store, its model, what finds near texts. Listens to nothing itself (running.ts).
import { openEngine, Similar } from "../batch/index.js";
import { Model, openModel } from "../model/index.js";
import { openStore } from "../store/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { rethrow } from "../support/native.js";
import { Tokens } from "./access.js";
import { checkServeOptions, type ServeOptions, withDefaults } from "./options.js";
import { openServed } from "./predict.js";

/** A server that listens. */
export interface Server {
  /** Such as http://127.0.0.1:8080. */
  url: string;
  /** Of the model as requests name it; null without one. */
  model: string | null;
  /** Stops it: no new requests, those under way end within the grace, the store is closed. Any further call gives the same promise. */
  close(): Promise<void>;
  /** Settles when it has stopped, by close() or by the signal. */
  closed: Promise<void>;
}

/**
 * Serves a store's answers by HTTP: `/v1/lookup`, and OpenAI's `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/models`, `/v1/files` and `/v1/batches`; what the
 * store does not know is answered by the live model and kept.
 *
 * @returns when it listens
 * @throws StillroomError "usage" for a wrong option, a port in use, or a store that another process writes to; "missing" or "input" for store, model, adapter and
 * tokens; "io" for the disk; "cancelled" on abort before it listens
 *
 * @example
 * ```ts
 * import { serve } from "stillroom";
 * const server = await serve({ store: "answers", model: "model.gguf", port: 0 });
 * const body = JSON.stringify({ key: "Is a plum a drupe?" });
 * console.log(await (await fetch(`${server.url}/v1/lookup`, { method: "POST", body })).json());
 * await server.close();
 * ```
 */
export async function serve(options: ServeOptions): Promise<Server> {
  checkServeOptions(options);
  const { namespace, maxBytes, lifetime, normalise, signal } = options;
  throwIfCancelled(signal, "starting a server");
  const tokens = options.tokens === undefined ? null : new Tokens(options.tokens);
  const writes = options.model !== undefined && options.live !== false;
  const store = await openStore(options.store, { namespace, maxBytes, lifetime, normalise, readOnly: !writes });
  let model: Model | null = null;
  let similar: Similar | null = null;
  try {
    const given = options.model;
    if (given !== undefined) model = given instanceof Model ? given : await openModel(given, options);
    const engine = model && (await openEngine(model, options.adapter, options.precision ?? "f32"));
    if (options.similar !== undefined)
      similar = await Similar.open(store, options.similar, { threads: options.threads });
    const served = engine && options.task ? await openServed(engine, options.task, options) : null;
    // Loaded by who serves: every command would load what answers HTTP.
    const { Running } = await import("./running.js");
    const running = new Running(withDefaults(options), store, engine, tokens, similar, served);
    await running.start();
    return running;
  } catch (error) {
    await similar?.close();
    if (model && model !== options.model) await model.close();
    await store.abandon();
    return rethrow(error);
  }
}
