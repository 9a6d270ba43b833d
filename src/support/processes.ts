// Other processes: whether they live, and since when. Ends none.
import { readFileSync } from "node:fs";

/** A zombie is gone: only its parent, which may never ask, has not heard of it. */
export function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !["Z", "X"].includes(statOf(pid)?.[0] ?? "");
  } catch (error) {
    return (error as { code?: string }).code === "EPERM";
  }
}

/** When a process started, as the kernel counts it; null where it does not tell. */
export function startOf(pid: number): string | null {
  return statOf(pid)?.[19] ?? null;
}

/** /proc/PID/stat from field 3, the state, on: what follows the name in parentheses, which may itself hold spaces. */
function statOf(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return null;
  }
}
