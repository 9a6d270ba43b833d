// The page of a RUN folder: loss, metric, rate and memory over steps, and what the run was. Reads what the run wrote; measures nothing.
import path from "node:path";
import { lossUnit } from "../adapter/index.js";
import { writeFileAtomic } from "../support/files.js";
import { counted, shellWord } from "../support/words.js";
import { numberText } from "./axis.js";
import { intervalChart } from "./interval-chart.js";
import { lineChart, type Point } from "./line-chart.js";
import { type Cell, type Page, pageOf, type Section } from "./page.js";
import { type RunFacts, RunLines, readRun, type StepLine, type ValidationLine } from "./run-files.js";

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
  await writeFileAtomic(file, pageOf(await runPage(run)));
}

async function runPage(run: string): Promise<Page> {
  const facts = await readRun(run);
  const lines = new RunLines(run);
  await lines.read();
  const { lines: steps } = lines.steps;
  const { lines: validations } = lines.validations;
  const { task, model, plan, result } = facts;
  const sofar = plan === null ? "its teacher is asked" : `${counted(steps.length, "step")} so far`;
  const state = result ? "finished" : `not finished: ${sofar}`;
  return {
    title: `${task.name}: ${path.basename(path.resolve(run))}`,
    subtitle: `${path.basename(model.path)} (${model.architecture}), begun ${facts.started}, ${state}.`,
    command: commandOf(run, facts),
    sections: [...compared(facts), curves(facts, steps, validations), ...tables(facts, validations)],
  };
}

/** Teacher, student and quantised student, of a distillation that has ended. */
function compared({ result, task: { metric } }: RunFacts): Section[] {
  const models = result?.comparison ?? [];
  if (models.length === 0) return [];
  const scores = models.flatMap(({ name, metrics }) => (metrics[metric] ? [{ label: name, ...metrics[metric] }] : []));
  const head = ["model", metric, "as the teacher", "parameters", "file (MB)", "rows a second", "memory (MB)"];
  const rows = models.map(({ name, metrics, parameters, bytes, rows_per_second, memory_bytes, ...teacher }): Cell[] => {
    const { agreement, agreement_interval: ends } = teacher;
    const alike = ends === null ? agreement : { value: agreement!, low: ends[0], high: ends[1] };
    return [
      ...[name, metrics[metric] ?? null, alike, parameters, bytes / 1e6, rows_per_second],
      memory_bytes === null ? null : memory_bytes / 1e6,
    ];
  });
  const chart = intervalChart({ title: metric, x: { label: `${metric}, 95 % interval` }, rows: scores });
  return [
    { title: "Teacher and student", charts: [chart], tables: [{ caption: "On the same held-out rows", head, rows }] },
  ];
}

function curves({ task, options }: RunFacts, steps: StepLine[], validations: ValidationLine[]): Section {
  const x = { label: "step" };
  const losses = steps.map(({ step, loss }) => ({ x: step, y: loss ?? Number.NaN }));
  const charts = [
    lineChart({
      title: "Loss",
      x,
      y: { label: `loss (${lossUnit(options.head)})`, from: 0 },
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
  const facts = (caption: string, of: object) => ({
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
        facts("Options", typed(distillation ? { ...options, model: null } : options)),
        ...(distillation ? [facts("Distillation", typed(distillation))] : []),
        ...(data ? [facts("Rows", data)] : []),
        facts("Model", model),
        facts("Machine", machine),
      ],
    },
  ];
}

/** Fields with their values as text; those of an object each by itself. Validation and comparison stand in tables of their own. */
function factRows(of: object, before = ""): Cell[][] {
  return Object.entries(of).flatMap(([name, value]): Cell[][] => {
    if (value === null || name === "validation" || name === "comparison") return [];
    if (typeof value === "object" && !Array.isArray(value)) return factRows(value, `${before}${name} `);
    const text = typeof value === "number" && !/seed|step$/.test(name) ? numberText(value) : String(value);
    return [[`${before}${name}`, text]];
  });
}

/** Options of a run that only the API has. */
const withoutFlag = ["betas", "epsilon", "variant", "sharePrefix"];

function flagOf(name: string): string {
  const flag = name === "learningRate" ? "lr" : name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return shellWord(`--${flag}`);
}

/** Options by the names that they are typed by, so far as they have any. */
function typed(options: object): object {
  const words = (name: string) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  const named = ([name, value]: [string, unknown]) => [withoutFlag.includes(name) ? words(name) : flagOf(name), value];
  return Object.fromEntries(Object.entries(options).map(named));
}

/** The command that repeats a run. */
function commandOf(run: string, { task, options, distillation }: RunFacts): string {
  // The model of a distillation is its student.
  const { model, ...others } = options;
  const all = distillation ? { ...distillation, ...others } : { model, ...others };
  const given = Object.entries(all).flatMap(([name, value]) => {
    // No target stands for none that could be named: a head alone is trained.
    if (withoutFlag.includes(name) || value === false || value === null || String(value) === "") return [];
    return value === true ? [flagOf(name)] : [`${flagOf(name)} ${shellWord(String(value))}`];
  });
  const command = distillation ? "stillroom distill" : "stillroom tune";
  const data = task.folder === undefined ? [] : [`--data ${shellWord(task.folder)}`];
  return [command, shellWord(task.file), ...data, `--out ${shellWord(run)}`, ...given].join(" ");
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
