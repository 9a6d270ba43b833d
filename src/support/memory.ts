// How much memory a piece of work takes in this process. Linux only; elsewhere nothing is known.
import { readFileSync, writeFileSync } from "node:fs";
import { Session } from "node:inspector";
import { setImmediate } from "node:timers/promises";
import { native } from "./native.js";

/**
 * From now on: by how many bytes the process has grown at most beyond what it is now (mapped files that were read included); null where the system does not tell. What work
 * before this one has left is given back first: it would be taken again unseen, and the same work would seem smaller in a process that has done more.
 */
export async function watchMemory(): Promise<() => number | null> {
  try {
    await collectGarbage();
    native().trimMemory();
    // Makes the largest size so far the present one.
    writeFileSync("/proc/self/clear_refs", "5");
    const before = bytesOf("VmRSS");
    return () => Math.max(0, bytesOf("VmHWM") - before);
  } catch {
    return () => null;
  }
}

/** Twice: native memory is freed in a turn of the loop behind that in which its owner is collected. */
async function collectGarbage(): Promise<void> {
  const session = new Session();
  session.connect();
  for (let round = 0; round < 2; round++) {
    session.post("HeapProfiler.collectGarbage");
    await setImmediate();
  }
  session.disconnect();
}

function bytesOf(field: "VmRSS" | "VmHWM"): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync("/proc/self/status", "utf8"))![1]) * 1024;
}
