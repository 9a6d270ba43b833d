// Greedy answers in words, through llama.cpp. Owns the adapter's temporary file; knows no metric.
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { NativeRunner } from "../support/native.js";
import { native } from "../support/native.js";
import type { Answered, EncodedPrompt, ScoringJob, Step } from "./scoring.js";

/** Prompts that are answered side by side. */
const sequences = 8;
/** Prompts of one call: so many that few of the sequences wait at its end. */
const promptsOfCall = 8 * sequences;

/** The generated text of each row, white space at its ends removed, in the order of the rows. */
export async function generateRows(job: ScoringJob, rows: readonly EncodedPrompt[], step: Step): Promise<Answered[]> {
  const { task } = job;
  const answered = new Array<Answered>(rows.length);
  const places = [...rows.keys()].sort((a, b) => rows[a]!.tokens.length - rows[b]!.tokens.length || a - b);
  const longest = rows.reduce((most, { tokens }) => Math.max(most, tokens.length), 0) + task.maxTokens;
  // Without a chat template, a model that is done goes on with the next example.
  const stop = task.prompt.chat || task.prompt.separator === "" ? [] : [task.prompt.separator];
  await withRunner(job, longest, async (runner) => {
    for (let from = 0; from < places.length; from += promptsOfCall) {
      const part = places.slice(from, from + promptsOfCall);
      const prompts = part.map((place) => rows[place]!.tokens);
      const answers = await runner.generate(prompts, { maxTokens: task.maxTokens, stop });
      let tokens = 0;
      for (const [index, place] of part.entries()) {
        const answer = answers[index]!;
        answered[place] = { prediction: answer.text.trim(), probabilities: null };
        tokens += prompts[index]!.length + answer.tokens.length;
      }
      step(part.length, tokens);
    }
  });
  return answered;
}

async function withRunner(
  job: ScoringJob,
  longest: number,
  work: (runner: NativeRunner) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), "stillroom-"));
  try {
    const runner = await native().openRunner(job.model.info.path, {
      threads: job.model.threads,
      adapter: await writeLora(job, folder),
      contextTokens: longest,
      sequences,
    });
    try {
      await work(runner);
    } finally {
      await runner.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** llama.cpp scales by alpha / rank: an rsLoRA adapter's alpha is written so that this is alpha / sqrt(rank). */
async function writeLora({ lora, model, task }: ScoringJob, folder: string): Promise<string | null> {
  if (!lora) return null;
  const file = path.join(folder, "adapter.gguf");
  const { alpha, rank, rsLora } = lora.options;
  await native().writeAdapter(file, lora.tensors(), {
    architecture: model.info.architecture,
    alpha: rsLora ? alpha * Math.sqrt(rank) : alpha,
    name: task.name,
  });
  return file;
}
