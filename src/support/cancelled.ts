// The one way to ask whether a long job was called off. Knows no job.
import { StillroomError } from "./errors.js";

/** Throws "cancelled" when the signal was aborted; doing says at what: "cancelled while reading train.tsv". */
export function throwIfCancelled(signal: AbortSignal | undefined, doing: string): void {
  if (signal?.aborted) throw new StillroomError("cancelled", `cancelled while ${doing}`);
}
