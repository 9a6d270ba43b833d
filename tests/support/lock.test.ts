// One process at a time in a folder, whatever became of the one before.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import path from "node:path";
import { beforeEach, expect, test, vi } from "vitest";
import { lockFolder } from "../../src/support/lock.js";

const hooks = vi.hoisted(() => ({ beforeLink: null as (() => Promise<void>) | null, full: false }));
vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();
  const link: typeof real.link = async (from, to) => {
    const hook = hooks.beforeLink;
    hooks.beforeLink = null;
    await hook?.();
    return real.link(from, to);
  };
  const writeFile: typeof real.writeFile = async (file, data, options) => {
    if (!hooks.full) return real.writeFile(file, data, options);
    hooks.full = false;
    await real.writeFile(file, "");
    throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
  };
  return { ...real, link, writeFile };
});

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "stillroom-lock-"));
  file = path.join(folder, "lock-4");
});

/** The pid of a process that has ended. */
const dead = () => spawnSync(process.execPath, ["-e", ""]).pid;

const owner = (change: object) => JSON.stringify({ pid: process.pid, host: hostname(), started: null, ...change });

test("the second one leaves at once, naming the pid; after release it may have it", async () => {
  const lock = await lockFolder(folder);
  await expect(lockFolder(folder)).rejects.toMatchObject({
    code: "usage",
    message: `${folder} is in use by process ${process.pid}; wait for it, or end it`,
  });
  await lock.release();
  await lock.release();
  expect(await readdir(folder)).toEqual([]);
  await (await lockFolder(folder)).release();
});

test("a lock of a dead process is taken over", async () => {
  await writeFile(file, owner({ pid: dead() }));
  await lockFolder(folder);
  expect(await readdir(folder)).toEqual(["lock-5"]);
  expect(JSON.parse(await readFile(path.join(folder, "lock-5"), "utf8"))).toMatchObject({ pid: process.pid });
});

test.runIf(process.platform === "linux")(
  "a process that has ended and was never waited for is not the owner",
  async () => {
    // The shell becomes a sleep, which waits for nobody; by then its child must be there still, or the shell itself has waited.
    const parent = spawn("sh", ["-c", "sleep 0.5 & echo $!; exec sleep 60"], { stdio: ["ignore", "pipe", "ignore"] });
    try {
      const [pid] = await once(parent.stdout.setEncoding("utf8"), "data");
      const stat = () => readFile(`/proc/${Number(pid)}/stat`, "utf8");
      while (!(await stat()).includes(") Z ")) await new Promise((resolve) => setTimeout(resolve, 10));
      await writeFile(file, owner({ pid: Number(pid) }));
      await lockFolder(folder);
      expect(await readdir(folder)).toEqual(["lock-5"]);
    } finally {
      parent.kill();
    }
  },
);

test.runIf(process.platform === "linux")("a pid that another process got since is not the owner", async () => {
  await writeFile(file, owner({ started: "1" }));
  await lockFolder(folder);
  expect(await readdir(folder)).toEqual(["lock-5"]);
});

test("a lock of another machine is left alone, with a word on how to remove it", async () => {
  await writeFile(file, owner({ pid: 2 ** 30, host: "elsewhere" }));
  await expect(lockFolder(folder)).rejects.toThrow(/process \d+ on elsewhere; when that has ended, remove .*lock-4/);
});

test("a lock file without sense is taken over", async () => {
  await writeFile(file, "{");
  await (await lockFolder(folder)).release();
});

test("of many at once exactly one gets it, also over a stale lock", async () => {
  await writeFile(file, owner({ pid: dead() }));
  const tries = await Promise.allSettled(Array.from({ length: 20 }, () => lockFolder(folder)));
  expect(tries.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(await readdir(folder)).toEqual(["lock-5"]);
});

test("what processes that were killed in locking left is taken away, and nothing of a living one or of another machine", async () => {
  const left = (name: string, content: string) => writeFile(path.join(folder, name), content);
  await left("lock.1.1.tmp", owner({ pid: dead() }));
  await left("lock.2.1.tmp", owner({}));
  await left("lock.3.1.tmp", owner({ pid: 2 ** 30, host: "elsewhere" }));
  await left("lock.4.1.tmp", "");
  await lockFolder(folder);
  expect((await readdir(folder)).sort()).toEqual(["lock-1", "lock.2.1.tmp", "lock.3.1.tmp", "lock.4.1.tmp"]);
});

test("a disk that is full leaves nothing", async () => {
  hooks.full = true;
  await expect(lockFolder(folder)).rejects.toMatchObject({ code: "io" });
  expect(await readdir(folder)).toEqual([]);
});

test("one that was slow to take over a dead lock leaves to whoever holds the folder by then", async () => {
  // The slow one saw the dead lock-4; before it acts, that is removed, and a living process makes lock-1.
  await writeFile(file, owner({ pid: dead() }));
  hooks.beforeLink = async () => {
    await rm(file);
    await writeFile(path.join(folder, "lock-1"), owner({}));
  };
  await expect(lockFolder(folder)).rejects.toMatchObject({ code: "usage" });
  expect(await readdir(folder)).toEqual(["lock-1"]);
});
