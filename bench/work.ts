// The rows of the tuning trials: dense rows of running text, and SST-2 rows as `tune` encodes them. Knows no trainer.
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { readRows } from "../src/dataset/index.js";
import { type Model, packageRoot } from "../src/model/index.js";
import { compilePrompt } from "../src/prompt/index.js";
import { StillroomError } from "../src/support/errors.js";
import { Random } from "../src/support/random.js";
import { readTask, type Task } from "../src/task/index.js";
import { encodeRows, epochOrder } from "../src/train/index.js";
import { type JobRow, jobRow } from "./job.js";

/** Rows of SST-2's training file that are drawn from. */
const pool = 2000;

const sst2 = {
  name: "sst2",
  kind: "classify",
  data: { train: { path: "train.tsv", columns: { text: "sentence" } } },
  prompt: {
    instruction: "Decide whether the sentiment of a movie review is positive or negative.",
    template: "Review: {{ text }}\nSentiment:",
    separator: "\n\n",
    chat: false,
  },
  answer: { field: "label", labels: { "0": "negative", "1": "positive" } },
  metric: "accuracy",
};

/** Folder of SST-2: the one given, else that of STILLROOM_SHARED, else of ../shared beside the checkout. */
function sst2Folder(data: string | undefined): string {
  const shared = path.resolve(process.env.STILLROOM_SHARED ?? path.join(packageRoot(), "../shared"), "data/sst2");
  const folder = data === undefined ? shared : path.resolve(data);
  if (existsSync(path.join(folder, "train.tsv"))) return folder;
  throw new StillroomError(
    "missing",
    `there is no train.tsv of SST-2 in ${folder}; name its folder with --data, or set STILLROOM_SHARED to the one that holds data/sst2`,
  );
}

async function sst2Task(data: string | undefined): Promise<Task> {
  const from = sst2Folder(data);
  const folder = await mkdtemp(path.join(tmpdir(), "stillroom-sst2-"));
  try {
    const file = path.join(folder, "task.json");
    await writeFile(file, JSON.stringify(sst2));
    return await readTask(file, { data: from });
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** SST-2 rows with the task's instruction, label and end token as labels, in a seeded order. */
export async function sst2Rows(model: Model, count: number, seed: number, data?: string): Promise<JobRow[]> {
  const task = await sst2Task(data);
  const { rows } = await readRows(task, "train", { limit: Math.max(pool, count) });
  const chosen = Array.from(epochOrder(rows.length, seed, 0).slice(0, count), (index) => rows[index]!);
  const prompt = compilePrompt(task, model.template);
  const options = { tokenizer: model.tokenizer, prompt, maxLength: 1024, onLong: "drop" as const, signal: null };
  const encoded = (await encodeRows(chosen, options)).rows.map(jobRow);
  if (encoded.length >= count) return encoded;
  throw new StillroomError(
    "usage",
    `expected at least ${count} rows of SST-2 for --repeat (a step has 16, and there is one before the timed ones), received ${encoded.length}; lower --repeat`,
  );
}

/** The two kinds of work of a training trial, and how many rows of it a step has. */
export const works = {
  dense: {
    rowsOfStep: 4,
    rows: (model: Model, count: number, seed: number, data?: string) => denseRows(model, count, 256, { seed, data }),
  },
  sst2: { rowsOfStep: 16, rows: sst2Rows },
};
export type WorkKind = keyof typeof works;

/** Rows of `length` tokens cut from running text at seeded places; every token but the first is a label. */
export async function denseRows(
  model: Model,
  count: number,
  length: number,
  { seed, data }: { seed: number; data?: string | undefined },
): Promise<JobRow[]> {
  const { rows } = await readRows(await sst2Task(data), "train", { limit: pool });
  const text = rows.map((row) => String(row.fields.sentence ?? row.fields.text)).join("\n");
  const tokens = model.tokenizer.tokenize(text, false, false);
  if (tokens.length <= length)
    throw new StillroomError(
      "input",
      `expected more than ${length} tokens of text in train.tsv of SST-2, received ${tokens.length}`,
    );
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const from = random.below(tokens.length - length);
    return { tokens: [...tokens.subarray(from, from + length)], answerFrom: 1 };
  });
}

/**
 * Prompts of `tokens` tokens and one more, cut at seeded places from the package's README, which is running text of many kinds.
 * sharedPrefix: they differ in the last token only.
 */
export function textPrompts(
  model: Model,
  count: number,
  { tokens, sharedPrefix, seed }: { tokens: number; sharedPrefix: boolean; seed: number },
): number[][] {
  const text = readFileSync(path.join(packageRoot(), "README.md"), "utf8");
  let all = [...model.tokenizer.tokenize(text, false, false)];
  while (all.length < 2 * (tokens + 1)) all = [...all, ...all];
  const random = new Random(seed);
  const piece = () => {
    const from = random.below(all.length - tokens);
    return all.slice(from, from + tokens + 1);
  };
  const first = piece();
  return Array.from({ length: count }, () => (sharedPrefix ? [...first.slice(0, tokens), piece()[0]!] : piece()));
}
