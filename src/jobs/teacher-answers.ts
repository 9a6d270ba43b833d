// The teacher's own answers in place of the data's: to which training rows it gives one that the task's metric finds right, kept in a file of the run.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { labelsOf, type Row } from "../dataset/index.js";
import { decodeRows } from "../decode/index.js";
import { evaluateRows, type GivenPrompt, readShots, rightRows, stopsOf } from "../evaluate/index.js";
import { type CompiledPrompt, compilePrompt, type Examples, promptOf } from "../prompt/index.js";
import { StillroomError } from "../support/errors.js";
import { writeFileAtomic } from "../support/files.js";
import { Random } from "../support/random.js";
import type { Task } from "../task/index.js";
import type { Teacher } from "../teach/index.js";
import { encodePrompt } from "../tokens/index.js";

/** The rows stand in the hash by themselves. */
const noRows = { rows: "", texts: null };

/** What is in the file. */
interface Kept {
  /** Of the teacher, its prompt and the rows. */
  facts: string;
  /** [index of the row, an answer of the teacher's] of those that are right. */
  answers: [number, string][];
  /** SHA-256 of both. */
  sha256: string;
}

/** How the teacher's texts are drawn. */
export interface Sampling {
  /** Answers that are drawn of each row; 0: one, the most likely. */
  samples: number;
  temperature: number;
  topP: number;
  seed: number;
}

/**
 * The rows that the teacher answers rightly, with its answers: the most likely one, or those that differ among several that were drawn. A file that is there is read where it is of the same teacher and rows.
 * Throws "input" where it has none right, and for an adapter on a teacher that llama.cpp runs.
 */
export async function teacherAnswers(
  task: Task,
  teacher: Teacher,
  rows: readonly Row[],
  {
    file,
    signal,
    prompt: asking,
    ...sampling
  }: { file: string; signal: AbortSignal | null; prompt: GivenPrompt } & Sampling,
): Promise<Row[]> {
  const { model, lora, options } = teacher;
  if (options.adapter !== null && !model.tunable) {
    throw new StillroomError(
      "input",
      `${model.info.path} is run by llama.cpp: its own answers are taken without an adapter`,
    );
  }
  const drawn = sampling.samples > 0;
  if (drawn && task.kind !== "generate") {
    throw new StillroomError(
      "usage",
      `expected 0 for samples, received ${sampling.samples}: ${task.name} is of kind ${task.kind}, only texts are drawn`,
      {
        options: ["samples"],
      },
    );
  }
  const asked = rows.map(({ fields, answer }) => [fields, answer]);
  const behind = asking ? [asking.content.examples ?? asking.content] : [];
  const facts = sha256([teacher.facts(task, noRows), asked, ...(drawn ? [sampling] : []), ...behind]);
  const before = await read(file, facts);
  const answers = before ?? (await ask());
  if (before === null) {
    const kept: Kept = { facts, answers, sha256: sha256([facts, answers]) };
    await writeFileAtomic(file, `${JSON.stringify(kept)}\n`);
  }
  if (answers.length === 0) {
    throw new StillroomError(
      "input",
      `the teacher answers none of the ${rows.length} training rows of ${task.name} rightly`,
    );
  }
  const byIndex = new Map(rows.map((row) => [row.index, row]));
  return answers.map(([index, answer]) => ({ ...byIndex.get(index)!, answer }));

  async function ask(): Promise<Kept["answers"]> {
    const prompt = compilePrompt(task, model.template);
    const shots = await readShots(task, rows, { prompt: asking, model, signal: signal ?? undefined });
    if (drawn) return draw(prompt, shots.of);
    const labels = task.kind === "classify" ? labelsOf(task, rows) : [];
    const calibrateBehind = asking?.content.calibrate ? await shots.sets() : undefined;
    const job = { model, lora, task, rows, prompt, examples: shots.of, labels, calibrateBehind };
    const { rows: scores } = await evaluateRows({ ...job, ...(signal && { signal }) });
    const right = rightRows(task, scores);
    return scores.filter((_, place) => right[place] === 1).map(({ index, prediction }) => [index, prediction]);
  }

  async function draw(prompt: CompiledPrompt, examples: Examples): Promise<Kept["answers"]> {
    const { samples, temperature, topP, seed } = sampling;
    const common = { maxTokens: task.maxTokens, stop: stopsOf(task), temperature, topP };
    const draws = rows.flatMap((row) => {
      const text = promptOf(prompt, row, examples);
      if ("reason" in text) return [];
      const tokens = encodePrompt(model.tokenizer, text);
      const random = new Random(seed, row.index);
      return Array.from({ length: samples }, () => ({
        row,
        request: { ...common, prompt: tokens, seed: random.bits() },
      }));
    });
    const longest = draws.reduce((most, { request }) => Math.max(most, request.prompt.length), 0) + task.maxTokens;
    const texts = new Array<string>(draws.length);
    const requests = draws.map(({ request }) => request);
    for await (const { index, text, ended, reason } of decodeRows(model, requests, {
      lora,
      longest,
      ...(signal && { signal }),
    })) {
      if (ended === "refused") throw new StillroomError("input", `the teacher cannot answer a row: ${reason}`);
      texts[index] = text.trim();
    }
    const scores = draws.map(({ row }, place) => ({
      index: row.index,
      answer: row.answer,
      prediction: texts[place]!,
      probabilities: null,
    }));
    const right = rightRows(task, scores);
    const kept = scores.flatMap(({ index, prediction }, place): Kept["answers"] =>
      right[place] === 1 ? [[index, prediction]] : [],
    );
    return [...new Map(kept.map((answer) => [JSON.stringify(answer), answer])).values()];
  }
}

/** null where there is none, of something else, or damaged: it is made again. */
async function read(file: string, facts: string): Promise<Kept["answers"] | null> {
  try {
    const kept = JSON.parse(await readFile(file, "utf8")) as Kept;
    return kept.facts === facts && kept.sha256 === sha256([facts, kept.answers]) ? kept.answers : null;
  } catch {
    return null;
  }
}

function sha256(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}
