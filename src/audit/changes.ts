// What changed between two predictors of the same rows: gaps between groups, and what swaps do, each as a difference with an interval. Knows what
// both answered.
import {
  bootstrapInterval,
  type Estimate,
  type Interval,
  meanOf,
  orNone,
  pairedDifference,
  type RowScore,
  shareOf,
  squareAndAdd,
  statisticsOf,
  tango,
} from "../evaluate/index.js";
import type { GroupGap, GroupTable } from "./groups.js";
import { looksOf } from "./looks.js";
import { type Judged, partsOf } from "./membership.js";
import { isNumberMetric, numberMeasure } from "./numbers.js";
import type { Plan } from "./plan.js";
import { excess, isRight, ratesOf } from "./rates.js";
import type { Swap, Variant } from "./swaps.js";

/** What a predictor said. */
export interface Asked {
  judged: readonly Judged[];
  variants: readonly Variant[];
  /** To the variants; null where one could not be asked. */
  answers: readonly (RowScore | null)[];
}

/** One number before and after, on the rows that both answered. */
export interface AuditChange {
  part: "metric" | "groups" | "swaps" | "crows_pairs" | "bbq";
  /** As "gender: demographic_parity of positive, female above male". */
  what: string;
  before: number;
  after: number;
  difference: Estimate;
}

/** What is different in `after`: the task's metric, every gap, every swap's share of flips and shift. */
export function changesOf(
  plan: Plan,
  { groups, swaps }: { groups: readonly GroupTable[]; swaps: readonly Swap[] },
  after: Asked,
  before: Asked,
): AuditChange[] {
  const earlier = new Map(before.judged.map((judged) => [judged.row.index, judged]));
  const both = after.judged.flatMap((late) => {
    const early = earlier.get(late.row.index);
    return early ? { late, early } : [];
  });
  if (both.length === 0) return [];
  return [
    metricChange(plan, both),
    ...groups.flatMap((table) => gapChanges(plan, table, both)),
    ...swapChanges(plan, swaps, after, before),
  ];
}

type Both = readonly { late: Judged; early: Judged }[];

function metricChange({ task, seed }: Plan, both: Both): AuditChange {
  const [late, early] = [both.map(({ late }) => late.score), both.map(({ early }) => early.score)];
  const labels = Object.keys(late[0]!.probabilities ?? {}).map((text) => ({ value: text, text }));
  const statistic = statisticsOf(task, [...late, ...early], labels)[task.metric]!;
  const rows = Int32Array.from(both.keys());
  return {
    ...{ part: "metric", what: task.metric },
    before: statistic(rows.map((row) => row + both.length)),
    after: statistic(rows),
    difference: pairedDifference(both.length, statistic, seed),
  };
}

function gapChanges(plan: Plan, { attribute, source, gaps }: GroupTable, both: Both): AuditChange[] {
  const membership = plan.memberships.find((one) => one.attribute === attribute && one.source === source)!;
  const early = new Map(both.map((pair) => [pair.late, pair.early]));
  const parts = partsOf(
    membership,
    both.map(({ late }) => late),
  );
  return gaps.flatMap((gap) => {
    const { value, from } = measureOf(gap);
    const columns = gap.between.map((group) =>
      (parts.get(group) ?? []).flatMap((late) => {
        const [mine, others] = [value(late), value(early.get(late)!)];
        return mine === null || others === null ? [] : { late: mine, early: others };
      }),
    );
    const [high, low] = columns as [Column, Column];
    if (high.length === 0 || low.length === 0) return [];
    const gapOf = (when: "late" | "early") => {
      const mean = meanOf([...high, ...low].map((row) => row[when]));
      return (rows: Int32Array) => from(mean(rows.subarray(0, high.length))) - from(mean(rows.subarray(high.length)));
    };
    const [before, after] = [gapOf("early"), gapOf("late")];
    const rows = Int32Array.from({ length: high.length + low.length }, (_, row) => row);
    const change = (chosen: Int32Array) => after(chosen) - before(chosen);
    const of = gap.label === null ? "" : ` of ${gap.label}`;
    return {
      ...{
        part: "groups" as const,
        what: `${attribute}: ${gap.metric}${of}, ${gap.between[0]} above ${gap.between[1]}`,
      },
      ...{ before: before(rows), after: after(rows) },
      difference: gapChange(
        bootstrapInterval(rows.length, change, { seed: plan.seed, parts: [high.length, low.length] }),
        isRate(gap) ? [high, low] : null,
      ),
    };
  });
}

/** The rows of a group. */
type Column = { late: number; early: number }[];

/** What draws give, but where all give the same: then that of rates is from each group's own change, and any other has no interval. */
function gapChange(drawn: Interval, rates: [Column, Column] | null): Estimate {
  const found = orNone(drawn);
  if (found.low !== null) return found;
  const changes = (rates ?? []).map((column) => tango(column[0]!.late - column[0]!.early, column.length));
  const [high, low] = changes;
  return high && low ? squareAndAdd(high, low) : found;
}

/** Whether a metric is a share of rows, and not a mean of probabilities or numbers. */
function isRate({ metric }: GroupGap): boolean {
  return isNumberMetric(metric) ? metric === "coverage" : metric !== "calibration";
}

/** What a gap's metric is the mean of, null for rows that it does not count; and what is made of that mean. */
function measureOf({ metric, label, rate }: GroupGap): ReturnType<typeof numberMeasure> {
  if (isNumberMetric(metric)) return numberMeasure(metric);
  const from = (mean: number) => mean;
  if (metric === "accuracy") return { value: (judged) => Number(isRight(judged)), from };
  if (metric === "calibration") return { value: (judged) => excess(judged, label!), from };
  const rates = ratesOf(label!);
  const { among, hit } =
    metric === "demographic_parity" ? rates.selection : metric === "equal_opportunity" ? rates.tpr : rates[rate!];
  return { value: (judged) => (among(judged) ? Number(hit(judged)) : null), from };
}

const average = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

function swapChanges(plan: Plan, swaps: readonly Swap[], after: Asked, before: Asked): AuditChange[] {
  const key = ({ attribute, to, row }: Variant) => `${attribute}\n${to}\n${row.index}`;
  const earlier = new Map(before.variants.map((variant, place) => [key(variant), place]));
  const looks = new Map(looksOf(plan).map((look) => [look.label, look]));
  return swaps.flatMap(({ attribute, groups, label }) => {
    const look = looks.get(label)!;
    const pairs = [...after.variants.keys()].flatMap((place) => {
      const variant = after.variants[place]!;
      const other = earlier.get(key(variant));
      if (variant.attribute !== attribute || !groups.includes(variant.from) || !groups.includes(variant.to)) return [];
      if (other === undefined || after.answers[place] === null || before.answers[other] === null) return [];
      const sign = variant.from === groups[0] ? 1 : -1;
      const shiftIn = (own: RowScore, answer: RowScore) => {
        const [mine, changed] = [look.value(own, own), look.value(answer, own)];
        return mine === null || changed === null ? null : sign * (changed - mine);
      };
      const [late, early] = [variant.of.score, before.variants[other]!.of.score];
      const [answer, answered] = [after.answers[place]!, before.answers[other]!];
      return {
        flip: {
          late: Number(!look.same(late, answer)),
          early: Number(!look.same(early, answered)),
        },
        shift: { late: shiftIn(late, answer), early: shiftIn(early, answered) },
      };
    });
    const of = label === null ? "" : ` of ${label}`;
    const change = (
      name: "flips" | "shift",
      values: readonly { late: number | null; early: number | null }[],
    ): AuditChange[] => {
      const known = values.filter(
        (value): value is { late: number; early: number } => value.late !== null && value.early !== null,
      );
      if (known.length === 0) return [];
      const [late, early] = [known.map((value) => value.late), known.map((value) => value.early)];
      const mean = name === "flips" ? shareOf : meanOf;
      return [
        {
          ...{ part: "swaps", what: `${attribute}: ${name}${of}, ${groups[0]} to ${groups[1]}` },
          ...{ before: average(early), after: average(late) },
          difference: pairedDifference(known.length, mean([...late, ...early]), plan.seed),
        },
      ];
    };
    return [
      ...change(
        "flips",
        pairs.map(({ flip }) => flip),
      ),
      ...change(
        "shift",
        pairs.map(({ shift }) => shift),
      ),
    ];
  });
}
