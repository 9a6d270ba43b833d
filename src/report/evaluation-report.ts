// The page of an evaluation: its metrics, how far its probabilities hold, what it takes for what, and the parts of the rows.
import { type Evaluation, type SliceTable, wilson } from "../evaluate/index.js";
import { writeFileAtomic } from "../support/files.js";
import { counted } from "../support/words.js";
import { isError } from "../task/index.js";
import { intervalChart } from "./interval-chart.js";
import { lineChart } from "./line-chart.js";
import { type Cell, pageOf, type Section, type Table } from "./page.js";

/** More labels than this make a square that nobody reads; the list below it has the commonest mistakes of any number. */
const squareLabels = 20;
const mistakesShown = 50;
const linesDrawn = 40;

/** Answers that are sets have scores by label, and no label that is taken for another. */
const ofSets = ({ classes, confusion }: Evaluation): boolean => classes !== null && confusion === null;

/**
 * Writes the page of an evaluation, as one HTML file that needs nothing but itself.
 *
 * @param command what repeats it, as it is to be shown
 * @throws StillroomError "io" for the disk
 *
 * @example
 * ```ts
 * import { evaluate, readTask, reportEvaluation } from "stillroom";
 * const result = await evaluate(await readTask("sst2/task.yaml"), { model: "model.gguf", adapter: "runs/sst2" });
 * await reportEvaluation(result, "node eval.mjs", "eval.html");
 * ```
 */
export async function reportEvaluation(result: Evaluation, command: string, file: string): Promise<void> {
  const { task, model, adapter, rows, split, errors } = result;
  const left = errors === 0 ? "" : `; ${counted(errors, "bad row")} left out`;
  const page = pageOf({
    title: `${task}: evaluation`,
    subtitle: `${adapter ? `${model} + ${adapter}` : model}, on ${counted(rows, `${split} row`)}${left}.`,
    command,
    sections: [
      metricsOf(result),
      ...againstOf(result),
      ...(result.slices ?? []).map((table) => slicesOf(table, result)),
      ...reliabilityOf(result),
      ...classesOf(result),
      ...mistakesOf(result),
      ...badRowsOf(result),
    ],
  });
  await writeFileAtomic(file, page);
}

function metricsOf({
  metrics,
  rows_per_second,
  tokens_per_second,
  peak_memory_bytes,
  shots,
  prompt,
}: Evaluation): Section {
  const higher = Object.entries(metrics).filter(([name]) => !isError(name) && name !== "interval_width");
  return {
    title: "Metrics",
    charts: [
      intervalChart({
        title: "Higher is better",
        x: { label: "value, 95 % interval" },
        rows: higher.map(([name, value]) => ({ label: name, ...value })),
      }),
    ],
    tables: [
      {
        caption: "Metrics",
        head: ["metric", "value"],
        rows: Object.entries(metrics).map(([name, value]) => [name, value]),
      },
      {
        caption: "What it took",
        head: ["examples in the prompt", "prompt file", "rows a second", "tokens a second", "peak memory (MB)"],
        rows: [[shots, prompt, rows_per_second, tokens_per_second, peak_memory_bytes / 1e6]],
      },
    ],
  };
}

function againstOf({ against, metrics }: Evaluation): Section[] {
  if (!against) return [];
  const { against: name, only_first, only_second, p_value, metrics: others } = against;
  return [
    {
      title: `Against ${name}`,
      words: [
        `${only_first === 1 ? "1 row is" : `${only_first} rows are`} right here alone, ${only_second} there alone: p = ${Number(p_value.toPrecision(3))} by McNemar's exact test.`,
      ],
      tables: [
        {
          caption: "Both",
          head: ["metric", "here", "there"],
          rows: Object.keys(metrics).map((metric) => [metric, metrics[metric]!, others[metric] ?? null]),
        },
      ],
    },
  ];
}

function slicesOf({ column, slices }: SliceTable, { metrics }: Evaluation): Section {
  const names = Object.keys(metrics);
  const [first] = names;
  return {
    title: `By ${column}`,
    charts: [
      intervalChart({
        title: `${first} by ${column}`,
        x: { label: `${first}, 95 % interval` },
        rows: slices.slice(0, linesDrawn).map(({ value, metrics: own }) => ({ label: value, ...own[first!]! })),
      }),
    ],
    tables: [
      {
        caption: `Metrics by ${column}`,
        head: [column, "rows", ...names],
        rows: slices.map(({ value, rows, metrics: own }): Cell[] => [
          ...[value, rows, ...names.map((name) => own[name] ?? null)],
        ]),
      },
    ],
  };
}

/** How often answers are right that a model is so sure of. */
function reliabilityOf(result: Evaluation): Section[] {
  const { reliability } = result;
  if (!reliability || reliability.length === 0) return [];
  const sets = ofSets(result);
  const right = ({ accuracy, rows }: (typeof reliability)[number]) => wilson(Math.round(accuracy * rows), rows);
  const points = reliability.map((bin) => {
    const { value, low, high } = right(bin);
    return { x: bin.confidence, y: value, low, high };
  });
  const ideal = [
    { x: 0, y: 0 },
    { x: 1, y: 1 },
  ];
  return [
    {
      title: "Whether its probabilities hold",
      words: ["Below the line the model is surer than it may be, above it less sure."],
      charts: [
        lineChart({
          title: "Reliability diagram",
          x: { label: `probability of ${sets ? "a label" : "the answer given"}`, from: 0, to: 1 },
          y: { label: `share ${sets ? "that is in the answer" : "of right answers"}, 95 % interval`, from: 0, to: 1 },
          series: [
            { name: "as sure as right", points: ideal, marks: "line" },
            { name: "the model", points, marks: "points" },
          ],
        }),
      ],
      tables: [
        {
          caption: "By probability",
          head: ["from", "to", sets ? "labels of rows" : "rows", "mean probability", "share right"],
          rows: reliability.map((bin): Cell[] => [bin.low, bin.high, bin.rows, bin.confidence, right(bin)]),
        },
      ],
    },
  ];
}

function classesOf(result: Evaluation): Section[] {
  const { classes } = result;
  if (!classes) return [];
  const sets = ofSets(result);
  const rows = classes.map(({ label, precision, recall, f1, f1_interval, support, average_precision }): Cell[] => {
    const interval = f1_interval && { value: f1, low: f1_interval[0], high: f1_interval[1] };
    return [label, support, precision, recall, interval ?? f1, ...(sets ? [average_precision ?? null] : [])];
  });
  const what = sets ? "label" : "answer";
  const head = [what, "rows", "precision", "recall", "F1", ...(sets ? ["average precision"] : [])];
  return [{ title: `By ${what}`, tables: [{ caption: `Each ${what}`, head, rows }] }];
}

function mistakesOf({ confusion }: Evaluation): Section[] {
  if (!confusion) return [];
  const { labels, counts } = confusion;
  const square: Table = {
    caption: "Answers (down) and predictions (across)",
    head: ["answer", ...labels],
    rows: labels.map((label, row) => [label, ...counts[row]!]),
  };
  const mistakes = labels
    .flatMap((answer, row) => labels.map((prediction, column) => ({ answer, prediction, rows: counts[row]![column]! })))
    .filter(({ answer, prediction, rows }) => answer !== prediction && rows > 0)
    .sort((a, b) => b.rows - a.rows);
  const list: Table = {
    caption: "The commonest mistakes",
    head: ["answer", "prediction", "rows"],
    rows: mistakes.slice(0, mistakesShown).map(({ answer, prediction, rows }) => [answer, prediction, rows]),
  };
  const words = mistakes.length === 0 ? ["Every answer is right."] : [];
  const tables = [...(labels.length <= squareLabels ? [square] : []), ...(mistakes.length === 0 ? [] : [list])];
  return [{ title: "What is taken for what", words, tables }];
}

function badRowsOf({ bad_rows, errors }: Evaluation): Section[] {
  if (errors === 0) return [];
  const rows = bad_rows.map(({ file, line, reason }) => [file, line, reason]);
  return [{ title: "Bad rows", tables: [{ caption: `The first of ${errors}`, head: ["file", "line", "why"], rows }] }];
}
