// The page of a RUN folder: loss, metric, rate and memory over steps, and what the run was. Reads what the run wrote; measures nothing.
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import type { ComparedModel } from "../jobs/index.js";
import { StillroomError } from "../support/errors.js";
import { writeFileAtomic } from "../support/files.js";
import { shellWord } from "../support/words.js";
import { label } from "./axis.js";
import { intervalChart } from "./interval-chart.js";
import { lineChart, type Point } from "./line-chart.js";
import { type Cell, pageOf, type Section } from "./page.js";

/** A line of metrics.jsonl. */
export interface StepLine {
  step: number;
  /** Null where the step was skipped. */
  loss: number | null;
  learning_rate: number;
  tokens: number;
  seconds: number;
  memory_bytes: number;
}

/** A line of validation.jsonl. */
export interface ValidationLine {
  step: number;
  loss: number;
  metrics: Record<string, number | { value: number; low: number; high: number }>;
}

/** What the pages take from run.json. */
export interface RunFacts {
  started: string;
  options: Record<string, unknown>;
  /** Of distill. */
  distillation?: Record<string, unknown>;
  task: { name: string; file: string; metric: string };
  model: { path: string; bytes: number; sha256: string; architecture: string };
  data: Record<string, number>;
  plan: { steps: number };
  machine: Record<string, string | number>;
  result?: Record<string, unknown> & { comparison?: ComparedModel[] };
}

/** More points than this are drawn as the means of neighbours: more than a screen has columns. */
const mostPoints = 600;

/**
 * Writes the page of a run, finished or not, as one HTML file that needs nothing but itself.
 *
 * @param run a RUN folder of tune or distill
 * @throws StillroomError "input" for a folder without a run, "io" for the disk
 *
 * @example
 * ```ts
 * import { reportRun } from "stillroom";
 * await reportRun("runs/sst2", "sst2.html");
 * ```
 */
export async function reportRun(run: string, file: string): Promise<void> {
  const { title, subtitle, command, sections } = await runPage(run);
  await writeFileAtomic(file, pageOf({ title, subtitle, command, sections }));
}

async function runPage(run: string) {
  const facts = await readRun(run);
  const steps = await readLines<StepLine>(path.join(run, "metrics.jsonl"));
  const validations = await readLines<ValidationLine>(path.join(run, "validation.jsonl"));
  const { task, model, result } = facts;
  const state = result ? "finished" : `not finished: ${steps.length} steps so far`;
  return {
    title: `${task.name}: ${path.basename(path.resolve(run))}`,
    subtitle: `${path.basename(model.path)} (${model.architecture}), begun ${facts.started}, ${state}.`,
    command: commandOf(run, facts),
    sections: [...compared(facts), curves(facts, steps, validations), ...tables(facts, validations)],
  };
}

/** The lines of a file of a run that are whole; none where there is no file. */
export async function readLines<T>(file: string): Promise<T[]> {
  const lines: T[] = [];
  const input = createReadStream(file);
  const missing = new Promise<boolean>((resolve) =>
    input.once("open", () => resolve(false)).once("error", () => resolve(true)),
  );
  if (await missing) return lines;
  for await (const text of createInterface({ input })) {
    try {
      lines.push(JSON.parse(text) as T);
    } catch {
      // The last line of a run that is being written, or was killed.
    }
  }
  return lines;
}

/** The run.json of a RUN folder. Throws "input" where there is none. */
export async function readRun(run: string): Promise<RunFacts> {
  const file = path.join(run, "run.json");
  try {
    const facts = JSON.parse(await readFile(file, "utf8"));
    if (facts.format === "stillroom-run") return facts;
  } catch {
    // Falls through to the one message.
  }
  throw new StillroomError(
    "input",
    `${path.resolve(run)} holds no run: expected the folder that tune or distill wrote with --out`,
  );
}

/** Teacher, student and quantised student, of a distillation that has ended. */
function compared({ result, task: { metric } }: RunFacts): Section[] {
  const models = result?.comparison ?? [];
  if (models.length === 0) return [];
  const scores = models.flatMap(({ name, metrics }) => (metrics[metric] ? [{ label: name, ...metrics[metric] }] : []));
  const head = ["", metric, "as the teacher", "parameters", "file (MB)", "rows a second", "memory (MB)"];
  const rows = models.map(({ name, metrics, agreement, parameters, bytes, rows_per_second, memory_bytes }): Cell[] => [
    ...[name, metrics[metric] ?? null, agreement, parameters, bytes / 1e6, rows_per_second],
    memory_bytes === null ? null : memory_bytes / 1e6,
  ]);
  const chart = intervalChart({ title: metric, x: { label: `${metric}, 95 % interval` }, rows: scores });
  return [
    { title: "Teacher and student", charts: [chart], tables: [{ caption: "On the same held-out rows", head, rows }] },
  ];
}

function curves({ task }: RunFacts, steps: StepLine[], validations: ValidationLine[]): Section {
  const x = { label: "step" };
  const losses = steps.map(({ step, loss }) => ({ x: step, y: loss ?? Number.NaN }));
  const charts = [
    lineChart({
      title: "Loss",
      x,
      y: { label: "loss (nats a label token)", from: 0 },
      series: [
        { name: "of single steps", points: thinned(losses), marks: "faint" },
        { name: "training, mean of 20 steps", points: thinned(smoothed(losses, 20)), marks: "line" },
        ...(validations.length > 0
          ? [{ name: "validation", points: validations.map(({ step, loss }) => ({ x: step, y: loss })) }]
          : []),
      ],
    }),
  ];
  const scores = validations.flatMap(({ step, metrics }): Point[] => {
    const found = metrics[task.metric];
    if (found === undefined) return [];
    return [
      typeof found === "number" ? { x: step, y: found } : { x: step, y: found.value, low: found.low, high: found.high },
    ];
  });
  if (scores.length > 0)
    charts.push(
      lineChart({ title: "Validation", x, y: { label: task.metric }, series: [{ name: task.metric, points: scores }] }),
    );
  const rate = steps.map(({ step, tokens, seconds }) => ({ x: step, y: tokens / seconds }));
  const over = (title: string, name: string, points: Point[]) =>
    lineChart({
      title,
      x,
      y: { label: name, from: 0 },
      series: [{ name: title, points: thinned(points), marks: "line" }],
    });
  charts.push(
    over("Speed", "tokens a second, mean of 20 steps", smoothed(rate, 20)),
    over(
      "Learning rate",
      "learning rate",
      steps.map((line) => ({ x: line.step, y: line.learning_rate })),
    ),
    over(
      "Memory",
      "resident memory (MB)",
      steps.map((line) => ({ x: line.step, y: line.memory_bytes / 1e6 })),
    ),
  );
  return { title: "Over the steps", charts };
}

function tables(
  { options, distillation, data, machine, model, result }: RunFacts,
  validations: ValidationLine[],
): Section[] {
  const names = Object.keys(validations[0]?.metrics ?? {});
  const validated = {
    caption: "Validations",
    head: ["step", "loss", ...names],
    rows: validations.map(({ step, loss, metrics }) => [step, loss, ...names.map((name) => metrics[name] ?? null)]),
  };
  const facts = (caption: string, of: Record<string, unknown>) => ({
    caption,
    head: ["field", "value"],
    rows: factRows(of),
  });
  return [
    ...(validations.length > 0 ? [{ title: "Validations", tables: [validated] }] : []),
    {
      title: "The run",
      tables: [
        ...(result ? [facts("Result", result)] : []),
        facts("Options", options),
        ...(distillation ? [facts("Distillation", distillation)] : []),
        facts("Rows", data),
        facts("Model", model),
        facts("Machine", machine),
      ],
    },
  ];
}

/** Fields with their values as text; those of an object each by itself. Validation and comparison stand in tables of their own. */
function factRows(of: Record<string, unknown>, before = ""): Cell[][] {
  return Object.entries(of).flatMap(([name, value]): Cell[][] => {
    if (value === null || name === "validation" || name === "comparison") return [];
    if (typeof value === "object" && !Array.isArray(value))
      return factRows(value as Record<string, unknown>, `${before}${name} `);
    const text = typeof value === "number" && !/seed|step$/.test(name) ? label(value) : String(value);
    return [[`${before}${name}`, text]];
  });
}

/** Flags of the options of a run; what is not here has none, and only the API changes it. */
const flags: Record<string, string> = {
  ...Object.fromEntries(
    [
      ..."model method epochs steps batchSize tokenBudget memory recompute maxLength onLong evaluateEvery".split(" "),
      ..."validationLimit patience checkpointEvery targets layers rank alpha dropout rsLora optimizer".split(" "),
      ..."schedule warmup weightDecay clipNorm seed threads precision limit strict".split(" "),
      ..."student teacher teacherAdapter teacherPrecision cache topK loss beta temperature labelWeight".split(" "),
      ..."onPolicy quantize checkLimit".split(" "),
    ].map((name) => [name, name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)]),
  ),
  learningRate: "lr",
};

/** The command that repeats a run. */
function commandOf(run: string, { task, options, distillation }: RunFacts): string {
  // The model of a distillation is its student.
  const { model, ...others } = options;
  const all = distillation ? { ...distillation, ...others } : { model, ...others };
  const given = Object.entries(all).flatMap(([name, value]) => {
    if (flags[name] === undefined || value === false || value === null) return [];
    return value === true ? [`--${flags[name]}`] : [`--${flags[name]} ${shellWord(String(value))}`];
  });
  const command = distillation ? "stillroom distill" : "stillroom tune";
  return [command, shellWord(task.file), `--out ${shellWord(run)}`, ...given].join(" ");
}

/** Means over a window that ends at each point; values that are not finite are left out of it. */
function smoothed(points: readonly Point[], window: number): Point[] {
  return points.map(({ x }, index) => {
    const near = points.slice(Math.max(0, index + 1 - window), index + 1).filter((point) => Number.isFinite(point.y));
    return { x, y: near.reduce((sum, point) => sum + point.y, 0) / near.length };
  });
}

/** At most so many points, each the mean of neighbours. */
function thinned(points: readonly Point[]): Point[] {
  const by = Math.ceil(points.length / mostPoints);
  if (by <= 1) return [...points];
  return Array.from({ length: Math.ceil(points.length / by) }, (_, index) => {
    const near = points.slice(index * by, (index + 1) * by);
    const whole = near.filter((point) => Number.isFinite(point.y));
    return { x: near.at(-1)!.x, y: whole.reduce((sum, point) => sum + point.y, 0) / whole.length };
  });
}
