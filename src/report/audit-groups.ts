// Groups of rows on the page of an audit: gaps between them, and what each was answered. Draws what was computed; computes nothing.
import { type GroupTable, notCompared } from "../audit/index.js";
import { intervalChart, linesDrawn } from "./interval-chart.js";
import type { Cell, Section, Table } from "./page.js";

export function gapsOf(groups: readonly GroupTable[], title: string): Section {
  const parts = gapParts(groups);
  const left = notCompared(groups);
  if (parts.charts.length === 0) return { title, words: left };
  const words = [
    "The difference is between the highest and the lowest group, the ratio the lowest over the highest; smallest is the smallest group's rows.",
    "The ratio of calibration and of signed errors is that of the groups' expected to observed (1 is calibrated), and the highest and lowest of these may be two other groups. A group has none where nothing was observed.",
    ...left,
  ];
  return { title, words, ...parts };
}

/** The chart and tables of gaps; none of both without a gap. */
export function gapParts(tables: readonly GroupTable[]): Required<Pick<Section, "charts" | "tables">> {
  const gaps = tables.flatMap(({ attribute, gaps: own }) => own.map((gap) => ({ attribute, ...gap })));
  if (gaps.length === 0) return { charts: [], tables: [] };
  const drawn = [...gaps].sort((a, b) => b.difference.value - a.difference.value).slice(0, linesDrawn);
  return {
    charts: [
      intervalChart({
        ...{ title: "Differences", x: { label: "difference, 95 % interval" }, reference: 0 },
        rows: drawn.map(({ attribute, metric, label, difference }) => ({
          label: [attribute, metric, label].filter(Boolean).join(" "),
          ...difference,
        })),
      }),
    ],
    tables: [
      {
        caption: "Gaps",
        head: [
          "attribute",
          "metric",
          "answer",
          "higher",
          "lower",
          "difference",
          "ratio",
          "ratio of",
          "smallest",
          "p with Holm's correction",
        ],
        rows: gaps.map(({ attribute, metric, label, between, difference, ratio, ratio_between, ...gap }): Cell[] => [
          ...[attribute, metric, label, between[0], between[1], difference, ratio],
          ...[ratio_between && `${ratio_between[1]} / ${ratio_between[0]}`, gap.smallest, gap.p_holm],
        ]),
      },
      tables.some(({ groups }) => groups.some(({ numbers }) => numbers !== null))
        ? numbersTable(tables)
        : labelsTable(tables),
    ],
  };
}

function labelsTable(tables: readonly GroupTable[]): Table {
  return {
    caption: "Groups",
    head: [
      ...["attribute", "group", "rows", "accuracy", "answer", "share of answers", "share of predictions"],
      ...["true positive rate", "false positive rate", "calibration", "expected to observed"],
    ],
    rows: tables.flatMap(({ attribute, groups }) =>
      groups.flatMap(({ group, rows, accuracy, labels }) =>
        labels.map((of): Cell[] => [
          ...[attribute, group, rows, accuracy, of.label, of.base_rate, of.selection_rate],
          ...[of.true_positive_rate, of.false_positive_rate, of.calibration, of.expected_to_observed],
        ]),
      ),
    ),
  };
}

function numbersTable(tables: readonly GroupTable[]): Table {
  return {
    caption: "Groups",
    head: [
      ...["attribute", "group", "rows", "mean target", "mean prediction", "mean absolute error"],
      ...["root mean squared error", "mean signed error", "expected to observed", "targets within their intervals"],
    ],
    rows: tables.flatMap(({ attribute, groups }) =>
      groups.flatMap(({ group, rows, numbers }): Cell[][] => {
        if (numbers === null) return [];
        const { mean_target, mean_prediction, mae, rmse, signed_error, expected_to_observed, coverage } = numbers;
        const means = [mean_target, mean_prediction, mae, rmse, signed_error, expected_to_observed];
        return [[attribute, group, rows, ...means, coverage]];
      }),
    ),
  };
}
