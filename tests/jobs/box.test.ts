// A few steps on the model in the box and the rows of npm start: the same bytes after a stop, on quantised weights, real tokens and two threads.
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { evaluate } from "../../src/evaluate/index.js";
import { tune } from "../../src/jobs/index.js";
import { readTask } from "../../src/task/index.js";

const creatures = () => readTask(fileURLToPath(new URL("../../examples/creatures/task.yaml", import.meta.url)));
const folder = mkdtempSync(path.join(tmpdir(), "stillroom-box-"));

test("stopped after a step and resumed: the same adapter", { timeout: 120_000 }, async () => {
  const task = await creatures();
  const options = { steps: 2, batchSize: 8, limit: 16, validationLimit: 10, threads: 2, dropout: 0.05 };
  const [whole, out] = [path.join(folder, "whole"), path.join(folder, "out")];
  const undisturbed = await tune(task, { ...options, out: whole }).result;
  const abort = new AbortController();
  const cut = tune(task, { ...options, out, signal: abort.signal });
  for await (const event of cut) {
    if (event.type === "step" && event.step === 1) abort.abort();
    if (event.type === "checkpoint") break;
  }
  await expect(cut.result).rejects.toMatchObject({ code: "cancelled" });
  const resumed = await tune(task, { out, resume: true }).result;
  expect(resumed.loss).toEqual(undisturbed.loss);
  const weights = (run: string) => readFileSync(path.join(run, "adapter/adapter_model.safetensors"));
  expect(weights(out).equals(weights(whole))).toBe(true);
  expect(readFileSync(path.join(out, "adapter.gguf")).equals(readFileSync(path.join(whole, "adapter.gguf")))).toBe(
    true,
  );
});

test("one pass over the rows of npm start tells creatures apart better than always saying mammal", {
  timeout: 120_000,
}, async () => {
  const task = await creatures();
  const out = path.join(folder, "tuned");
  await tune(task, { out, learningRate: 2e-3, validationLimit: 20, threads: 2 }).result;
  const { metrics } = await evaluate(task, { adapter: out, limit: 100, threads: 2 });
  expect(metrics.accuracy!.low).toBeGreaterThan(0.3);
});
