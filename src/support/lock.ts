// One process at a time in a folder: a file lock-N with the owner's pid; a lock whose owner is gone is taken over.
import { link, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { cannot, StillroomError } from "./errors.js";
import { alive, startOf } from "./processes.js";

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

const lockName = /^lock-(\d+)$/;
const proposalName = /^lock\.\d+\.\d+\.tmp$/;

/**
 * Takes the folder for this process. Throws "usage" at once, naming the pid, when a living process holds it.
 *
 * A dead owner's lock-N is never moved or overwritten, for between looking and acting it may have become another's: the next
 * owner makes lock-N+1, a name that link(2) gives to one process only, and removes the older ones after that.
 */
export async function lockFolder(folder: string): Promise<FolderLock> {
  const own = JSON.stringify({ pid: process.pid, host: hostname(), started: startOf(process.pid) } satisfies Owner);
  const proposal = path.join(folder, `lock.${process.pid}.${process.hrtime.bigint()}.tmp`);
  try {
    await writeFile(proposal, own).catch((error: Error) => {
      throw cannot("lock", folder, error);
    });
    await removeProposals(folder);
    for (;;) {
      const found = await deadLocks(folder);
      const file = path.join(folder, `lock-${Math.max(0, ...found) + 1}`);
      if (!(await place(proposal, file))) continue;
      await removeOlder(folder, file);
      return { release: () => rm(file, { force: true }) };
    }
  } finally {
    await rm(proposal, { force: true });
  }
}

/** Throws "usage" where a living process holds the folder, which may not be there: for work that is to lock it, and reads a model first. */
export async function requireUnheld(folder: string): Promise<void> {
  const known = await stat(folder).catch(() => null);
  if (known?.isDirectory()) await deadLocks(folder);
}

/** Numbers of the locks in a folder. Throws "usage" when one is a living process's. */
async function deadLocks(folder: string, except?: string): Promise<number[]> {
  const names = (await readdir(folder)).filter((name) => lockName.test(name) && name !== except);
  for (const name of names) {
    const held = await readOrNull(path.join(folder, name));
    if (held !== null) refuseLiving(held, path.join(folder, name));
  }
  return names.map((name) => Number(lockName.exec(name)![1]));
}

/** Removes locks of dead owners. A living one that came in between with a lower number, while this one was slow, wins. */
async function removeOlder(folder: string, file: string): Promise<void> {
  try {
    for (const old of await deadLocks(folder, path.basename(file))) {
      await rm(path.join(folder, `lock-${old}`), { force: true });
    }
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  }
}

/** Removes what processes that were killed in locking left, as far as this user may. One whose file does not tell yet who it is may be just starting, on another machine, too. */
async function removeProposals(folder: string): Promise<void> {
  for (const name of (await readdir(folder)).filter((one) => proposalName.test(one))) {
    const file = path.join(folder, name);
    const owner = parse(await readFile(file, "utf8").catch(() => ""));
    if (owner !== null && isGone(owner)) await rm(file, { force: true }).catch(() => undefined);
  }
}

/** link(2) gives the name only when nothing has it: the file appears with its content, or not at all. */
async function place(proposal: string, file: string): Promise<boolean> {
  try {
    await link(proposal, file);
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === "EEXIST") return false;
    throw cannot("lock", path.dirname(file), error);
  }
}

function refuseLiving(held: string, file: string): void {
  const folder = path.dirname(file);
  const owner = parse(held);
  if (owner === null) return;
  if (owner.host !== hostname()) {
    throw new StillroomError(
      "usage",
      `${folder} is in use by process ${owner.pid} on ${owner.host}; when that has ended, remove ${file}`,
    );
  }
  if (isGone(owner)) return;
  throw new StillroomError("usage", `${folder} is in use by process ${owner.pid}; wait for it, or end it`);
}

/** Whether it was a process of this machine that has ended; another may have its pid since. */
function isGone({ pid, host, started }: Owner): boolean {
  if (host !== hostname()) return false;
  if (!alive(pid)) return true;
  const now = startOf(pid);
  return started !== null && now !== null && started !== now;
}

function parse(held: string): Owner | null {
  try {
    const owner = JSON.parse(held) as Owner;
    return Number.isSafeInteger(owner.pid) && owner.pid > 0 ? owner : null;
  } catch {
    return null;
  }
}

async function readOrNull(file: string): Promise<string | null> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return null;
    throw cannot("read", file, error);
  }
}
