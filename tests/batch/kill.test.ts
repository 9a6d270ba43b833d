// A batch that is killed again and again, started twice, and out of disk: nothing that was called done is lost, and the last file is that of one go.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { batch } from "../../src/batch/index.js";
import { openStore, verifyStore } from "../../src/store/index.js";
import { Random } from "../../src/support/random.js";
import { readTask } from "../../src/task/index.js";
import { longest, sized } from "../support/long.js";
import { writeTextToy } from "../support/text_toy.js";
import { freshFolder, manyRequests, writeLines, writeOpenTask } from "./requests.js";

/** Compiled by npm test (or npm run build:typescript) before vitest runs: a child process runs no TypeScript. */
const child = path.resolve("dist/tests/batch/batch_child.js");
const cache = path.join(freshFolder(), "cache");
process.env.XDG_CACHE_HOME = cache;

interface Life {
  end: number | string | null;
  /** Rows that it called done. */
  done: number;
  computed: number;
  errors: string;
}

/** Runs the child; it is killed `delay` milliseconds after it called its first row done, or first moved on. */
function live(args: string[], delay: number | null): Promise<Life> {
  return new Promise((resolve) => {
    const running = spawn(process.execPath, [child, ...args], { env: { ...process.env, XDG_CACHE_HOME: cache } });
    const life: Life = { end: null, done: 0, computed: 0, errors: "" };
    running.stderr.on("data", (text) => {
      life.errors += text;
    });
    let armed = false;
    createInterface(running.stdout).on("line", (line) => {
      const [done, computed] = line.split(" ").map(Number);
      life.done = Math.max(life.done, done!);
      life.computed = Math.max(life.computed, computed!);
      if (delay === null || armed || life.computed === 0) return;
      armed = true;
      setTimeout(() => running.kill("SIGKILL"), delay);
    });
    running.on("close", (code, signal) => resolve({ ...life, end: signal ?? code }));
  });
}

test.each(["requests", "classify"] as const)(
  "kill -9 at seeded moments of 2,000 rows: %s",
  { timeout: 2 * longest },
  async (kind) => {
    const folder = freshFolder();
    const model = writeTextToy();
    const input = kind === "requests" ? writeLines(manyRequests(2000)) : writeOpenTask("classify", 2000);
    const [whole, out] = ["whole", "out"].map((name) => path.join(folder, name)) as [string, string];
    const undisturbed = await live([input, model, `${whole}.store`, whole], null);
    expect(undisturbed, undisturbed.errors).toMatchObject({ end: 0 });
    const random = new Random(4);
    const wanted = sized(8, 30);
    let [kills, known] = [0, 0];
    for (let lives = 0; kills < wanted && lives < 4 * wanted; lives++) {
      const life = await live([input, model, `${out}.store`, out], random.below(60));
      if (life.end === 0) {
        // It came to its end before the next kill: once more from the beginning.
        expect(readFileSync(out).equals(readFileSync(whole))).toBe(true);
        rmSync(`${out}.store`, { recursive: true });
        known = 0;
        continue;
      }
      expect(life, life.errors).toMatchObject({ end: "SIGKILL" });
      kills++;
      const store = await openStore(`${out}.store`);
      const { answers, damaged } = await verifyStore(store);
      await store.close();
      // What it called computed is there, and so is what those before it called so.
      expect(answers).toBeGreaterThanOrEqual(known + life.computed);
      expect(damaged).toBe(0);
      known = answers;
    }
    expect(kills).toBe(wanted);
    const last = await live([input, model, `${out}.store`, out], null);
    expect(last, last.errors).toMatchObject({ end: 0 });
    expect(readFileSync(out).equals(readFileSync(whole))).toBe(true);
  },
);

test("the same batch started twice: the second leaves within two seconds and names the first", async () => {
  const folder = freshFolder();
  const input = writeLines(manyRequests(10));
  const store = await openStore(path.join(folder, "store"));
  const began = performance.now();
  const second = await live([input, writeTextToy(), store.folder, path.join(folder, "out")], null);
  expect(performance.now() - began).toBeLessThan(2000);
  expect(second).toMatchObject({ end: 64, errors: expect.stringContaining(`process ${process.pid}`) });
  await store.close();
});

test.for(["store", "out"] as const)(
  "a full disk under its %s is an error at once, and what follows does the rest",
  { timeout: 60_000 },
  async (part, { skip }) => {
    if (process.getuid?.() !== 0 || process.platform !== "linux") skip("needs root on Linux, to mount a small tmpfs");
    const model = writeTextToy();
    const task = await readTask(writeOpenTask("generate", 1500));
    const [disk, folder] = [mkdtempSync(path.join(tmpdir(), "stillroom-full-")), freshFolder()];
    const common = { model, threads: 1 };
    await batch(task, { ...common, store: path.join(folder, "whole"), out: path.join(folder, "whole.jsonl") });
    const size = part === "out" ? Math.floor(statSync(path.join(folder, "whole.jsonl")).size / 2) : 400_000;
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", disk]);
    try {
      const to = {
        ...common,
        store: path.join(folder, "store"),
        out: path.join(folder, "out.jsonl"),
        [part]: path.join(disk, part),
      };
      const began = performance.now();
      await expect(batch(task, to)).rejects.toMatchObject({
        code: "io",
        message: expect.stringContaining(path.join(disk, part)),
      });
      expect(performance.now() - began).toBeLessThan(20_000);
      execFileSync("mount", ["-o", "remount,size=64m", disk]);
      const rest = await batch(task, to);
      expect(rest.from_store).toBeGreaterThan(0);
      expect(readFileSync(to.out).equals(readFileSync(path.join(folder, "whole.jsonl")))).toBe(true);
    } finally {
      execFileSync("umount", [disk]);
    }
  },
);
