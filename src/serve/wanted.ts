// Work of the model that somebody waits for. Data only.
import type { Outcome } from "../batch/index.js";
import type { Request } from "../store/index.js";

/** A request that somebody waits for. One of the two calls is made, once. */
export interface Wanted<Kind extends Request> {
  request: Kind;
  /** Aborted where nobody waits any more. */
  signal: AbortSignal;
  done: (outcome: Outcome) => void;
  failed: (error: unknown) => void;
}
