// Runs dist/bin/stillroom.js as a user does. Knows no command.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { packageRoot } from "../../src/model/index.js";

const program = path.join(packageRoot(), "dist/bin/stillroom.js");
const cache = mkdtempSync(path.join(os.tmpdir(), "stillroom-command-"));

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
  /** Milliseconds from the signal to the end; null without one. */
  endedAfter: number | null;
}

export interface RunOptions {
  /** What stands on stdin; without it, there is none. */
  input?: Uint8Array;
  environment?: Record<string, string>;
  /** Sent when stderr first matches. */
  signal?: { name: NodeJS.Signals; when: RegExp };
}

/** Runs to the end; no terminal, an own cache, no hub. */
export function stillroom(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  if (!existsSync(program)) throw new Error(`${program} is not there; run: npm run build:typescript`);
  const environment = {
    ...process.env,
    XDG_CACHE_HOME: cache,
    HF_ENDPOINT: "http://127.0.0.1:9/",
    ...options.environment,
  };
  const child = spawn(process.execPath, [program, ...args], { stdio: "pipe", env: environment });
  child.stdin.end(options.input);
  const ended: Ended = { code: null, stdout: "", stderr: "", endedAfter: null };
  let sent: number | null = null;
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    ended.stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    ended.stderr += text;
    if (!options.signal || sent !== null || !options.signal.when.test(ended.stderr)) return;
    sent = performance.now();
    child.kill(options.signal.name);
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) =>
      resolve({ ...ended, code, endedAfter: sent === null ? null : performance.now() - sent }),
    );
  });
}
