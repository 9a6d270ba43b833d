// POST /v1/lookup: what the store knows for texts. Written on Node's own requests: nothing of a framework stands between a look-up and its HTTP.
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Similar } from "../batch/index.js";
import type { Store } from "../store/index.js";
import { ApiError, queueFull } from "./errors.js";
import { readObject, sendJson } from "./http.js";
import type { Metrics } from "./metrics.js";

const mostKeys = 10_000;

/** @param waiting - requests that may wait for vectors; a look-up without them never waits */
export function lookupHandler(
  store: Store,
  similar: Similar | null,
  metrics: Metrics,
  { maxBody, waiting }: { maxBody: number; waiting: number },
) {
  const hit = metrics.lookups.labels("hit");
  const miss = metrics.lookups.labels("miss");
  const near = metrics.lookups.labels("similar");
  const look = (key: string) => {
    const found = store.lookup(key);
    (found.hit ? hit : miss).inc();
    return found;
  };
  let pending = 0;
  const lookNear = async (keys: readonly string[]) => {
    if (pending > waiting) throw queueFull(waiting);
    pending++;
    try {
      const all = await similar!.lookup(keys);
      for (const found of all) (found.similarity !== null ? near : found.hit ? hit : miss).inc();
      return all;
    } finally {
      pending--;
    }
  };
  // Requests that came together are answered together: answered one by one, a client on another core sends its next before there is more to do, and
  // every request costs a wake-up of this process.
  let together: Promise<void> | null = null;
  const gathered = () => {
    together ??= new Promise((resolve) =>
      setImmediate(() => {
        together = null;
        resolve();
      }),
    );
    return together;
  };
  return async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const { key, keys, ...rest } = await readObject(incoming, maxBody);
    await gathered();
    const [unknown] = Object.keys(rest);
    if (unknown !== undefined)
      throw new ApiError(400, `unknown field ${unknown.slice(0, 80)}`, { param: unknown.slice(0, 80) });
    if (typeof key === "string" && keys === undefined)
      sendJson(outgoing, similar ? (await lookNear([key]))[0] : look(key));
    else if (key === undefined && isTexts(keys))
      sendJson(outgoing, { answers: similar ? await lookNear(keys) : keys.map(look) });
    else throw new ApiError(400, `expected a text for key, or up to ${mostKeys} texts for keys`, { param: "key" });
  };
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.length <= mostKeys && value.every((one) => typeof one === "string");
