// The page of an audit: what was found, gaps between groups, swapped terms, CrowS-Pairs and BBQ, the rows, what changed, and what an audit cannot see.
import { nothingFound } from "../audit/index.js";
import type { AuditResult } from "../jobs/index.js";
import { writeFileAtomic } from "../support/files.js";
import { counted } from "../support/words.js";
import { benchmarksOf } from "./audit-benchmarks.js";
import { gapParts, gapsOf } from "./audit-groups.js";
import { label } from "./axis.js";
import { intervalChart, linesDrawn } from "./interval-chart.js";
import { type Cell, pageOf, type Section, type Table } from "./page.js";

/**
 * Writes the page of an audit, as one HTML file that needs nothing but itself.
 *
 * @param command what repeats it, as it is to be shown
 * @throws StillroomError "io" for the disk
 *
 * @example
 * ```ts
 * import { audit, readTask, reportAudit } from "stillroom";
 * const result = await audit(await readTask("task.yaml"), { model: "model.gguf" });
 * await reportAudit(result, "node audit.mjs", "audit.html");
 * ```
 */
export async function reportAudit(result: AuditResult, command: string, file: string): Promise<void> {
  const { task, model, adapter, split, rows, groups, limits } = result;
  const page = pageOf({
    title: `${task}: audit`,
    subtitle: `${adapter ? `${model} + ${adapter}` : model}, on ${counted(rows, `${split} row`)}.`,
    command,
    sections: [
      found(result),
      gapsOf(groups, "Gaps between groups, as the model answers"),
      swapsOf(result),
      ...benchmarksOf(result),
      ...changesOf(result),
      ...teacherOf(result),
      rowsOf(result),
      { title: "What this audit cannot see", words: limits },
    ],
  });
  await writeFileAtomic(file, page);
}

function found({ data, findings, bounds }: AuditResult): Section {
  const verdict = [
    ...bounds.failures.map((failure) => `Bound broken: ${failure}`),
    ...bounds.unseen.map((name) => `The bound ${name} was not looked at: this audit has nothing to hold against it.`),
  ];
  if (findings.length === 0)
    return {
      title: "Found",
      words: [...verdict, `It found ${nothingFound(data)}.`],
    };
  return {
    title: "Found",
    words: [
      ...verdict,
      "What stands after Holm's correction for all that was looked at in its part; 0 is no difference.",
    ],
    charts: [
      intervalChart({
        ...{ title: "Findings", x: { label: "gap, log-odds or shift, 95 % interval" }, reference: 0 },
        rows: findings.slice(0, linesDrawn).map(({ what, value }) => ({ label: what, ...value })),
      }),
    ],
    tables: [
      {
        caption: "Findings",
        head: ["part", "what", "size", "p with Holm's correction"],
        rows: findings.map(({ part, what, value, p_holm }) => [part, what, value, p_holm]),
      },
    ],
  };
}

function swapsOf({ swaps, tolerance }: AuditResult): Section {
  const title = "The same rows with other groups' words";
  if (swaps.length === 0) return { title, words: ["No row mentions a term that could be swapped."] };
  const name = ({ attribute, groups, label }: (typeof swaps)[number]) =>
    `${attribute}: ${label === null ? "" : `${label}, `}${groups[0]} to ${groups[1]}`;
  const shifted = swaps.flatMap((swap) => (swap.shift ? [{ label: name(swap), ...swap.shift }] : []));
  return {
    title,
    words:
      tolerance === null
        ? []
        : [
            `A number counts as the same where it moves by no more than ${label(tolerance)}, a tenth of the targets' standard deviation.`,
          ],
    charts: [
      intervalChart({
        ...{ title: "Same answer", x: { label: "share of rows, 95 % interval", to: 1 } },
        rows: swaps.slice(0, linesDrawn).map((swap) => ({ label: name(swap), ...swap.agreement })),
      }),
      intervalChart({
        title: tolerance === null ? "Shift of the probability" : "Shift of the number",
        x: { label: "shift, 95 % interval" },
        rows: shifted.slice(0, linesDrawn),
        reference: 0,
      }),
    ],
    tables: [
      {
        caption: "Swaps",
        head: ["attribute", "answer", "from", "to", "rows", "same answer", "shift", "p with Holm's correction"],
        rows: swaps.map(({ attribute, label, groups, rows, agreement, shift, p_holm }): Cell[] => [
          ...[attribute, label, ...groups, rows, agreement, shift, p_holm],
        ]),
      },
      {
        caption: "Rows that moved most",
        head: ["attribute", "line", "before", "after", "answer before", "answer after", "shift"],
        rows: swaps.flatMap(({ attribute, examples }) =>
          examples.map(({ line, before, after, predictions, shift }): Cell[] => [
            attribute,
            line,
            before,
            after,
            ...predictions,
            shift,
          ]),
        ),
      },
    ],
  };
}

function changesOf({ against }: AuditResult): Section[] {
  if (!against) return [];
  const changes = [...against.changes].sort((a, b) => Math.abs(b.difference.value) - Math.abs(a.difference.value));
  return [
    {
      title: `Against ${against.name}`,
      charts: [
        intervalChart({
          ...{ title: "Changes", x: { label: "after minus before, 95 % interval" }, reference: 0 },
          rows: changes.slice(0, linesDrawn).map(({ what, difference }) => ({ label: what, ...difference })),
        }),
      ],
      tables: [
        {
          caption: "Changes",
          head: ["part", "what", "before", "after", "difference"],
          rows: changes.map(({ part, what, before, after, difference }) => [part, what, before, after, difference]),
        },
      ],
    },
  ];
}

function teacherOf({ teacher }: AuditResult): Section[] {
  if (!teacher) return [];
  const { rows, silent, mass, skews, groups } = teacher;
  const drawn = [...skews].sort((a, b) => a.p_holm - b.p_holm).slice(0, linesDrawn);
  return [
    {
      title: "What the teacher said that a student learns from",
      words: [
        `What the teacher gives labels, or the number that it expects, on ${counted(rows, "training row")}, beside the rows' own answers. ${(100 * mass).toFixed(1)} % of its probability is for labels; ${silent === 1 ? "1 row has" : `${silent} rows have`} no label among its most likely tokens.`,
      ],
      charts: [
        intervalChart({
          ...{ title: "The teacher above the rows' answers", x: { label: "difference, 95 % interval" }, reference: 0 },
          rows: drawn.map(({ attribute, group, label, difference }) => ({
            label: `${attribute} ${group}${label === null ? "" : `: ${label}`}`,
            ...difference,
          })),
        }),
      ],
      tables: [
        {
          caption: "The teacher beside the rows' answers",
          head: [
            ...["attribute", "group", "answer", "rows", "share or mean of the rows", "the teacher's", "difference"],
            "p with Holm's correction",
          ],
          rows: skews.map(
            ({ attribute, group, label, rows: own, labels, teacher: said, difference, p_holm }): Cell[] => [
              ...[attribute, group, label, own, labels, said, difference, p_holm],
            ],
          ),
        },
      ],
    },
    gapsOf(groups, "Gaps between groups, as the teacher answers"),
  ];
}

function rowsOf({ data: { splits, of, duplicates, ties, groups } }: AuditResult): Section {
  const { exact, near, contradicting, across_splits } = duplicates;
  const read = splits.map(({ split, rows }) => counted(rows, `${split} row`)).join(", ");
  const gaps = gapParts(groups);
  return {
    title: "The rows",
    words: [
      `Read: ${read}. Copies: ${exact} exact, ${near} near; ${across_splits} across splits, ${contradicting} with another answer.`,
      `Words tied to an answer and answers by group are of the ${of} rows: what a model learns from. ${ties.looked_at} words were looked at.`,
    ],
    charts: gaps.charts,
    tables: [
      ...(ties.means.length > 0 ? [meansTable(ties.means)] : []),
      ...(ties.terms.length > 0 ? [tiesTable(ties.terms)] : []),
      ...gaps.tables,
    ],
  };
}

function meansTable(means: AuditResult["data"]["ties"]["means"]): Table {
  return {
    caption: "Words tied to higher or lower numbers",
    head: [
      ...["word", "names the group", "rows", "mean", "mean of other rows", "difference"],
      "p with Holm's correction",
    ],
    rows: means.map(({ term, group, rows, mean, mean_others, difference, p_holm }): Cell[] => [
      ...[term, group, rows, mean, mean_others, difference, p_holm],
    ]),
  };
}

function tiesTable(terms: AuditResult["data"]["ties"]["terms"]): Table {
  return {
    caption: "Words tied to an answer",
    head: [
      ...["word", "names the group", "answer", "rows", "share with the answer", "share of other rows", "log-odds"],
      "p with Holm's correction",
    ],
    rows: terms.map(({ term, group, label, rows, share, share_others, log_odds, p_holm }): Cell[] => [
      ...[term, group, label, rows, share, share_others, log_odds, p_holm],
    ]),
  };
}
