// How much memory a piece of work takes in this process. Linux only; elsewhere nothing is known.
import { readFileSync, writeFileSync } from "node:fs";

/** From now on: by how many bytes the process has grown at most beyond what it is now (mapped files that were read included); null where the system does not tell. */
export function watchMemory(): () => number | null {
  try {
    // Makes the largest size so far the present one.
    writeFileSync("/proc/self/clear_refs", "5");
    const before = bytesOf("VmRSS");
    return () => Math.max(0, bytesOf("VmHWM") - before);
  } catch {
    return () => null;
  }
}

function bytesOf(field: "VmRSS" | "VmHWM"): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync("/proc/self/status", "utf8"))![1]) * 1024;
}
