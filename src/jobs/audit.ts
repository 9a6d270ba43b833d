// The audit of a task: what its rows, and a model's answers to them, are unfair about; before and after, and within its bounds. Owns the order
// of the work and the models that are opened; the numbers are audit's.
import { performance } from "node:perf_hooks";
import {
  type Asked,
  type AuditChange,
  type AuditFinding,
  askBenchmarks,
  type BbqResult,
  type BenchmarkAnswers,
  type Benchmarks,
  type BoundsVerdict,
  benchmarkChanges,
  benchmarkResults,
  type CrowsResult,
  changesOf,
  findingsOf,
  type GroupTable,
  groupTables,
  judge,
  judgeBounds,
  judgedMetrics,
  type Plan,
  planAudit,
  type RowAudit,
  readBenchmarks,
  rowsAudit,
  type Swap,
  swapsOf,
  variantsOf,
} from "../audit/index.js";
import { type Row, readRows, type SplitName } from "../dataset/index.js";
import {
  type EvaluateOptions,
  evaluateRows,
  type Metrics,
  noGoodRow,
  type Predictor,
  requireHead,
  type ScoringProgress,
  summarise,
  withPredictor,
} from "../evaluate/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { hasLabels, requireKnown, requireWhole, type Task } from "../task/index.js";
import { auditTold, readTold, type TeacherAudit } from "./audit-teacher.js";
import { variantAnswers } from "./audit-variants.js";
import { type AskingOptions, contenderOf, openingOf, requireOpens } from "./contender.js";

/** What is audited, and how. */
export interface AuditOptions extends AskingOptions, Pick<EvaluateOptions, "model" | "adapter"> {
  /** What it is held against: a model (path or hf: URI), MODEL+ADAPTER, or the RUN folder of a tuning. */
  against?: string | undefined;
  /** Columns whose values are groups, besides those of the task file. */
  groups?: readonly string[] | undefined;
  /** The favourable label, as its text or its value (default: the task file's; of two labels the second; else each in turn, up to ten, and so of sets). */
  positive?: string | undefined;
  /** Pairs of words to swap, besides the lists in the box and the task file's. */
  swaps?: readonly (readonly [string, string])[] | undefined;
  /** A file of CrowS-Pairs (crows_pairs_anonymized.csv): which sentences the model thinks likelier. */
  crowsPairs?: string | undefined;
  /** A folder of BBQ (.jsonl). */
  bbq?: string | undefined;
  /** Rows of BBQ, drawn by the seed (default 2000; 0 for all). */
  bbqRows?: number | undefined;
  /** The folder of a teacher's cache of the training rows (teach, or RUN/teacher of distill): what the teacher said by group, beside the labels. */
  cache?: string | undefined;
  /** Of a cache that was made with texts beside the rows: their file. */
  texts?: string | undefined;
  onProgress?: ((progress: { what: string; rows: number; totalRows: number }) => void) | undefined;
}

/** The result of {@link audit}, in the fields of `stillroom audit --json`. Intervals are 95 %. */
export interface AuditResult {
  task: string;
  model: string;
  adapter: string | null;
  split: SplitName;
  shots: number;
  seed: number;
  /** Rows that the model answered. */
  rows: number;
  errors: number;
  /** The favourable labels; none of numbers. */
  positive: string[];
  /** Numbers that lie no farther apart count as the same: a tenth of the standard deviation of the rows' targets. null but for regress. */
  tolerance: number | null;
  /** Of the rows themselves: copies, ties of words to labels, how answers differ by group. */
  data: RowAudit;
  metrics: Metrics;
  /** How the model treats groups. */
  groups: GroupTable[];
  /** What it says to the same rows with other groups' words. */
  swaps: Swap[];
  /** null without crowsPairs. */
  crows_pairs: CrowsResult | null;
  /** null without bbq. */
  bbq: BbqResult | null;
  /** null without cache. */
  teacher: TeacherAudit | null;
  /** null without against. */
  against: { name: string; model: string; adapter: string | null; metrics: Metrics; changes: AuditChange[] } | null;
  /** What stands after the correction for all that was looked at. */
  findings: AuditFinding[];
  bounds: BoundsVerdict;
  /** What this audit cannot see. */
  limits: string[];
  seconds: number;
}

const optionNames = [
  ..."model adapter precision shots prompt split limit seed strict threads against groups positive swaps".split(" "),
  ..."crowsPairs bbq bbqRows cache texts".split(" "),
  ..."onProgress onDownload onBad signal".split(" "),
];

/** What is said of every audit. */
const limits = [
  "Groups by terms are the rows that mention them: a term list cannot see people who are not named by its words, nor what words mean in their place (an old car, a church in a town).",
  "The lists are English, short, and know two genders, and names as readers in the United States take them; give the task's own by audit.terms and columns.",
  "A swap changes words and not what else goes with them: a row may read oddly, and a difference may be one of sense.",
  "A gap of true and false positive rates, of calibration or of errors of numbers takes the rows' answers for right. Where these are unfair themselves, only the audit of the rows, demographic parity and mean predictions can show it.",
  "CrowS-Pairs and BBQ are about stereotypes of the United States, and have wrong and unclear pairs (Blodgett et al. 2021); models may have read them.",
  "Rows that say nearly the same count as if they were independent: where there are many copies, intervals are too narrow.",
  "A teacher's cache holds its most likely tokens: a label that is not among them counts as one it does not give.",
  "That nothing was found says that these rows are too few or too even to show it, not that there is nothing.",
];

/**
 * Audits a task's rows and a model's answers to them: how labels, right and wrong answers and probabilities differ by group, and what
 * becomes of an answer when a row speaks of another group. Bounds of the task file that do not hold are in the result; nothing is thrown for them.
 *
 * @throws StillroomError "usage" for a wrong option, "input" for a column that the rows have not and for files that are no CrowS-Pairs or BBQ, and
 * what evaluate throws
 *
 * @example
 * ```ts
 * import { audit, readTask } from "stillroom";
 * const found = await audit(await readTask("task.yaml"), { model: "model.gguf", adapter: "runs/first", against: "model.gguf" });
 * for (const { what, value, p_holm } of found.findings) console.log(what, value.value, value.low, value.high, p_holm);
 * process.exitCode = found.bounds.passed ? 0 : 1;
 * ```
 */
export async function audit(task: Task, options: AuditOptions = {}): Promise<AuditResult> {
  requireKnown(options, optionNames, "audit");
  const started = performance.now();
  const { against, groups: _, positive: __, swaps: ___, onProgress: ____, ...asking } = options;
  const { crowsPairs, bbq, bbqRows = 2000, cache, texts, ...scoring } = asking;
  requireAuditable(task, options);
  const { seed = 0 } = options;
  const benchmarks = await readBenchmarks({ crowsPairs, bbq, bbqRows, seed });
  const contender = against === undefined ? null : await contenderOf(against);
  if (contender?.predictions) {
    throw unexpected("a model or a run, which can be asked about changed rows,", "against", against);
  }
  // Before a model is opened.
  if (options.adapter === undefined || contender?.adapter === null) requireHead(null, { task, labels: [] });
  if (contender) await requireOpens(task, contender, scoring);
  const { after, teacher } = await withPredictor(task, scoring, async (predictor) => {
    // Before anything is scored: it may not fit.
    const told = cache === undefined ? null : await readTold(task, predictor, { ...options, cache, texts });
    const found = await ask(predictor, options, benchmarks, null);
    return { after: found, teacher: told && auditTold(told, found.plan) };
  });
  const { plan, facts, metrics, model } = after;
  const groups = groupTables(plan, after.judged, judgedMetrics);
  const swaps = swapsOf(plan, after.variants, after.answers);
  const opening = contender && { ...openingOf(contender, scoring), onBad: undefined };
  const before =
    opening && (await withPredictor(task, opening, (predictor) => ask(predictor, options, benchmarks, plan)));
  const data = rowsAudit(plan, await learntRows(plan.task, facts.split, after.rows, options));
  const { tolerance } = plan;
  const judgement = { tolerance, groups, swaps, ...benchmarkResults(benchmarks, after.benchmarked, seed), teacher };
  return {
    ...{ task: task.name, model, adapter: options.adapter ?? null, ...facts, positive: plan.positives },
    ...{ data, metrics, ...judgement },
    against: before && {
      ...{ name: contender.name, model: before.model, adapter: contender.adapter, metrics: before.metrics },
      changes: [
        ...changesOf(plan, { groups, swaps }, after, before),
        ...benchmarkChanges(benchmarks, after.benchmarked, before.benchmarked, seed),
      ],
    },
    findings: findingsOf(data, judgement),
    bounds: judgeBounds(task, judgement),
    limits: [...unnamed(plan), ...limits],
    seconds: (performance.now() - started) / 1000,
  };
}

/** What a task of many labels misses that names none of them as favourable. */
function unnamed({ task: { kind }, positives }: Plan): string[] {
  if (positives.length > 0 || !hasLabels(kind)) return [];
  const missed = "between groups only right answers were compared, and no label's rates";
  return [
    `The task has more than ten labels and names none as favourable: ${missed}. audit.positive or --positive names one.`,
  ];
}

/** Throws "usage" for a favourable label of numbers, for a teacher's cache of a task that has no single labels or numbers, for texts of no cache, and for rows of no BBQ. */
function requireAuditable({ name, kind }: Task, { cache, texts, positive, bbq, bbqRows }: AuditOptions): void {
  requireWhole("bbqRows", bbqRows, 0);
  if (bbqRows !== undefined && bbq === undefined)
    throw new StillroomError("usage", "expected a folder bbq for bbqRows, received none", {
      options: ["bbqRows", "bbq"],
    });
  if (kind === "regress" && positive !== undefined)
    throw new StillroomError("usage", `no number is a favourable label, and ${name} is of kind regress`, {
      options: ["positive"],
    });
  if (texts !== undefined && cache === undefined)
    throw new StillroomError("usage", "expected a cache for texts, received none", { options: ["texts", "cache"] });
  if (cache === undefined || kind === "classify" || kind === "regress") return;
  const message = `a teacher's cache is looked through for labels or numbers, and ${name} is of kind ${kind}`;
  throw new StillroomError("usage", message, { options: ["cache"] });
}

interface Look extends Asked {
  plan: Plan;
  benchmarked: BenchmarkAnswers;
  rows: readonly Row[];
  model: string;
  metrics: Metrics;
  facts: Pick<AuditResult, "split" | "shots" | "seed" | "rows" | "errors">;
}

/** What a predictor says to the rows and to their variants. known: the plan of the first predictor, which holds for the second. */
async function ask(
  predictor: Predictor,
  options: AuditOptions,
  benchmarks: Benchmarks,
  known: Plan | null,
): Promise<Look> {
  const { job, split, shots, seed, bad, model } = predictor;
  const plan = known ?? planAudit(job.task, job.rows, job.labels, { ...options, seed });
  const told = (what: string, { rows, totalRows }: ScoringProgress) => options.onProgress?.({ what, rows, totalRows });
  const scores = await evaluateRows({ ...job, onProgress: (progress) => told("scoring", progress) });
  if (scores.rows.length === 0) throw noGoodRow(job.task, split, [...bad, ...scores.refused]);
  const byIndex = new Map(job.rows.map((row) => [row.index, row]));
  const judged = scores.rows.map((score) => judge(job.task, byIndex.get(score.index)!, score));
  const variants = variantsOf(plan.lists, job.task, judged);
  const answers = await variantAnswers(variants, job, (progress) => told("swaps", progress));
  const benchmarked = await askBenchmarks(benchmarks, job, (progress) => options.onProgress?.(progress));
  return {
    ...{ plan, judged, variants, answers, benchmarked, rows: job.rows, model: model.info.path },
    metrics: summarise(job.task, scores.rows, job.labels, seed).metrics,
    facts: { split, shots, seed, rows: judged.length, errors: bad.length + scores.refused.length },
  };
}

/** The rows of the training split, where there is one, before those that were asked about. */
async function learntRows(task: Task, split: SplitName, rows: readonly Row[], { strict, signal }: AuditOptions) {
  const asked = { split, rows };
  if (task.data.train === undefined || split === "train") return [asked];
  return [{ split: "train", rows: (await readRows(task, "train", { strict, signal })).rows }, asked];
}
