// The page of a ladder: every rung's metric with its interval, and what it costs.
import { type Estimate, testOf } from "../evaluate/index.js";
import type { Fairness, LadderResult } from "../jobs/index.js";
import { writeFileAtomic } from "../support/files.js";
import { counted } from "../support/words.js";
import { label } from "./axis.js";
import { intervalChart } from "./interval-chart.js";
import { pageOf } from "./page.js";

/**
 * Writes the page of a ladder, as one HTML file that needs nothing but itself.
 *
 * @param command what repeats it, as it is to be shown
 * @throws StillroomError "io" for the disk
 *
 * @example
 * ```ts
 * import { ladder, readTask, reportLadder } from "stillroom";
 * const result = await ladder(await readTask("sst2/task.yaml"), { model: "model.gguf", out: "runs/ladder" });
 * await reportLadder(result, "node ladder.mjs", "ladder.html");
 * ```
 */
export async function reportLadder(result: LadderResult, command: string, file: string): Promise<void> {
  const { task, metric, rungs, notes } = result;
  const scores = rungs.flatMap(({ rung, metrics }) => (metrics[metric] ? [{ label: rung, ...metrics[metric] }] : []));
  const chart = (title: string, label: string, of: (rung: (typeof rungs)[number]) => number | null) =>
    intervalChart({
      ...{ title, x: { label, from: 0 } },
      rows: rungs.flatMap((rung) => (of(rung) === null ? [] : [{ label: rung.rung, value: of(rung)! }])),
    });
  const head = [
    "rung",
    metric,
    "p against the rung before",
    "largest gap between groups",
    "which gap",
    "answers flipped by a swap",
    "which swap",
    "rows a second",
    "memory (MB)",
    "file (MB)",
    "made in (s)",
  ];
  const rows = rungs.map(({ rung, metrics, p_value, fairness, rows_per_second, memory_bytes, bytes, seconds }) => [
    ...[rung, metrics[metric] ?? null, p_value],
    ...[fairness.gap?.difference ?? null, gapName(fairness), fairness.swap?.flips ?? null, swapName(fairness)],
    ...[rows_per_second, memory_bytes === null ? null : memory_bytes / 1e6, bytes / 1e6, seconds],
  ]);
  const uneven = (title: string, label: string, of: (fairness: Fairness) => Estimate | undefined) => {
    const known = rungs.flatMap(({ rung, fairness }) => (of(fairness) ? [{ label: rung, ...of(fairness)! }] : []));
    return known.length === 0 ? [] : [intervalChart({ title, x: { label }, reference: 0, rows: known })];
  };
  const gaps = uneven("Largest gap between groups", "difference, 95 % interval", ({ gap }) => gap?.difference);
  const flips = uneven("Answers flipped by a swap", "share of rows, 95 % interval", ({ swap }) => swap?.flips);
  const page = pageOf({
    title: `${task}: the ladder`,
    subtitle: `${counted(rungs.length, "rung")} on the same ${counted(rungs[0]?.rows ?? 0, "test row")}.`,
    command,
    sections: [
      {
        title: "What each rung bought, and what it costs",
        words: [
          `p is ${testOf(result)} on the same rows against the rung before.`,
          ...notes.map(({ rung, climbed, why }) => `${rung}: ${climbed ? "" : "not climbed: "}${why}.`),
          ...rungs.flatMap(({ rung, errors }) =>
            errors > 0 ? [`${rung}: ${counted(errors, "bad row")} left out.`] : [],
          ),
        ],
        charts: [
          intervalChart({ title: metric, x: { label: `${metric}, 95 % interval` }, rows: scores }),
          chart("Speed", "rows a second", (rung) => rung.rows_per_second),
          chart("File", "MB", (rung) => rung.bytes / 1e6),
          chart("Memory", "MB that the process grew by", ({ memory_bytes }) => memory_bytes && memory_bytes / 1e6),
        ],
        tables: [{ caption: "Rungs", head, rows }],
      },
      {
        title: "What it is uneven about",
        words: [
          "The largest difference between two groups of all attributes and metrics, and the swap of two groups' words that turns the largest share of answers; stillroom audit shows the others, and what a term list cannot see.",
          ...(gaps.length === 0 ? ["No gap: no two groups have ten rows."] : []),
          ...(flips.length === 0 ? ["No swap: no ten rows have words that stand for one another."] : []),
        ],
        charts: [...gaps, ...flips],
      },
    ],
  });
  await writeFileAtomic(file, page);
}

function gapName({ gap }: Fairness): string | null {
  if (gap === null) return null;
  const of = gap.label === null ? "" : ` of ${gap.label}`;
  return `${gap.attribute}: ${gap.metric}${of}, ${gap.between.join(" above ")} (p = ${label(gap.p_holm)} with Holm's correction)`;
}

function swapName({ swap }: Fairness): string | null {
  if (swap === null) return null;
  const of = swap.label === null ? "" : `${swap.label}, `;
  return `${swap.attribute}: ${of}${swap.groups.join(" and ")}, ${counted(swap.rows, "row")}`;
}
