// One process that writes beside four that read, readers and writers that are killed, and a disk that is full.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { openStore, verifyStore } from "../../src/store/index.js";
import { Random } from "../../src/support/random.js";
import { longest, sized } from "../support/long.js";
import { entryOf, freshFolder } from "./make.js";

/** Compiled by npm test (or npm run build:typescript) before vitest runs: a child process runs no TypeScript. */
const child = path.resolve("dist/tests/store/store_child.js");

interface Running {
  process: ChildProcess;
  lines: string[];
  errors: string;
  ended: Promise<number | string | null>;
}

function start(args: string[], onLine: (line: string, running: Running) => void = () => undefined): Running {
  const running: Running = {
    process: spawn(process.execPath, [child, ...args]),
    lines: [],
    errors: "",
    ended: Promise.resolve(0),
  };
  running.process.stderr!.on("data", (text) => {
    running.errors += text;
  });
  createInterface(running.process.stdout!).on("line", (line) => {
    running.lines.push(line);
    onLine(line, running);
  });
  running.ended = new Promise((resolve) => running.process.once("close", (code, signal) => resolve(signal ?? code)));
  return running;
}

test("four readers beside a writer see whole answers only, and none that comes and goes", {
  timeout: longest,
}, async () => {
  const folder = freshFolder();
  const answers = sized(20_000, 1_000_000);
  await (await openStore(folder)).close();
  const readers = [0, 1, 2, 3].map((seed) => start(["read", folder, String(seed)]));
  const writer = start(["write", folder, "0", String(answers)]);
  expect(await writer.ended).toBe(0);
  // A reader that is killed in the middle of its work holds no pages for ever: the next writer clears it.
  readers[3]!.process.kill("SIGKILL");
  await readers[3]!.ended;
  for (const reader of readers.slice(0, 3)) reader.process.kill("SIGTERM");
  for (const reader of readers.slice(0, 3)) {
    expect(await reader.ended, reader.errors).toBe(0);
    const { reads, torn, backwards, p99 } = JSON.parse(reader.lines.at(-1)!) as Record<string, number>;
    expect({ torn, backwards }).toEqual({ torn: 0, backwards: 0 });
    expect(reads).toBeGreaterThan(100);
    // Of a look-up on a machine that does other things as well, in microseconds.
    expect(p99).toBeLessThan(2000);
  }
  const store = await openStore(folder);
  expect(store.tables.clearReaders()).toBe(0);
  expect(await verifyStore(store)).toMatchObject({ answers, damaged: 0 });
  await store.close();
});

test("what a writer called done survives twelve SIGKILLs, and its lock does not", { timeout: 120_000 }, async () => {
  const folder = freshFolder();
  const random = new Random(3);
  let acknowledged = 0;
  for (let life = 0; life < 12; life++) {
    const pieces = 1 + random.below(6);
    const from = acknowledged;
    const running = start(["write", folder, String(from), "100000"], (line, { process, lines }) => {
      acknowledged = Math.max(acknowledged, Number(line));
      if (lines.length === pieces) process.kill("SIGKILL");
    });
    expect(await running.ended, running.errors).toBe("SIGKILL");
    expect(acknowledged).toBeGreaterThan(from);
  }
  const store = await openStore(folder);
  const missing = Array.from({ length: acknowledged }, (_, number) => number).filter(
    (number) => store.lookup(`question ${number}`).answer !== `answer ${number}`,
  );
  expect(missing).toEqual([]);
  expect((await verifyStore(store)).damaged).toBe(0);
  await store.close();
});

test("a second writer is told the first one's pid within two seconds", async () => {
  const folder = freshFolder();
  const first = start(["hold", folder]);
  await new Promise((resolve) => first.process.stdout!.once("data", resolve));
  const before = performance.now();
  await expect(openStore(folder)).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(new RegExp(`process ${first.process.pid}`)),
  });
  expect(performance.now() - before).toBeLessThan(2000);
  first.process.kill("SIGKILL");
  await first.ended;
  await (await openStore(folder)).close();
});

test("a full disk is an error at once, loses nothing that was called done, and leaves a store", async ({ skip }) => {
  if (process.getuid?.() !== 0 || process.platform !== "linux") skip("needs root on Linux, to mount a small tmpfs");
  const disk = mkdtempSync(path.join(tmpdir(), "stillroom-full-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", disk]);
  try {
    const store = await openStore(path.join(disk, "store"));
    let done = 0;
    const began = performance.now();
    const failed = await (async () => {
      for (;;) {
        await store.put(
          Array.from({ length: 50 }, (_, one) => entryOf(done + one, "x".repeat(500), [`question ${done + one}`])),
        );
        done += 50;
      }
    })().catch((error: unknown) => error);
    expect(failed).toMatchObject({
      code: "io",
      message: expect.stringMatching(/cannot write the store .*is the disk full\?/),
    });
    expect(performance.now() - began).toBeLessThan(5000);
    expect(done).toBeGreaterThan(0);
    expect(Array.from({ length: done }, (_, number) => store.lookup(`question ${number}`).hit).every(Boolean)).toBe(
      true,
    );
    await store.close();
    execFileSync("mount", ["-o", "remount,size=16m", disk]);
    const again = await openStore(path.join(disk, "store"));
    await again.put([entryOf(done, "room again", [`question ${done}`])]);
    expect(again.lookup(`question ${done}`).answer).toBe("room again");
    expect(await verifyStore(again)).toMatchObject({ damaged: 0, answers: done + 1 });
    await again.close();
  } finally {
    execFileSync("umount", [disk]);
  }
});
