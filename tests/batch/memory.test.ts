// A batch of many rows takes the memory of a batch of few. In the long form a million.
import { spawn } from "node:child_process";
import { createWriteStream, statSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { longest, sized } from "../support/long.js";
import { writeTextToy } from "../support/text_toy.js";
import { completion, freshFolder } from "./requests.js";

/** Compiled by npm test (or npm run build:typescript) before vitest runs: a child process runs no TypeScript. */
const child = path.resolve("dist/tests/batch/batch_child.js");
const cache = path.join(freshFolder(), "cache");

async function writeRequests(count: number): Promise<string> {
  const file = path.join(freshFolder(), "requests.jsonl");
  const stream = createWriteStream(file);
  for (let row = 0; row < count; row++) {
    const line = `${JSON.stringify(completion(`row ${row}`, `Fruit ${row}:`, { max_tokens: 1 }))}\n`;
    if (!stream.write(line)) await new Promise<void>((resolve) => stream.once("drain", () => resolve()));
  }
  await new Promise<void>((resolve) => stream.end(() => resolve()));
  return file;
}

/** Most memory without mapped files that the batch was seen with, in MiB, and the rows that it did. */
function run(
  input: string,
  model: string,
): Promise<{ end: number | null; rows: number; most: number; errors: string }> {
  const folder = freshFolder();
  const args = [child, input, model, path.join(folder, "store"), path.join(folder, "out.jsonl")];
  const running = spawn(process.execPath, ["--max-old-space-size=64", ...args], {
    env: { ...process.env, XDG_CACHE_HOME: cache },
  });
  let [rows, most, errors] = [0, 0, ""];
  running.stderr.on("data", (text) => {
    errors += text;
  });
  createInterface(running.stdout).on("line", (line) => {
    const [done, , kilobytes] = line.split(" ").map(Number) as [number, number, number];
    rows = done;
    most = Math.max(most, kilobytes / 1024);
  });
  return new Promise((resolve) => running.on("close", (end) => resolve({ end, rows, most, errors })));
}

test("memory does not grow with the file", { timeout: longest }, async () => {
  const model = writeTextToy();
  const [few, many] = [sized(4000, 20_000), sized(12_000, 1_000_000)];
  const files = [await writeRequests(few), await writeRequests(many)] as const;
  expect(statSync(files[1]).size).toBeGreaterThan(2.9 * statSync(files[0]).size);
  const small = await run(files[0], model);
  const large = await run(files[1], model);
  expect(small, small.errors).toMatchObject({ end: 0, rows: few });
  expect(large, large.errors).toMatchObject({ end: 0, rows: many });
  console.log(`${few} rows: ${small.most.toFixed(0)} MiB, ${many} rows: ${large.most.toFixed(0)} MiB`);
  expect(large.most).toBeLessThan(small.most + 64);
});
