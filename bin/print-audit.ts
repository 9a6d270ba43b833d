// How an audit looks to a person. Knows the fields of its result; computes nothing.

import { type Gap, notCompared, nothingFound } from "../src/audit/index.js";
import type { AuditResult, GroupTable, RowAudit, Swap } from "../src/index.js";
import { counted } from "../src/support/words.js";
import { clock, colours, interval, plain, share, signed, significant, table } from "./print.js";

/** Most lines of a table; --json has all. */
const linesShown = 25;

export function auditText(result: AuditResult): string {
  const { task, model, adapter, split, rows, errors, data, groups, swaps, against, findings, bounds, limits } = result;
  const c = colours(process.stdout);
  const parts = [c.bold(plain(task)), counted(rows, `${split} row`), plain(adapter ? `${model} + ${adapter}` : model)];
  const out = [
    `${parts.join(" · ")}\n`,
    rowsText(data),
    groupsText(groups, "gaps between groups, as the model answers"),
    ...notCompared(groups).map((words) => `${plain(words)}\n`),
  ];
  out.push(swapsText(swaps), crowsText(result.crows_pairs), bbqText(result.bbq), teacherText(result.teacher));
  if (against) {
    const changes = [...against.changes].sort((a, b) => Math.abs(b.difference.value) - Math.abs(a.difference.value));
    out.push(`\n${c.bold(`against ${plain(against.name)}`)}\n`);
    out.push(
      table([
        ["", "before", "after", "difference", "95 %"],
        ...changes
          .slice(0, linesShown)
          .map(({ what, before, after, difference }) => [
            ...[plain(what), share(before), share(after), signed(difference.value), interval(difference)],
          ]),
      ]),
    );
  }
  out.push(`\n${c.bold("found")}\n`);
  for (const { part, what, value, p_holm } of findings.slice(0, linesShown)) {
    const ends = value.low === null ? "" : ` (${interval(value)})`;
    const size = `${signed(value.value)}${ends}, p = ${significant(p_holm)}`;
    out.push(`${c.yellow("•")} ${part}: ${plain(what)}: ${size}\n`);
  }
  if (findings.length === 0) out.push(`${nothingFound(data)}\n`);
  if (findings.length > linesShown) out.push(`and ${findings.length - linesShown} more (--json)\n`);
  for (const name of bounds.unseen)
    out.push(`${c.yellow(`the bound ${name} was not looked at`)}: this audit has nothing to hold against it\n`);
  if (errors > 0) out.push(`${c.yellow(counted(errors, "bad row"))} left out\n`);
  out.push(
    `\n${c.bold("what this cannot see")}\n${limits.map((limit) => `• ${limit}\n`).join("")}${clock(result.seconds)}\n`,
  );
  return out.join("");
}

function rowsText({ splits, of, duplicates, ties, groups }: RowAudit): string {
  const c = colours(process.stdout);
  const { exact, near, contradicting, across_splits } = duplicates;
  const read = splits.map(({ split, rows }) => counted(rows, `${split} row`)).join(", ");
  const out = [`\n${c.bold("the rows")} · ${read}\n`];
  out.push(
    `copies: ${exact} exact, ${near} near; ${across_splits} across splits, ${contradicting} with another answer\n`,
  );
  if (ties.terms.length > 0) {
    out.push(`words tied to an answer, of ${ties.looked_at} looked at:\n`);
    out.push(
      table([
        ["word", "names", "answer", "rows", "share", "of others", "log-odds", "95 %"],
        ...ties.terms
          .slice(0, 10)
          .map(({ term, group, label, rows, share: own, share_others, log_odds }) => [
            ...[plain(term), plain(group ?? ""), plain(label), `${rows}`, share(own), share(share_others)],
            ...[signed(log_odds.value), interval(log_odds)],
          ]),
      ]),
    );
  }
  if (ties.means.length > 0) {
    out.push(`words tied to higher or lower numbers, of ${ties.looked_at} looked at:\n`);
    out.push(
      table([
        ["word", "names", "rows", "mean", "of others", "difference", "95 %"],
        ...ties.means
          .slice(0, 10)
          .map(({ term, group, rows, mean, mean_others, difference }) => [
            ...[plain(term), plain(group ?? ""), `${rows}`, share(mean), share(mean_others)],
            ...[signed(difference.value), interval(difference)],
          ]),
      ]),
    );
  }
  return `${out.join("")}${groupsText(groups, `answers by group, in the ${of} rows`)}`;
}

function groupsText(tables: readonly GroupTable[], title: string): string {
  const gaps = tables.flatMap(({ attribute, gaps }) => gaps.map((gap) => ({ attribute, ...gap })));
  if (gaps.length === 0) return "";
  const shown = gaps
    .sort((a, b) => a.p_holm - b.p_holm || b.difference.value - a.difference.value)
    .slice(0, linesShown);
  return `\n${colours(process.stdout).bold(title)}\n${table([
    ["", "", "answer", "higher", "lower", "difference", "95 %", "ratio", "95 %", "smallest", "p (Holm)"],
    ...shown.map(({ attribute, metric, label, between, difference, smallest, p_holm, ...gap }) => [
      ...[plain(attribute), metric, plain(label ?? ""), plain(between[0]), plain(between[1]), share(difference.value)],
      ...[interval(difference), ...ratioCells(gap, between), `${smallest}`, significant(p_holm)],
    ]),
  ])}`;
}

/** The interval with its two groups where they are others than the difference's. */
function ratioCells({ ratio, ratio_between }: Pick<Gap, "ratio" | "ratio_between">, between: [string, string]) {
  if (ratio === null || ratio_between === null) return ["", ""];
  const [high, low] = ratio_between;
  const others = high === between[0] && low === between[1] ? "" : ` (${plain(low)} / ${plain(high)})`;
  return [share(ratio.value), `${interval(ratio)}${others}`];
}

function swapsText(swaps: readonly Swap[]): string {
  const title = `\n${colours(process.stdout).bold("the same rows with other groups' words")}\n`;
  if (swaps.length === 0) return `${title}no row mentions a term that could be swapped\n`;
  const shown = [...swaps].sort((a, b) => (a.p_holm ?? 1) - (b.p_holm ?? 1)).slice(0, linesShown);
  return `${title}${table([
    ["", "answer", "from", "to", "rows", "same answer", "95 %", "shift", "95 %", "p (Holm)"],
    ...shown.map(({ attribute, label, groups, rows, agreement, shift, p_holm }) => [
      ...[plain(attribute), plain(label ?? ""), plain(groups[0]), plain(groups[1]), `${rows}`],
      ...[share(agreement.value), interval(agreement)],
      ...(shift ? [signed(shift.value), interval(shift)] : ["", ""]),
      p_holm === null ? "" : significant(p_holm),
    ]),
  ])}`;
}

function crowsText(result: AuditResult["crows_pairs"]): string {
  if (result === null) return "";
  const title = `\n${colours(process.stdout).bold("CrowS-Pairs")}: share of pairs whose stereotype is the more likely sentence\n`;
  return `${title}${table([
    ["", "pairs", "share", "95 %", "mean log ratio", "p (Holm)"],
    ...result.preferences.map(({ bias, pairs, share: found, log_ratio, p_holm }) => [
      ...[plain(bias), `${pairs}`, share(found.value), interval(found), signed(log_ratio), significant(p_holm)],
    ]),
  ])}`;
}

function bbqText(result: AuditResult["bbq"]): string {
  if (result === null) return "";
  const lines = result.categories.flatMap(({ category, ambiguous, disambiguated }) =>
    Object.entries({ ambiguous, disambiguated }).flatMap(([context, score]) => {
      if (score === null) return [];
      const { rows, accuracy, bias, p_holm } = score;
      const known = [plain(category), context, `${rows}`, share(accuracy.value), interval(accuracy)];
      return [[...known, signed(bias.value), interval(bias), significant(p_holm)]];
    }),
  );
  const head = ["", "context", "rows", "accuracy", "95 %", "bias", "95 %", "p (Holm)"];
  return `\n${colours(process.stdout).bold("BBQ")}\n${table([head, ...lines])}`;
}

function teacherText(result: AuditResult["teacher"]): string {
  if (result === null) return "";
  const { rows, silent, mass, skews, groups } = result;
  const title = colours(process.stdout).bold("what the teacher said that a student learns from");
  const said = `${counted(rows, "training row")}; ${share(mass)} of its probability is for labels${silent > 0 ? `; ${counted(silent, "row")} without any` : ""}`;
  const shown = [...skews].sort((a, b) => a.p_holm - b.p_holm).slice(0, linesShown);
  const lines = shown.map(({ attribute, group, label, rows: own, labels, teacher, difference, p_holm }) => [
    ...[plain(attribute), plain(group), plain(label ?? ""), `${own}`, share(labels), share(teacher)],
    ...[signed(difference.value), interval(difference), significant(p_holm)],
  ]);
  const head = ["", "group", "answer", "rows", "of the rows", "teacher", "difference", "95 %", "p (Holm)"];
  return `\n${title} · ${said}\n${lines.length > 0 ? table([head, ...lines]) : "no group has ten rows\n"}${groupsText(groups, "gaps between groups, as the teacher answers")}`;
}
