// Several models, runs or predictions on the same rows of one task: each one's metrics, and whether any two differ by more than chance.
// Owns which rows count; the tests are evaluate's.
import { stat } from "node:fs/promises";
import type { BadRow, SplitName } from "../dataset/index.js";
import {
  type EvaluateOptions,
  evaluateRows,
  furtherMetrics,
  holm,
  type Label,
  type Metrics,
  type PairTest,
  type RowScore,
  readPredictions,
  statisticsOf,
  summarise,
  testPair,
  withPredictor,
} from "../evaluate/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { isError, metricsOf, requireKnown, type Task } from "../task/index.js";
import { type AskingOptions, type Contender, contenderOf, openingOf, requireOpens } from "./contender.js";

/** What is compared, and on which rows. */
export interface CompareOptions extends AskingOptions {
  /** The metric that differences are taken of (default: the task's). */
  metric?: string | undefined;
  onProgress?: ((progress: { name: string; rows: number; totalRows: number }) => void) | undefined;
}

/** One that was compared. */
export interface Compared {
  /** As given. */
  name: string;
  /** Path of the GGUF; null for predictions. */
  model: string | null;
  adapter: string | null;
  /** Size of the model's file; null for predictions. */
  bytes: number | null;
  /** Distinct rows that a run of tune trained on; null for what is no run. */
  trained_rows: number | null;
  metrics: Metrics;
  /** null for predictions. */
  rows_per_second: number | null;
}

/** Two of them. */
export interface ComparedPair extends PairTest {
  first: string;
  second: string;
  /** Holm's correction for the number of pairs. */
  p_holm: number;
}

/** The result of {@link compare}, in the fields of `stillroom compare --json`. Intervals are 95 %. */
export interface CompareResult {
  task: string;
  split: SplitName;
  /** Examples before each prompt; null where only predictions are compared. */
  shots: number | null;
  /** The prompt file; null without one. */
  prompt: string | null;
  seed: number;
  metric: string;
  /** Whether a lower value of the metric is the better one. */
  lower_is_better: boolean;
  /** Rows that all of them answered: what every number is of. */
  rows: number;
  /** Rows of the split that are bad, or that not all of them could answer. */
  errors: number;
  compared: Compared[];
  pairs: ComparedPair[];
}

const optionNames = [
  ..."precision shots prompt split limit seed strict threads metric".split(" "),
  ..."onProgress onDownload onBad signal".split(" "),
];

/**
 * Scores a split with each of several models and compares them, every two, on the rows that all could answer.
 *
 * @param names - at least two: a model's path or hf: URI, MODEL+ADAPTER, the folder of a run of tune, or a predictions file (.jsonl)
 * @throws StillroomError "usage" for a wrong option or fewer than two names, and what evaluate throws
 *
 * @example
 * ```ts
 * import { compare, readTask } from "stillroom";
 * const found = await compare(await readTask("sst2/task.yaml"), ["model.gguf", "runs/sst2", "small.gguf"], { limit: 200 });
 * for (const { first, second, difference, p_holm } of found.pairs) console.log(first, second, difference.value, p_holm);
 * ```
 */
export async function compare(
  task: Task,
  names: readonly string[],
  options: CompareOptions = {},
): Promise<CompareResult> {
  requireKnown(options, optionNames, "compare");
  if (names.length < 2) throw unexpected("two names or more", "what is compared", names);
  if (new Set(names).size !== names.length) throw unexpected("different ones", "what is compared", names);
  const { metric = task.metric } = options;
  const could: readonly string[] = [...metricsOf[task.kind], ...furtherMetrics];
  if (!could.includes(metric)) throw unexpected(`one of ${could.join(", ")}`, "metric", metric);
  const contenders = await Promise.all(names.map(contenderOf));
  // Files are read before any model is opened: what is wrong with them shows at once.
  const scores = await Promise.all(contenders.map(({ predictions }) => predictions && readPredictions(predictions)));
  const { metric: _, onProgress: __, ...asking } = options;
  for (const contender of contenders) if (contender.model !== null) await requireOpens(task, contender, asking);
  const answered: Answered[] = [];
  const bad: BadRow[] = [];
  for (const [place, contender] of contenders.entries()) {
    const own = scores[place];
    const compared = { name: contender.name, model: null, adapter: null, bytes: null, trained_rows: null };
    if (own) answered.push({ compared: { ...compared, rows_per_second: null }, scores: own, shots: null });
    else answered.push(await byModel(task, contender, options, bad));
  }
  return summed(task, answered, options, bad.length);
}

interface Answered {
  compared: Omit<Compared, "metrics">;
  scores: readonly RowScore[];
  /** null for predictions. */
  shots: number | null;
}

/** bad: gets the bad rows that the first model to be opened meets; all meet the same. */
async function byModel(
  task: Task,
  contender: Contender,
  { metric: _, onProgress, onBad, ...options }: CompareOptions,
  bad: BadRow[],
): Promise<Answered> {
  const { name, adapter, trainedRows } = contender;
  const first = bad.length === 0;
  const opening: EvaluateOptions = {
    ...openingOf(contender, options),
    ...(first && { onBad }),
    onProgress: ({ rows, totalRows }) => onProgress?.({ name, rows, totalRows }),
  };
  return withPredictor(task, opening, async (predictor) => {
    if (first) bad.push(...predictor.bad);
    const { rows, seconds } = await evaluateRows(predictor.job);
    const model = predictor.model.info.path;
    const { size } = await stat(model);
    const compared = { name, model, adapter, bytes: size, trained_rows: trainedRows };
    return { compared: { ...compared, rows_per_second: rows.length / seconds }, scores: rows, shots: predictor.shots };
  });
}

function summed(task: Task, answered: readonly Answered[], options: CompareOptions, bad: number): CompareResult {
  const { seed = 0, split = "test", metric = task.metric } = options;
  const common = commonRows(answered);
  // A number may be expected of labels or come from a head: its probabilities are none of the metrics'.
  const labels = task.kind === "regress" ? [] : labelsIn(answered, common);
  const known = Object.keys(statisticsOf(task, common[0]!, labels));
  if (!known.includes(metric)) throw unexpected(`one of ${known.join(", ")}`, "metric", metric);
  const pairs: Omit<ComparedPair, "p_holm">[] = [];
  for (const [one, first] of answered.entries()) {
    for (const [other, second] of answered.entries()) {
      if (other <= one) continue;
      const names = { first: first.compared.name, second: second.compared.name };
      pairs.push({ ...names, ...testPair(task, common[one]!, common[other]!, { labels, metric, seed }) });
    }
  }
  const corrected = holm(pairs.map(({ p_value }) => p_value));
  const seen = new Set(answered.flatMap(({ scores }) => scores.map(({ index }) => index)));
  return {
    task: task.name,
    split,
    shots: answered.find(({ shots }) => shots !== null)?.shots ?? null,
    prompt: options.prompt ?? null,
    seed,
    metric,
    lower_is_better: isError(metric),
    rows: common[0]!.length,
    errors: bad + seen.size - common[0]!.length,
    compared: answered.map(({ compared }, place) => {
      return { ...compared, metrics: summarise(task, common[place]!, labels, seed).metrics };
    }),
    pairs: pairs.map((pair, place) => ({ ...pair, p_holm: corrected[place]! })),
  };
}

/** Of each one, the rows that all have answered, in the order of the first. Throws "input" where these are none, or of other data. */
function commonRows(answered: readonly Answered[]): RowScore[][] {
  const byIndex = answered.map(({ scores }) => new Map(scores.map((row) => [row.index, row])));
  const indices = [...byIndex[0]!.keys()].filter((index) => byIndex.every((rows) => rows.has(index)));
  const names = answered.map(({ compared }) => compared.name).join(", ");
  if (indices.length === 0) throw new StillroomError("input", `expected rows that all of ${names} have, received none`);
  return byIndex.map((rows, place) =>
    indices.map((index) => {
      const [row, first] = [rows.get(index)!, byIndex[0]!.get(index)!];
      if (row.answer === first.answer) return row;
      throw new StillroomError(
        "input",
        `${answered[place]!.compared.name} is of other rows: expected the answer ${JSON.stringify(first.answer)} for row ` +
          `${index}, received ${JSON.stringify(row.answer)}`,
      );
    }),
  );
}

/** The labels that every row has probabilities of; none where the rows have no probabilities. Throws "input". */
function labelsIn(answered: readonly Answered[], common: readonly RowScore[][]): Label[] {
  const texts = (row: RowScore) => Object.keys(row.probabilities ?? {});
  const known = texts(common[0]![0]!);
  for (const [place, rows] of common.entries()) {
    for (const row of rows) {
      const own = new Set(texts(row));
      if (own.size === known.length && known.every((text) => own.has(text))) continue;
      const found = [...own].join(", ") || "none";
      throw new StillroomError(
        "input",
        `${answered[place]!.compared.name}, row ${row.index}: expected probabilities of ${known.join(", ")}, received ${found}`,
      );
    }
  }
  return known.map((text) => ({ value: text, text }));
}
