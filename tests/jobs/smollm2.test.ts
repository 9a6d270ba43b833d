// A few steps on SmolLM2-135M and SST-2: the same bytes after a stop, on quantised weights and two threads.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect } from "vitest";
import { tune } from "../../src/jobs/index.js";
import { readTask } from "../../src/task/index.js";
import { needs, sharedPath } from "../support/needs.js";

const testShared = needs("shared");

const taskText = (data: string) => `
name: sst2
kind: classify
data:
  train: { path: ${JSON.stringify(path.join(data, "train.tsv"))}, columns: { text: sentence } }
prompt:
  instruction: Decide whether the sentiment of a movie review is positive or negative.
  template: "Review: {{ text }}\\nSentiment:"
  separator: "\\n\\n"
answer:
  field: label
  labels: { "0": negative, "1": positive }
metric: accuracy
`;

testShared(
  "stopped after a step and resumed: the same adapter",
  async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "stillroom-smollm2-"));
    const file = path.join(folder, "task.yaml");
    writeFileSync(file, taskText(sharedPath("data/sst2")));
    const task = await readTask(file);
    const model = sharedPath("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    const options = { model, steps: 2, batchSize: 4, limit: 8, threads: 2, dropout: 0.05 };
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
    expect(undisturbed.loss.first).toBeGreaterThan(0.5);
    const weights = (run: string) => readFileSync(path.join(run, "adapter/adapter_model.safetensors"));
    expect(weights(out).equals(weights(whole))).toBe(true);
    expect(readFileSync(path.join(out, "adapter.gguf")).equals(readFileSync(path.join(whole, "adapter.gguf")))).toBe(
      true,
    );
  },
  120_000,
);
