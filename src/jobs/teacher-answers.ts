// The teacher's own answers in place of the data's: to which training rows it gives one that the task's metric finds right, kept in a file of the run.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { labelsOf, type Row } from "../dataset/index.js";
import { evaluateRows, rightRows } from "../evaluate/index.js";
import { compilePrompt } from "../prompt/index.js";
import { StillroomError } from "../support/errors.js";
import { writeFileAtomic } from "../support/files.js";
import type { Task } from "../task/index.js";
import type { Teacher } from "../teach/index.js";

/** The rows stand in the hash by themselves. */
const noRows = { rows: "", texts: null };

/** What is in the file. */
interface Kept {
  /** Of the teacher, its prompt and the rows. */
  facts: string;
  /** [index of the row, the teacher's answer] of those that are right. */
  answers: [number, string][];
  /** SHA-256 of both. */
  sha256: string;
}

/**
 * The rows that the teacher answers rightly, greedily, with its answers. A file that is there is read where it is of the same teacher and rows.
 * Throws "input" where it has none right, and for an adapter on a teacher that llama.cpp runs.
 */
export async function teacherAnswers(
  task: Task,
  teacher: Teacher,
  rows: readonly Row[],
  { file, signal }: { file: string; signal: AbortSignal | null },
): Promise<Row[]> {
  const { model, lora, options } = teacher;
  if (options.adapter !== null && !model.tunable) {
    throw new StillroomError(
      "input",
      `${model.info.path} is run by llama.cpp: its own answers are taken without an adapter`,
    );
  }
  const facts = sha256([teacher.facts(task, noRows), rows.map(({ fields, answer }) => [fields, answer])]);
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
    const labels = task.kind === "classify" ? labelsOf(task, rows) : [];
    const prompt = compilePrompt(task, model.template);
    const job = { model, lora, task, rows, prompt, examples: [], labels, ...(signal && { signal }) };
    const { rows: scores } = await evaluateRows(job);
    const right = rightRows(task, scores);
    return scores.filter((_, place) => right[place] === 1).map(({ index, prediction }) => [index, prediction]);
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
