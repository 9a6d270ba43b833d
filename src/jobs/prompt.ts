// The public prompt(): the prompts of a task made, shown, tried, compared on held-out rows, and the best one written down. Composes rooms.
import { adapterFiles, loadAdapter, loadCalibration, loadHead } from "../adapter/index.js";
import { type BadRow, badRowError, type Row, setText, usedFields } from "../dataset/index.js";
import {
  type Estimate,
  evaluateRows,
  holm,
  mcnemar,
  type RowScore,
  rightRows,
  summarise,
  thresholdsOf,
} from "../evaluate/index.js";
import { Model, openModel } from "../model/index.js";
import { type PromptFile, promptOf, writePromptFile } from "../prompt/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { requireWritable } from "../support/files.js";
import { requireNoInput } from "../support/inputs.js";
import { rethrow } from "../support/native.js";
import { isError, type Task, taskFiles } from "../task/index.js";
import { encodePrompt } from "../tokens/index.js";
import { type Bench, type Candidate, fitOf, jobOf, type SharedRows, sharedRows } from "./prompt-bench.js";
import { makeCandidates } from "./prompt-candidates.js";
import { type PromptOptions, type PromptSettings, promptSettings } from "./prompt-options.js";

/** The result of {@link prompt}, in the fields of `stillroom prompt --json`. */
export interface PromptResult {
  task: string;
  /** Path of the GGUF. */
  model: string;
  adapter: string | null;
  /** Rows that were left out: bad rows of the files that were read, and of those to compare on what cannot be asked about. */
  errors: number;
  /** The prompt; of several the best. */
  prompt: PromptFile;
  /** What the model reads; null where that was not asked for. */
  shown: { text: string; tokens: { id: number; text: string }[] } | null;
  /** The answer to `try`, of a task of kind multilabel with the probability from which on each label is in it (null: it never is); null without it. */
  tried: {
    answer: string;
    probabilities: Record<string, number> | null;
    thresholds: Record<string, number | null> | null;
  } | null;
  /** null where nothing was compared. */
  compared: PromptComparison | null;
  /** The prompt file that was written; null without one. */
  saved: string | null;
}

/** Prompts on the same rows. Intervals are 95 %. */
export interface PromptComparison {
  split: string;
  metric: string;
  prompts: ComparedPrompt[];
  /** Each two that were scored; none of numbers, which are not right or wrong. */
  pairs: PromptPair[];
  /** Place of the best. */
  best: number;
}

/** Two prompts, by their places in `prompts`. */
export interface PromptPair {
  first: number;
  second: number;
  /** Rows that only this one has right. */
  only_first: number;
  only_second: number;
  /** McNemar's exact test. */
  p_value: number;
  /** Holm's correction for the number of pairs. */
  p_holm: number;
}

/** One prompt of a comparison. */
export interface ComparedPrompt extends Pick<PromptFile, "instruction" | "shots" | "select" | "calibrate"> {
  /** Why it was not scored: more than a tenth of the rows do not fit the model's context behind it. null where it was. */
  refused: string | null;
  rows: number;
  /** null where it was not scored. */
  metric: Estimate | null;
  /** Tokens of a prompt, in the mean over the rows, labels and answers counted as they are scored. null where it was not scored. */
  tokens_per_row: number | null;
  rows_per_second: number | null;
}

/**
 * Makes the prompts of a task, and shows one, tries it on a text, compares them, or writes the best as a prompt file for `evaluate`, `batch` and `queueBatch`.
 *
 * @throws StillroomError "usage" for a wrong option, "missing" or "input" for the model, the adapter, a prompt file and the data, "input" where no prompt fits the
 * model's context (with the numbers), "io" for the disk, "cancelled" on abort
 *
 * @example
 * ```ts
 * import { prompt, readTask } from "stillroom";
 * const task = await readTask("sst2/task.yaml");
 * const { compared } = await prompt(task, { model: "model.gguf", shots: [0, 4], select: ["random", "similar"], compare: true, save: "best.json" });
 * for (const { shots, select, metric } of compared!.prompts) console.log(shots, select, metric?.value);
 * ```
 */
export async function prompt(task: Task, options: PromptOptions): Promise<PromptResult> {
  const settings = promptSettings(task, options);
  const given = options.model;
  const model = given instanceof Model ? given : await openModel(given, options);
  try {
    return await work(task, model, settings);
  } catch (error) {
    return rethrow(error);
  } finally {
    if (model !== given) await model.close();
  }
}

async function work(task: Task, model: Model, settings: PromptSettings): Promise<PromptResult> {
  const { adapter, save } = settings;
  if (save !== undefined) {
    const inputs = [
      ...taskFiles(task),
      { what: "the model", file: model.info.path },
      ...(adapter === undefined ? [] : adapterFiles(adapter)),
    ];
    await requireNoInput(save, inputs);
    await requireWritable(save);
  }
  const lora = adapter === undefined ? null : await loadAdapter(model.native, adapter);
  const head = await loadHead(adapter);
  if (head && settings.calibrate) {
    const message = `calibrate is for labels that are asked for by their texts, and ${adapter} has a head of its own`;
    throw new StillroomError("usage", message, { options: ["calibrate"] });
  }
  const calibration = await loadCalibration(adapter);
  let errors = 0;
  const onBad = (bad: BadRow) => {
    if (settings.strict) throw badRowError(bad);
    errors += 1;
    settings.onBad?.(bad);
  };
  const made = await makeCandidates(task, settings, { model, lora, head, calibration }, onBad);
  const { candidates } = made;
  const looked = settings.compare || save !== undefined || (settings.show && settings.try === undefined);
  // What is not compared fits where it fits a row.
  const shared = looked ? await sharedRows(made.bench, candidates, settings.compare ? undefined : 0) : null;
  for (const bad of shared?.left ?? []) onBad(bad);
  const bench: Bench = { ...made.bench, rows: shared?.rows ?? made.bench.rows };
  const compared = settings.compare ? await compare(bench, candidates, shared!.refusals) : null;
  const [refused] = shared?.refusals ?? [];
  if (!compared && refused) throw new StillroomError("input", `${settings.show ? "show: " : ""}${refused}`);
  const chosen = candidates[compared?.best ?? 0]!;
  const measured = compared && measureOf(compared, bench, model, adapter);
  const content: PromptFile = measured ? { ...chosen.content, measured } : chosen.content;
  const row = settings.try === undefined ? bench.rows[0]! : rowOf(task, settings.try, bench);
  const shown = settings.show ? await show(bench, chosen, row) : null;
  const tried = settings.try === undefined ? null : await answer(bench, chosen, row);
  if (save !== undefined) await writePromptFile(save, content);
  return {
    task: task.name,
    model: model.info.path,
    adapter: adapter ?? null,
    ...{ errors, prompt: content, shown, tried, compared, saved: save ?? null },
  };
}

/** A text as a row, without an answer that is known. */
function rowOf(task: Task, text: string, { labels }: Bench): Row {
  const { all: names, required } = usedFields(task);
  const [only] = names;
  let fields: unknown = { [only!]: only === "messages" ? [{ role: "user", content: text }] : text };
  if (names.length > 1) {
    try {
      fields = JSON.parse(text);
    } catch {
      fields = null;
    }
  }
  const lacks = (row: object) => required.some((name) => ((row as Row["fields"])[name] ?? null) === null);
  if (typeof fields !== "object" || fields === null || Array.isArray(fields) || lacks(fields))
    throw unexpected(`a JSON object with the fields ${names.join(", ")}`, "try", text);
  // Scoring refuses rows whose answer is none of the labels; this one's is not looked at.
  const known = task.kind === "multilabel" ? { text: setText([]), value: setText([]) } : labels[0];
  const own = Object.assign(Object.create(null), fields) as Row["fields"];
  return { index: 0, file: "try", line: 1, fields: own, answer: known?.text ?? "", value: known?.value ?? "" };
}

async function show(bench: Bench, candidate: Candidate, row: Row): Promise<PromptResult["shown"]> {
  const job = await jobOf(bench, candidate, [row]);
  const { why } = fitOf(job);
  const laid = promptOf(job.prompt, row, job.examples);
  if (why !== null || "reason" in laid) throw new StillroomError("input", `show: ${why}`);
  const { tokenizer } = bench.model;
  const tokens = [...encodePrompt(tokenizer, laid)];
  const text = laid.pieces.map((piece) => piece.text).join("");
  return { text, tokens: tokens.map((id) => ({ id, text: tokenizer.detokenize(Int32Array.of(id), true) })) };
}

async function answer(bench: Bench, candidate: Candidate, row: Row): Promise<PromptResult["tried"]> {
  const { rows, refused } = await evaluateRows(await jobOf(bench, candidate, [row]));
  if (rows.length === 0) throw new StillroomError("input", `try: ${refused[0]!.reason}`);
  const { prediction, probabilities } = rows[0]!;
  const sets = candidate.task.kind === "multilabel";
  const thresholds = sets ? thresholdsOf(Object.keys(probabilities!), bench.calibration) : null;
  return { answer: prediction, probabilities, thresholds };
}

async function compare(
  bench: Bench,
  candidates: readonly Candidate[],
  refusals: SharedRows["refusals"],
): Promise<PromptComparison> {
  const { metric } = candidates[0]!.task;
  const prompts: ComparedPrompt[] = [];
  const answers: (RowScore[] | null)[] = [];
  for (const [place, candidate] of candidates.entries()) {
    const { row, scores } = await scored(bench, candidate, refusals[place]!);
    prompts.push(row);
    answers.push(scores);
  }
  const sign = isError(metric) ? -1 : 1;
  const known = prompts.flatMap((one, place) => (one.metric ? [{ place, value: sign * one.metric.value }] : []));
  if (known.length === 0) throw new StillroomError("input", `no prompt can be compared: ${prompts[0]!.refused}`);
  const best = known.reduce((a, b) => (b.value > a.value ? b : a)).place;
  return { split: bench.split, metric, prompts, pairs: pairsOf(candidates[0]!.task, answers), best };
}

async function scored(
  bench: Bench,
  candidate: Candidate,
  refused: string | null,
): Promise<{ row: ComparedPrompt; scores: RowScore[] | null }> {
  const { instruction, shots, select, calibrate } = candidate.content;
  const what = { instruction, shots, select, calibrate, refused };
  if (refused !== null) {
    const row = { ...what, rows: 0, metric: null, tokens_per_row: null, rows_per_second: null };
    return { row, scores: null };
  }
  const { rows, tokens, seconds } = await evaluateRows(await jobOf(bench, candidate, bench.rows));
  const { metrics } = summarise(candidate.task, rows, bench.labels, bench.settings.seed);
  const costs = { tokens_per_row: tokens / rows.length, rows_per_second: rows.length / seconds };
  return { row: { ...what, rows: rows.length, metric: metrics[candidate.task.metric]!, ...costs }, scores: rows };
}

function pairsOf(task: Task, answers: readonly (RowScore[] | null)[]): PromptPair[] {
  if (task.kind === "regress") return [];
  const right = answers.map((rows) => rows && rightRows(task, rows));
  const pairs = right.flatMap((one, first) =>
    right.slice(first + 1).flatMap((other, after) => {
      if (!one || !other) return [];
      const { onlyFirst, onlySecond, exact } = mcnemar(one, other);
      return [{ first, second: first + 1 + after, only_first: onlyFirst, only_second: onlySecond, p_value: exact }];
    }),
  );
  const corrected = holm(pairs.map(({ p_value }) => p_value));
  return pairs.map((pair, place) => ({ ...pair, p_holm: corrected[place]! }));
}

function measureOf(
  { prompts, best, split, metric }: PromptComparison,
  { rows }: Bench,
  model: Model,
  adapter: string | undefined,
): NonNullable<PromptFile["measured"]> {
  const { value, low, high } = prompts[best]!.metric!;
  return { model: model.info.path, adapter: adapter ?? null, split, rows: rows.length, metric, value, low, high };
}
