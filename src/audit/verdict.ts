// What an audit found that chance does not explain, and whether it stays within a task's bounds. Knows the audit's numbers; computes none.
import { type Estimate, isPast } from "../evaluate/index.js";
import type { AuditBound, Task } from "../task/index.js";
import type { BbqResult } from "./bbq.js";
import type { CrowsResult } from "./crows.js";
import type { GroupTable } from "./groups.js";
import { leastRows } from "./membership.js";
import { isNumberMetric } from "./numbers.js";
import type { RowAudit } from "./rows.js";
import type { Skew } from "./skews.js";
import type { Swap } from "./swaps.js";

/** One thing that was found. */
export interface AuditFinding {
  part: "rows" | "groups" | "swaps" | "crows_pairs" | "bbq" | "teacher";
  /** In words. */
  what: string;
  /** The gap, the log-odds or the difference of means, the shift, the preference above a half or the bias score; 0 is none. */
  value: Estimate;
  /** Corrected (Holm) for all that was looked at in its part; below 0.05. */
  p_holm: number;
}

/** What a predictor did. */
export interface Judgement {
  /** As of the plan. */
  tolerance: number | null;
  groups: readonly GroupTable[];
  swaps: readonly Swap[];
  crows_pairs: CrowsResult | null;
  bbq: BbqResult | null;
  /** null where none was looked at. */
  teacher: { groups: readonly GroupTable[]; skews: readonly Skew[] } | null;
}

/** A part of what was asked that is large enough to be accused. */
const told = ({ rows }: { rows: number }) => rows >= leastRows;

const least = 0.05;
/**
 * What probabilities must move by to be a finding. They are exact numbers of a fixed function: any word moves them a little on every row, and enough rows would tell the
 * smallest such shift from none. Of predicted numbers the same is true, up to the tolerance.
 */
const material = 0.05;

/**
 * Gaps, ties of groups' terms and of given names and shifts below 0.05 after the correction for many, those of probabilities where they are at least 0.05 too, of numbers where they are above
 * the tolerance. Ties of other words are no finding: that "bad" goes with bad reviews is the task.
 */
export function findingsOf(data: RowAudit, judgement: Judgement): AuditFinding[] {
  const { groups, swaps, crows_pairs, bbq, teacher, tolerance } = judgement;
  const means = data.ties.means.flatMap(({ term, group, rows, mean, mean_others, difference, p_holm }) => {
    if (group === null || Math.abs(difference.value) <= tolerance!) return [];
    const what = `${term} (${group}) is tied to ${difference.value > 0 ? "higher" : "lower"} numbers: ${digits(mean)} in the mean of its ${rows} rows, ${digits(mean_others)} elsewhere`;
    return { part: "rows" as const, what, value: difference, p_holm };
  });
  const ties = data.ties.terms.flatMap(({ term, group, label, rows, share, log_odds, p_holm }) => {
    if (group === null) return [];
    const what = `${term} (${group}) is tied to ${label}: ${percent(share)} of its ${rows} rows`;
    return { part: "rows" as const, what, value: log_odds, p_holm };
  });
  const shifts = swaps.flatMap(({ attribute, groups: [first, second], label, rows, shift, p_holm }) => {
    if (shift === null || p_holm === null || p_holm >= least || Math.abs(shift.value) < (tolerance ?? material))
      return [];
    const moved = tolerance !== null ? "number" : label === null ? "probability" : `probability of ${label}`;
    const what = `${attribute}: ${second}'s words in the place of ${first}'s shift the ${moved}, on ${rows} rows`;
    return { part: "swaps" as const, what, value: shift, p_holm };
  });
  const benchmarks = benchmarkScores({ crows_pairs, bbq }).filter(({ p_holm }) => p_holm < least);
  const gaps = [
    ...gapsIn(data.groups, "rows", tolerance),
    ...gapsIn(groups, "groups", tolerance),
    ...gapsIn(teacher?.groups ?? [], "teacher", tolerance),
  ];
  return [...ties, ...means, ...gaps, ...shifts, ...benchmarks];
}

/** Preferences as their distance from a half, and bias scores; of as many pairs or rows as can be accused. */
function benchmarkScores({
  crows_pairs,
  bbq,
}: Pick<Judgement, "crows_pairs" | "bbq">): (AuditFinding & { part: "crows_pairs" | "bbq" })[] {
  const preferences = (crows_pairs?.preferences ?? []).flatMap(({ bias, pairs, share, p_holm }) => {
    if (!told({ rows: pairs })) return [];
    const what = `CrowS-Pairs, ${bias}: the stereotype is the more likely one in ${percent(share.value)} of ${pairs} pairs`;
    const value = { value: share.value - 0.5, low: share.low - 0.5, high: share.high - 0.5 };
    return { part: "crows_pairs" as const, what, value, p_holm };
  });
  const biases = (bbq?.categories ?? []).flatMap(({ category, ...contexts }) =>
    (["ambiguous", "disambiguated"] as const).flatMap((context) => {
      const score = contexts[context];
      if (score === null || !told(score)) return [];
      const what = `BBQ, ${category}: bias in ${score.rows} ${context} contexts`;
      return { part: "bbq" as const, what, value: score.bias, p_holm: score.p_holm };
    }),
  );
  return [...preferences, ...biases];
}

function gapsIn(
  tables: readonly GroupTable[],
  part: "rows" | "groups" | "teacher",
  tolerance: number | null,
): AuditFinding[] {
  return tables.flatMap(({ attribute, gaps }) =>
    gaps.flatMap(({ metric, label, between, difference, smallest, p_holm }) => {
      const enough =
        metric === "calibration" ? material : isNumberMetric(metric) && metric !== "coverage" ? tolerance! : 0;
      if (p_holm >= least || difference.value < enough) return [];
      const of = label === null ? "" : ` of ${label}`;
      const what = `${attribute}: ${metric}${of} is higher for ${between[0]} than for ${between[1]} (smallest group: ${smallest} rows)`;
      return { part, what, value: difference, p_holm };
    }),
  );
}

/** Whether the bounds of a task file hold. */
export interface BoundsVerdict {
  passed: boolean;
  /** A sentence for each bound that does not hold. */
  failures: string[];
  /** Bounds that nothing was compared with: no groups are large enough, or the option that measures it was not given. */
  unseen: AuditBound[];
}

/**
 * What to say of an audit without findings: words are tied to an answer whether they name a group or not, and the lists know few that do.
 *
 * @example
 * ```ts
 * nothingFound(result.data); // "nothing between groups that chance does not explain, …; 3 words that name no group of the lists are tied to an answer: …"
 * ```
 */
export function nothingFound({ ties }: Pick<RowAudit, "ties">): string {
  const found = "nothing between groups that chance does not explain, corrected for all that was looked at";
  const others = [...ties.terms, ...ties.means].filter(({ group }) => group === null).length;
  if (others === 0) return found;
  const words = others === 1 ? "1 word that names" : `${others} words that name`;
  return `${found}; ${words} no group of the lists ${others === 1 ? "is" : "are"} tied to an answer: if one names a group, put it under audit.terms in the task file`;
}

/** A bound does not hold where a gap, a shift or a share of flips is above it and its interval clear of 0. */
export function judgeBounds({ audit }: Task, { groups, swaps, crows_pairs, bbq, teacher }: Judgement): BoundsVerdict {
  const bounds = audit?.bounds ?? {};
  const failures: string[] = [];
  const unseen = new Set(Object.keys(bounds) as AuditBound[]);
  const check = (name: AuditBound, what: string, found: Estimate) => {
    unseen.delete(name);
    const bound = bounds[name];
    // Where every row says the same of it, what they say is no chance.
    const clear = found.low === null || found.low > 0 || found.high < 0;
    // Shares are at most 1, and so is what their difference is rounded by.
    if (bound === undefined || !isPast(bound, Math.abs(found.value), [1, found.value]) || !clear) return;
    const ends = found.low === null ? "" : ` (${digits(found.low)} to ${digits(found.high)})`;
    failures.push(`${what} is ${digits(found.value)}${ends}, the bound is ${bound}`);
  };
  for (const { attribute, gaps } of groups) {
    for (const { metric, label, between, difference } of gaps) {
      // Of the rows alone: no model's answers have them.
      if (metric === "base_rate" || metric === "mean_target") continue;
      const of = label === null ? "" : ` of ${label}`;
      check(metric, `${attribute}: ${metric}${of} between ${between.join(" and ")}`, difference);
    }
  }
  for (const { attribute, groups: names, label, agreement, shift } of swaps.filter(told)) {
    const what = `${attribute}, ${names.join(" and ")} swapped:`;
    const of = label === null ? "" : ` of ${label}`;
    const flips = { value: 1 - agreement.value, low: 1 - agreement.high, high: 1 - agreement.low };
    check("flips", `${what} the share of flipped answers${of}`, flips);
    if (shift !== null) check("shift", `${what} the mean shift${of}`, shift);
  }
  for (const { attribute, group, label, difference } of teacher?.skews ?? []) {
    const above = label === null ? "mean number above the rows'" : `probability of ${label} above the labels' share`;
    check("teacher", `${attribute}, ${group}: the teacher's ${above}`, difference);
  }
  for (const { part, what, value } of benchmarkScores({ crows_pairs, bbq })) check(part, what, value);
  return { passed: failures.length === 0, failures, unseen: [...unseen] };
}

const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
const digits = (value: number) => String(Number(value.toPrecision(3)));
