// The guard before llama.cpp: a file not opened before is first opened in a child process, because an assert there ends the
// process it is in. Owns the list of files that went well; knows nothing of what a model is.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import type { Stats } from "node:fs";
import { appendFile, readFile, rm, stat } from "node:fs/promises";
import path from "node:path";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import { makeFolder } from "../support/files.js";
import { addonPath } from "../support/native.js";
import { cacheFolder } from "./folders.js";
import { childProgram } from "./open-child.js";

/** Least time for the child; large files get a second more for every 50 MB. */
const limitSeconds = 60;
const bytesPerSecond = 50e6;
/** A list longer than this is begun again: forgetting costs a child process a file. */
const listLimit = 64 * 1024;
/** Checks under way in this process, by key: openings of one file at the same time share a child. */
const underWay = new Map<string, Check>();

interface Check {
  done: Promise<void>;
  /** Callers that still wait for it; when the last one gives up, the child is stopped. */
  waiting: number;
  stop: () => void;
}

/**
 * Resolves at once for a file that was opened before (same path, size, time and inode, same addon), else after a child
 * process has opened it. Throws "input" with the child's last words, "cancelled" on abort.
 *
 * @param program - what the child runs; another one only in tests
 */
export async function firstOpen(file: string, signal?: AbortSignal, program = childProgram): Promise<void> {
  throwIfCancelled(signal, `opening ${file}`);
  const [model, addon] = await Promise.all([stat(file), stat(addonPath())]);
  const key = keyOf(path.resolve(file), model, addon);
  if (await isListed(key)) return;
  const check = underWay.get(key) ?? openInChild(file, model.size, program);
  if (check.waiting++ === 0) {
    underWay.set(key, check);
    check.done = check.done.then(() => list(key)).finally(() => underWay.delete(key));
  }
  const aborted = new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }));
  try {
    await Promise.race([check.done, aborted]);
    throwIfCancelled(signal, `opening ${file}`);
  } finally {
    if (--check.waiting === 0) check.stop();
  }
}

function keyOf(file: string, model: Stats, addon: Stats): string {
  const facts = [file, model.size, model.mtimeMs, model.ino, addon.size, addon.mtimeMs];
  return createHash("sha256").update(JSON.stringify(facts)).digest("hex");
}

function listFile(): string {
  return path.join(cacheFolder(), "opened.txt");
}

async function isListed(key: string): Promise<boolean> {
  const keys = await readFile(listFile(), "utf8").catch(() => "");
  return keys.split("\n").includes(key);
}

/** A list that cannot be written is no error: the file is checked again the next time. */
async function list(key: string): Promise<void> {
  try {
    await makeFolder(cacheFolder());
    const known = await stat(listFile()).catch(() => null);
    if (known && known.size > listLimit) await rm(listFile());
    await appendFile(listFile(), `${key}\n`);
  } catch {}
}

function openInChild(file: string, bytes: number, program: string): Check {
  const limit = Math.round(limitSeconds + bytes / bytesPerSecond);
  const child = spawn(process.execPath, ["--eval", program, addonPath(), path.resolve(file)], {
    stdio: ["ignore", "ignore", "pipe"],
    // Without the first, ggml's abort starts a debugger to print a backtrace.
    env: { ...process.env, GGML_NO_BACKTRACE: "1", NODE_OPTIONS: "" },
  });
  const done = new Promise<void>((resolve, reject) => {
    let words = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      words = (words + text).slice(-8192);
    });
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
    }, limit * 1000);
    child.once("error", (cause) => {
      clearTimeout(timer);
      reject(new StillroomError("internal", `cannot start a process to open ${file} in: ${cause.message}`, { cause }));
    });
    child.once("close", (code, end) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else if (timedOut) reject(refused(file, `it did not open within ${limit} seconds`));
      else if (code === 3) reject(refused(file, lastWords(words)));
      else reject(refused(file, `the process that tried ended with ${end ?? `code ${code}`}: ${lastWords(words)}`));
    });
  });
  done.catch(() => undefined);
  return { done, waiting: 0, stop: () => child.kill("SIGKILL") };
}

function refused(file: string, reason: string): StillroomError {
  return new StillroomError("input", `llama.cpp cannot open ${file}: ${reason}`);
}

/** The assert if there is one, else the last line. */
function lastWords(words: string): string {
  const lines = words.split("\n").filter((line) => line.trim() !== "");
  const line = lines.find((text) => text.includes("GGML_ASSERT")) ?? lines.at(-1) ?? "it said nothing";
  return line.trim().slice(0, 300);
}
