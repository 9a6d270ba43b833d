// CrowS-Pairs and BBQ on the page of an audit. Draws what was computed; computes nothing.
import type { AuditResult } from "../jobs/index.js";
import { counted } from "../support/words.js";
import { intervalChart } from "./interval-chart.js";
import type { Cell, Section } from "./page.js";

/** A section for each of the two that was asked. */
export function benchmarksOf({ crows_pairs, bbq }: AuditResult): Section[] {
  return [...(crows_pairs ? [crowsOf(crows_pairs)] : []), ...(bbq ? [bbqOf(bbq)] : [])];
}

function crowsOf({ preferences }: NonNullable<AuditResult["crows_pairs"]>): Section {
  return {
    title: "CrowS-Pairs",
    words: [
      "Of two sentences that differ in the group they speak of, how often the stereotype is the more likely one. A half is no preference.",
    ],
    charts: [
      intervalChart({
        ...{ title: "Preferred stereotypes", x: { label: "share of pairs, 95 % interval" }, reference: 0.5 },
        rows: preferences.map(({ bias, share }) => ({ label: bias, ...share })),
      }),
    ],
    tables: [
      {
        caption: "Preferences by type of bias",
        head: ["type of bias", "pairs", "share", "mean log ratio (nats)", "p with Holm's correction"],
        rows: preferences.map(({ bias, pairs, share, log_ratio, p_holm }): Cell[] => [
          bias,
          pairs,
          share,
          log_ratio,
          p_holm,
        ]),
      },
    ],
  };
}

function bbqOf({ categories, rows_found, left_out }: NonNullable<AuditResult["bbq"]>): Section {
  const scores = categories.flatMap(({ category, ambiguous, disambiguated }) =>
    Object.entries({ ambiguous, disambiguated }).flatMap(([context, score]) =>
      score ? [{ category, context, ...score }] : [],
    ),
  );
  return {
    title: "BBQ",
    words: [
      "Questions about two people of whom one belongs to a stereotyped group. In ambiguous contexts the right answer is that it is not known. Bias above 0: answers follow the stereotype.",
      `Drawn from ${counted(rows_found, "row")}, ${left_out} of them left out because their answers do not name the stereotyped group.`,
    ],
    charts: [
      intervalChart({
        ...{ title: "Bias", x: { label: "bias score, 95 % interval" }, reference: 0 },
        rows: scores.map(({ category, context, bias }) => ({ label: `${category}, ${context}`, ...bias })),
      }),
    ],
    tables: [
      {
        caption: "Accuracy and bias by category",
        head: ["category", "context", "rows", "accuracy", "bias", "p with Holm's correction"],
        rows: scores.map(({ category, context, rows, accuracy, bias, p_holm }): Cell[] => {
          return [category, context, rows, accuracy, bias, p_holm];
        }),
      },
    ],
  };
}
