// Runs of tune and distill: where they lie, what they wrote, and their being called off.
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect } from "vitest";
import { jsonLines } from "../support/json-lines.js";

/** A RUN folder that is not there yet. */
export const runFolder = () => path.join(mkdtempSync(path.join(tmpdir(), "stillroom-run-")), "run");

export const sha = (file: string) => createHash("sha256").update(readFileSync(file)).digest("hex");

interface Step {
  step: number;
  loss: number;
  tokens: number;
  gradient_norm: number;
  hidden_distance?: number;
}

/** The lines of metrics.jsonl. */
export const stepsOf = (run: string): Step[] => jsonLines(path.join(run, "metrics.jsonl"));

/** Begins a run and calls it off after a step. */
export async function cutAfter(
  step: number,
  begin: (signal: AbortSignal) => AsyncIterable<{ type: string; step?: number }>,
): Promise<void> {
  const abort = new AbortController();
  const listen = async () => {
    for await (const event of begin(abort.signal)) if (event.type === "step" && event.step === step) abort.abort();
  };
  await expect(listen()).rejects.toMatchObject({ code: "cancelled" });
}
