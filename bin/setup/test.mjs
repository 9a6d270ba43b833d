// npm test: makes the clone ready, runs the native tests and vitest, and ends with the plain line "N passed, N failed".
// Arguments go to vitest and leave the native tests out: npm test -- tests/task
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { makeReady, root } from "./ready.mjs";

function nativeTests() {
  const program = path.join(root, "build/native/Release/native_tests");
  const result = spawnSync(program, [], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 1 << 28,
  });
  process.stdout.write(result.stdout.replace(/^(\d+ passed, \d+ failed)\n*$/m, "native tests: $1\n"));
  const line = /^(\d+) passed, (\d+) failed/m.exec(result.stdout);
  const failed = Number(line?.[2] ?? 0);
  // A crash has no failing test to its name.
  return { passed: Number(line?.[1] ?? 0), failed: result.status === 0 ? failed : Math.max(1, failed), skipped: 0 };
}

function vitest(args) {
  const counts = path.join(root, "build/vitest-counts.json");
  rmSync(counts, { force: true });
  // Tests leave small files by the hundred; what they leave goes with this folder, which is open to all users as /tmp is: the queue's server is not root.
  const temporary = mkdtempSync(path.join(os.tmpdir(), "stillroom-tests-"));
  chmodSync(temporary, 0o1777);
  const result = spawnSync(process.execPath, [path.join(root, "node_modules/vitest/vitest.mjs"), "run", ...args], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, STILLROOM_TEST_COUNTS: counts, TMPDIR: temporary },
  });
  rmSync(temporary, { recursive: true, force: true });
  const { passed, failed, skipped } = existsSync(counts)
    ? JSON.parse(readFileSync(counts, "utf8"))
    : { passed: 0, failed: 0, skipped: 0 };
  return { passed, failed: result.status === 0 ? failed : Math.max(1, failed), skipped };
}

const args = process.argv.slice(2);
await makeReady({ nativeTests: args.length === 0 });
const parts = args.length > 0 ? [vitest(args)] : [nativeTests(), vitest([])];
const sum = (name) => parts.reduce((total, part) => total + part[name], 0);
process.stdout.write(
  `\n${sum("passed")} passed, ${sum("failed")} failed${sum("skipped") > 0 ? `, ${sum("skipped")} skipped` : ""}\n`,
);
process.exit(sum("failed") > 0 ? 1 : 0);
