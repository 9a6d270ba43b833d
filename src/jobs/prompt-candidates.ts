// From options to prompts that can be scored: the rows that may be examples, the rows that judge, and each prompt's examples.
import { type BadRow, badRowText, labelsOf, type Row, readRows, sampleRows, usedFields } from "../dataset/index.js";
import {
  diverseExamples,
  fixedShots,
  Neighbours,
  readPrompt,
  readPromptParts,
  similarShots,
  tooFewExamples,
} from "../evaluate/index.js";
import { chooseExamples, compilePrompt, type PromptFile, promptOf, type Selection } from "../prompt/index.js";
import { StillroomError } from "../support/errors.js";
import type { Task } from "../task/index.js";
import type { Bench, Candidate } from "./prompt-bench.js";
import type { PromptSettings } from "./prompt-options.js";
import { searchExamples } from "./prompt-search.js";

/** Reads the rows, and makes every prompt that the settings name. onBad: of each that is left out. Throws "input" where there are too few rows. */
export async function makeCandidates(
  task: Task,
  settings: PromptSettings,
  engine: Pick<Bench, "model" | "lora" | "head" | "calibration">,
  onBad: (bad: BadRow) => void,
): Promise<{ bench: Bench; candidates: Candidate[] }> {
  const reading = { signal: settings.signal, onBad };
  const read = task.data.train ? await readRows(task, "train", reading) : { rows: [], bad: [] };
  const train = read.rows;
  const split = settings.split ?? (task.data.validation ? "validation" : "train");
  const searched = settings.select.includes("search") && settings.prompt === undefined;
  // Where training rows judge, as many are kept from being examples.
  const size = split === "train" || searched ? Math.min(settings.pool, Math.ceil(train.length / 2)) : settings.pool;
  const pool = sampleRows(train, size, settings.seed);
  const inPool = new Set(pool);
  const apart = train.filter((row) => !inPool.has(row));
  const { rows: held, bad } = split === "train" ? { rows: apart, bad: read.bad } : await readRows(task, split, reading);
  const rows = sampleRows(held, settings.limit, settings.seed);
  if (rows.length === 0) {
    const [first] = train.length > 0 && split === "train" ? [] : bad;
    const remedy = first ? `; the first is bad: ${badRowText(first)}` : ": give data.validation";
    throw new StillroomError("input", `${task.name} has no ${split} rows to look at prompts with${remedy}`);
  }
  const labels = labelsOf(task, train.length > 0 ? train : held);
  const bench: Bench = { ...engine, labels, rows, split, settings };
  if (settings.prompt !== undefined) return { bench, candidates: [await fromFile(task, settings.prompt, bench)] };
  const judges = new Set(rows);
  const laid = layable(task, engine.model, onBad);
  const seekers = searched ? apart.filter((row) => !judges.has(row) && laid(row)) : [];
  return { bench, candidates: await madeOf(task, bench, pool.filter(laid), seekers) };
}

/** Whether the template can lay a row out, so that it may be an example. */
function layable(task: Task, model: Bench["model"], onBad: (bad: BadRow) => void): (row: Row) => boolean {
  const prompt = compilePrompt(task, model.template);
  return (row) => {
    const laid = promptOf(prompt, row, []);
    if ("reason" in laid) onBad(laid);
    return !("reason" in laid);
  };
}

async function fromFile(given: Task, file: string, { model, settings }: Bench): Promise<Candidate> {
  const { task, prompt } = await readPrompt(given, file);
  const { seed, signal } = settings;
  const { shots } = await readPromptParts(
    task,
    { split: "validation", shots: 0, seed, prompt, model, signal },
    async () => [],
  );
  return { content: prompt!.content, task, shots };
}

async function madeOf(task: Task, bench: Bench, pool: Row[], seekers: readonly Row[]): Promise<Candidate[]> {
  const { settings, model } = bench;
  const { seed, signal } = settings;
  const neighbours = new Neighbours(model, task, pool, signal);
  const instructions = settings.instructions?.length ? settings.instructions : [task.prompt.instruction ?? ""];
  const calibrations = settings.calibrate
    ? settings.compare
      ? ([null, "contextual"] as const)
      : (["contextual"] as const)
    : [null];
  const made: Candidate[] = [];
  for (const instruction of instructions) {
    const asked: Task = { ...task, prompt: { ...task.prompt, instruction } };
    const { template, separator, chat } = task.prompt;
    const base = {
      format: "stillroom-prompt",
      version: 1,
      task: task.name,
      instruction,
      template,
      separator,
      chat,
    } as const;
    for (const [count, select] of kindsOf(settings)) {
      if (count > pool.length)
        throw tooFewExamples(task, pool.length, count, bench.split === "train" ? "judge the prompts" : "");
      const plan = { ...base, shots: count, select, seed, pool: pool.length, measured: null };
      const candidateOf = (examples: Row[]): Candidate => {
        const rows = examples.map((row) => ({ fields: fieldsOf(task, row), value: row.value }));
        return {
          content: { ...plan, examples: rows, calibrate: null },
          task: asked,
          shots: fixedShots(asked, examples),
        };
      };
      const classes = task.kind === "classify" ? bench.labels : [];
      const labels = classes.length > 0 ? { labels: classes } : {};
      const drawn = (by: number) => chooseExamples(pool, { shots: count, seed: by, ...labels });
      let candidate: Candidate;
      if (select === "similar") {
        const content: PromptFile = { ...plan, examples: null, calibrate: null };
        candidate = { content, task: asked, shots: similarShots(neighbours, count) };
      } else if (select === "random") candidate = candidateOf(drawn(seed));
      else if (select === "diverse")
        candidate = candidateOf(await diverseExamples(neighbours, { shots: count, seed, labels: classes }));
      else candidate = candidateOf(await searchExamples(bench, seekers, candidateOf, drawn));
      for (const calibrate of calibrations) made.push({ ...candidate, content: { ...candidate.content, calibrate } });
    }
  }
  return made;
}

/** Numbers of examples with ways of choosing them; without examples there is one way. */
function kindsOf({ shots, select }: PromptSettings): [number, Selection][] {
  return shots.flatMap((count) =>
    count === 0 ? [[0, "random"] as [number, Selection]] : select.map((name) => [count, name] as [number, Selection]),
  );
}

/** The fields of an example that its prompt shows. */
function fieldsOf(task: Task, row: Row): Record<string, unknown> {
  const names = usedFields(task).all.filter((name) => row.fields[name] !== undefined);
  return Object.fromEntries(names.map((name) => [name, row.fields[name]]));
}
