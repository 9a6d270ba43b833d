// POST /v1/lookup: what the store knows for texts. Written on Node's own requests: nothing of a framework stands between a look-up and its HTTP.
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Store } from "../store/index.js";
import { ApiError } from "./errors.js";
import { readObject, sendJson } from "./http.js";
import type { Metrics } from "./metrics.js";

const mostKeys = 10_000;

export function lookupHandler(store: Store, metrics: Metrics, limit: number) {
  const hit = metrics.lookups.labels("hit");
  const miss = metrics.lookups.labels("miss");
  const look = (key: string) => {
    const found = store.lookup(key);
    (found.hit ? hit : miss).inc();
    return found;
  };
  return async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const { key, keys, ...rest } = await readObject(incoming, limit);
    const [unknown] = Object.keys(rest);
    if (unknown !== undefined)
      throw new ApiError(400, `unknown field ${unknown.slice(0, 80)}`, { param: unknown.slice(0, 80) });
    if (typeof key === "string" && keys === undefined) sendJson(outgoing, look(key));
    else if (key === undefined && isTexts(keys)) sendJson(outgoing, { answers: keys.map(look) });
    else throw new ApiError(400, `expected a text for key, or up to ${mostKeys} texts for keys`, { param: "key" });
  };
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.length <= mostKeys && value.every((one) => typeof one === "string");
