// A process for kill.test.ts and memory.test.ts: a batch that says after each step what it has done, what it has computed, and its memory without mapped files.
import { readFileSync, writeSync } from "node:fs";
import { batch } from "../../src/batch/index.js";
import { exitCodes, StillroomError } from "../../src/support/errors.js";
import { isTaskFile, readTask } from "../../src/task/index.js";

/** In kB; 0 where the system does not tell. */
function privateMemory(): number {
  if (process.platform !== "linux") return 0;
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? 0);
}

const [input, model, store, out] = process.argv.slice(2) as [string, string, string, string];
try {
  await batch(isTaskFile(input) ? await readTask(input) : input, {
    ...{ model, store, out, threads: 1, window: 500 },
    onProgress: ({ rows, computed }) => void writeSync(1, `${rows} ${computed} ${privateMemory()}\n`),
  });
} catch (error) {
  if (!(error instanceof StillroomError)) throw error;
  writeSync(2, `${error.message}\n`);
  process.exitCode = exitCodes[error.code];
}
