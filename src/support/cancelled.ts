// Whether a long job was called off, and pauses that end when it is. Knows no job.
import { setTimeout } from "node:timers/promises";
import { StillroomError } from "./errors.js";

/** Throws "cancelled" when the signal was aborted; doing says at what: "cancelled while reading train.tsv". */
export function throwIfCancelled(signal: AbortSignal | undefined, doing: string): void {
  if (signal?.aborted) throw new StillroomError("cancelled", `cancelled while ${doing}`);
}

/** Ends early where the work is called off. */
export async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await setTimeout(milliseconds, undefined, { signal }).catch(() => undefined);
}
