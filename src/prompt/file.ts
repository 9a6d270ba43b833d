// A prompt file: a task's prompt as it was found to be best, for every command that shows a model the rows of the task. Owns the format.
import { readFile, stat } from "node:fs/promises";
import { answerOf, labelsOfSet, type Row } from "../dataset/index.js";
import { cannot, isAbsent, StillroomError, unexpected } from "../support/errors.js";
import { writeFileAtomic } from "../support/files.js";
import { checkTemplate, type Task } from "../task/index.js";

export const selections = ["random", "similar", "diverse", "search"] as const;
/** How examples are chosen: drawn, the nearest to each row, a few that stand for all, or the best of many draws. */
export type Selection = (typeof selections)[number];

/** A prompt of a task: its texts, and which answered rows stand before each question. */
export interface PromptFile {
  format: "stillroom-prompt";
  version: 1;
  /** Name of the task. */
  task: string;
  /** As of the task file; "" for none. */
  instruction: string;
  template: string;
  separator: string;
  chat: boolean;
  /** Examples before each row. */
  shots: number;
  select: Selection;
  /** What they were drawn by. */
  seed: number;
  /** Of "similar": how many training rows, drawn by the seed, the nearest are looked for in. */
  pool: number;
  /** The examples, in their order; of "similar" null: they are looked up for each row. */
  examples: { fields: Record<string, unknown>; value: string }[] | null;
  /** "contextual": label probabilities are divided by those that the prompt gives to inputs without content (Zhao et al. 2021). */
  calibrate: "contextual" | null;
  /** What the prompt was chosen by; null where nothing was measured. */
  measured: PromptMeasure | null;
}

/** The value of a prompt as it was measured when the file was written. */
export interface PromptMeasure {
  model: string;
  adapter: string | null;
  split: string;
  rows: number;
  metric: string;
  value: number;
  /** Ends of the 95 % interval; null where there is none. */
  low: number | null;
  high: number | null;
}

const fileLimit = 4 * 1024 * 1024;

/** Writes a prompt file, whole or not at all. Throws "io". */
export async function writePromptFile(file: string, prompt: PromptFile): Promise<void> {
  await writeFileAtomic(file, `${JSON.stringify(prompt, null, 2)}\n`);
}

/** Reads a prompt file. Throws "missing", or "input" naming the file and the field; also for one of another task. */
export async function readPromptFile(file: string, task: Task): Promise<PromptFile> {
  const given = await parse(file);
  const fields = new Map<string, unknown>(Object.entries(given));
  const wrong = (name: string, what: string) => unexpected(what, `${name} in ${file}`, fields.get(name), "input");
  for (const name of fields.keys()) {
    if (!(name in checks)) throw new StillroomError("input", `${file}: unknown field ${name}`);
  }
  for (const [name, [holds, what]] of Object.entries(checks)) {
    if (!holds(fields.get(name))) throw wrong(name, what);
  }
  const { select, examples, shots } = given;
  if ((select === "similar") !== (examples === null))
    throw wrong("examples", "examples, but with select similar null,");
  if (examples !== null && examples.length !== shots) throw wrong("shots", `${examples.length}, as many as examples,`);
  if (given.task !== task.name)
    throw new StillroomError("input", `${file} is a prompt of the task ${given.task}, not of ${task.name}`);
  checkTemplate(given.template, task.answer.field, { file, name: "template" });
  const uncalibrated = given.calibrate === null ? null : whyUncalibrated(task);
  if (uncalibrated !== null) throw new StillroomError("input", `${file}: ${uncalibrated}`);
  return given;
}

/** Why a prompt of a task is not calibrated; null where it may be. */
export function whyUncalibrated({ kind }: Task): string | null {
  const texts = kind === "generate" || kind === "multilabel";
  return texts ? `calibrate is for labels that are asked for by their texts, not for kind ${kind}` : null;
}

async function parse(file: string): Promise<PromptFile> {
  let text: string;
  try {
    if ((await stat(file)).size > fileLimit)
      throw unexpected(`at most ${fileLimit} bytes`, file, "a larger file", "input");
    text = await readFile(file, "utf8");
  } catch (error) {
    if (error instanceof StillroomError) throw error;
    throw cannot("read the prompt file", file, error, isAbsent(error) ? "missing" : "io");
  }
  try {
    const given: unknown = JSON.parse(text);
    if (isMapping(given) && given.format === "stillroom-prompt" && given.version === 1) return given as never;
  } catch {
    // Falls through to the one message for a file that is not ours.
  }
  throw new StillroomError(
    "input",
    `${file} is not a prompt file of this version; stillroom prompt --save writes them`,
  );
}

type Check = [holds: (value: unknown) => boolean, what: string];
const text: Check = [(value) => typeof value === "string", "a text"];
const count: Check = [(value) => Number.isSafeInteger(value) && (value as number) >= 0, "a whole number from 0 on"];

const checks: Record<keyof PromptFile, Check> = {
  format: text,
  version: count,
  task: text,
  instruction: text,
  template: text,
  separator: text,
  chat: [(value) => typeof value === "boolean", "true or false"],
  shots: count,
  select: [(value) => selections.includes(value as Selection), `one of ${selections.join(", ")}`],
  seed: count,
  pool: count,
  examples: [
    (value) => value === null || (Array.isArray(value) && value.every(isExample)),
    "a list of fields and value",
  ],
  calibrate: [(value) => value === null || value === "contextual", "contextual or null"],
  measured: [(value) => value === null || isMapping(value), "a mapping or null"],
};

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isExample(value: unknown): boolean {
  return isMapping(value) && isMapping(value.fields) && typeof value.value === "string";
}

/** The task with the texts of a prompt file in place of its own. */
export function withPrompt(task: Task, { instruction, template, separator, chat }: PromptFile): Task {
  return { ...task, prompt: { instruction, template, separator, chat } };
}

/** The examples of a prompt file as rows. Throws "input" where one's answer is none of the task's. */
export function exampleRows(file: string, task: Task, examples: NonNullable<PromptFile["examples"]>): Row[] {
  return examples.map(({ fields, value }, index) => {
    const place = { index, file, line: index + 1, fields: Object.assign(Object.create(null), fields) };
    const made = answerOf(task, task.kind === "multilabel" ? labelsOfSet(value) : value);
    if (typeof made !== "string") return { ...place, ...made };
    throw new StillroomError("input", `examples.${index} in ${file}: ${made}`);
  });
}
