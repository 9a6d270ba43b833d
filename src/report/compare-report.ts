// The page of a comparison: each model's metrics with their intervals, and the differences between every two.
import path from "node:path";
import type { CompareResult } from "../jobs/index.js";
import { writeFileAtomic } from "../support/files.js";
import { counted } from "../support/words.js";
import type { Chart } from "./frame.js";
import { intervalChart } from "./interval-chart.js";
import { lineChart } from "./line-chart.js";
import { type Cell, pageOf } from "./page.js";

/**
 * Writes the page of a comparison, as one HTML file that needs nothing but itself.
 *
 * @param command what repeats it, as it is to be shown
 * @throws StillroomError "io" for the disk
 *
 * @example
 * ```ts
 * import { compare, readTask, reportCompare } from "stillroom";
 * const result = await compare(await readTask("sst2/task.yaml"), ["model.gguf", "runs/sst2"]);
 * await reportCompare(result, "node compare.mjs", "compare.html");
 * ```
 */
export async function reportCompare(result: CompareResult, command: string, file: string): Promise<void> {
  const { task, split, metric, rows, compared, pairs, lower_is_better } = result;
  const short = shortNames(compared.map(({ name }) => name));
  const scores = compared.flatMap(({ name, metrics }) =>
    metrics[metric] ? [{ label: short(name), ...metrics[metric] }] : [],
  );
  const gaps = pairs.map(({ first, second, difference }) => ({
    label: `${short(first)} − ${short(second)}`,
    ...difference,
  }));
  const metricNames = [...new Set(compared.flatMap(({ metrics }) => Object.keys(metrics)))];
  const better = lower_is_better ? "lower is better" : "higher is better";
  const page = pageOf({
    title: `${task}: ${compared.length} compared`,
    subtitle: `On the same ${counted(rows, `${split} row`)}.`,
    command,
    sections: [
      {
        title: "Each one",
        charts: [
          intervalChart({ title: metric, x: { label: `${metric}, 95 % interval (${better})` }, rows: scores }),
          ...learningCurve(result),
        ],
        tables: [
          {
            caption: "Metrics",
            head: ["name", ...metricNames, "rows a second", "file (MB)", "trained on (rows)"],
            rows: compared.map(({ name, metrics, rows_per_second, bytes, trained_rows }): Cell[] => [
              ...[name, ...metricNames.map((one) => metrics[one] ?? null)],
              ...[rows_per_second, bytes === null ? null : bytes / 1e6, trained_rows],
            ]),
          },
        ],
      },
      {
        title: "Every two",
        words: [
          "The difference is the first's minus the second's, over the same rows. p with Holm's correction holds for all pairs together: below 0.05 the two differ by more than chance.",
        ],
        charts: [
          intervalChart({
            title: `Difference of ${metric}`,
            x: { label: "difference, 95 % interval" },
            rows: gaps,
            reference: 0,
          }),
        ],
        tables: [
          {
            caption: "Differences",
            head: ["first", "second", `difference of ${metric}`, "test", "p", "p with Holm's correction"],
            rows: pairs.map(({ first, second, difference, test, p_value, p_holm }) => [
              first,
              second,
              difference,
              test,
              p_value,
              p_holm,
            ]),
          },
        ],
      },
    ],
  });
  await writeFileAtomic(file, page);
}

/** The metric over the rows that each was tuned on, where two or more were tuned on different numbers of them. */
function learningCurve({ metric, compared }: CompareResult): Chart[] {
  const points = compared.flatMap(({ trained_rows, metrics }) => {
    const found = metrics[metric];
    return trained_rows === null || !found
      ? []
      : [{ x: trained_rows, y: found.value, low: found.low, high: found.high }];
  });
  if (new Set(points.map(({ x }) => x)).size < 2) return [];
  points.sort((a, b) => a.x - b.x);
  const x = { label: "rows tuned on", scale: "log" as const };
  const y = { label: `${metric}, 95 % interval` };
  return [lineChart({ title: "Learning curve", x, y, series: [{ name: metric, points }] })];
}

/** Without their folders, where they can still be told apart: a chart has little room. */
function shortNames(names: readonly string[]): (name: string) => string {
  const short = (name: string) =>
    name
      .split("+")
      .map((part) => path.basename(part))
      .join("+");
  return new Set(names.map(short)).size === new Set(names).size ? short : (name) => name;
}
