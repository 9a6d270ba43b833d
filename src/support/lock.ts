// One process at a time in a folder: a file named lock with the owner's pid; a lock whose owner is gone is taken over.

import { readFileSync } from "node:fs";
import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { StillroomError } from "./errors.js";

interface Owner {
  pid: number;
  host: string;
  /** When the process started, as the kernel counts it; null where it does not tell. Tells a reused pid from its first owner. */
  started: string | null;
}

/** A held lock. */
export interface FolderLock {
  /** Gives the folder free. Idempotent. */
  release(): Promise<void>;
}

/** Takes the folder for this process. Throws "usage" at once, naming the pid, when a living process holds it. */
export async function lockFolder(folder: string): Promise<FolderLock> {
  const file = path.join(folder, "lock");
  const own = JSON.stringify({ pid: process.pid, host: hostname(), started: startOf(process.pid) } satisfies Owner);
  const proposal = path.join(folder, `lock.${process.pid}.${process.hrtime.bigint()}.tmp`);
  await writeFile(proposal, own);
  try {
    for (;;) {
      if (await place(proposal, file)) break;
      const held = await readOrNull(file);
      if (held !== null) await clearStale(file, held, `${proposal}.stale`, folder);
    }
  } finally {
    await rm(proposal, { force: true });
  }
  return {
    async release() {
      if ((await readOrNull(file)) === own) await rm(file, { force: true });
    },
  };
}

/** link(2) gives the name only when nothing has it: the file appears with its content, or not at all. */
async function place(proposal: string, file: string): Promise<boolean> {
  try {
    await link(proposal, file);
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === "EEXIST") return false;
    throw new StillroomError("io", `cannot lock ${path.dirname(file)}: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * Moves a lock of a dead process aside. Between reading and moving, another process may have done the same and placed its own:
 * what was moved is looked at again, and a living one is put back.
 */
async function clearStale(file: string, held: string, aside: string, folder: string): Promise<void> {
  refuseLiving(held, folder);
  await rename(file, aside).catch(() => undefined);
  const moved = await readOrNull(aside);
  if (moved !== null && moved !== held) await link(aside, file).catch(() => undefined);
  await rm(aside, { force: true });
}

function refuseLiving(held: string, folder: string): void {
  const owner = parse(held);
  if (owner === null) return;
  if (owner.host !== hostname()) {
    throw new StillroomError(
      "usage",
      `${folder} is in use by process ${owner.pid} on ${owner.host}; when that has ended, remove ${path.join(folder, "lock")}`,
    );
  }
  if (!alive(owner.pid)) return;
  const started = startOf(owner.pid);
  if (owner.started !== null && started !== null && owner.started !== started) return;
  throw new StillroomError("usage", `${folder} is in use by process ${owner.pid}; wait for it, or end it`);
}

function parse(held: string): Owner | null {
  try {
    const owner = JSON.parse(held) as Owner;
    return Number.isSafeInteger(owner.pid) && owner.pid > 0 ? owner : null;
  } catch {
    return null;
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === "EPERM";
  }
}

/** Field 22 of /proc/PID/stat, counted after the name in parentheses, which may itself hold spaces. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}

async function readOrNull(file: string): Promise<string | null> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return null;
    throw new StillroomError("io", `cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}
