// Whether a long job was called off, and pauses that end when it is. Knows no job.
import { setTimeout } from "node:timers/promises";
import { StillroomError } from "./errors.js";

/** Throws "cancelled" when the signal was aborted; doing says at what: "cancelled while reading train.tsv". */
export function throwIfCancelled(signal: AbortSignal | undefined, doing: string): void {
  if (signal?.aborted) throw new StillroomError("cancelled", `cancelled while ${doing}`);
}

const hint = /; [^;]* goes on from there$/;

/** A cancellation with the words how the work goes on, in place of those of a part of it, and the options that they name; any other error as it is. */
export function goingOn(error: StillroomError, how: string, options: readonly string[] = []): StillroomError {
  if (error.code !== "cancelled") return error;
  const told = hint.test(error.message);
  const message = `${error.message.replace(hint, "")}; ${how} goes on from there`;
  const cause = told ? error.cause : error;
  return new StillroomError(error.code, message, { cause, options: [...(told ? [] : error.options), ...options] });
}

/** Ends early where the work is called off. */
export async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await setTimeout(milliseconds, undefined, { signal }).catch(() => undefined);
}
