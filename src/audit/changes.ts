// What changed between two predictors of the same rows: gaps between groups, and what swaps do, each as a difference with an interval. Knows what
// both answered.
import {
  bootstrapInterval,
  type Interval,
  meanOf,
  pairedDifference,
  type RowScore,
  statisticsOf,
} from "../evaluate/index.js";
import { Random } from "../support/random.js";
import { excess, type GroupGap, type GroupTable, type Judged, partsOf, ratesOf } from "./groups.js";
import type { Plan } from "./plan.js";
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
  difference: Interval;
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
    const value = countedBy(gap);
    const columns = gap.between.map((group) =>
      (parts.get(group) ?? []).flatMap((late) => {
        const [mine, others] = [value(late), value(early.get(late)!)];
        return mine === null || others === null ? [] : { late: mine, early: others };
      }),
    );
    const [high, low] = columns as [{ late: number; early: number }[], { late: number; early: number }[]];
    if (high.length === 0 || low.length === 0) return [];
    const gapOf = (when: "late" | "early") =>
      average(high.map((row) => row[when])) - average(low.map((row) => row[when]));
    const changed = (rows: typeof high) => rows.map((row) => row.late - row.early);
    const of = gap.label === null ? "" : ` of ${gap.label}`;
    return {
      ...{
        part: "groups" as const,
        what: `${attribute}: ${gap.metric}${of}, ${gap.between[0]} above ${gap.between[1]}`,
      },
      ...{ before: gapOf("early"), after: gapOf("late") },
      difference: differenceOfMeans(changed(high), changed(low), plan.seed),
    };
  });
}

/** What a gap's metric is the mean of; null for rows that it does not count. */
function countedBy({ metric, label, rate }: GroupGap): (judged: Judged) => number | null {
  if (metric === "accuracy") return ({ score }) => Number(score.answer === score.prediction);
  if (metric === "calibration") return (judged) => excess(judged, label!);
  const rates = ratesOf(label!);
  const { among, hit } =
    metric === "demographic_parity" ? rates.selection : metric === "equal_opportunity" ? rates.tpr : rates[rate!];
  return (judged) => (among(judged) ? Number(hit(judged)) : null);
}

const average = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Mean of one set minus mean of the other; interval by bootstrap within each. */
function differenceOfMeans(one: readonly number[], other: readonly number[], seed: number): Interval {
  const random = new Random(seed, 1);
  const drawn = Float64Array.from(other);
  return bootstrapInterval(
    one.length,
    (rows) => {
      // The first call is that with the rows as they are.
      const difference = meanOf(one)(rows) - average([...drawn]);
      for (let row = 0; row < drawn.length; row++) drawn[row] = other[random.below(other.length)]!;
      return difference;
    },
    { seed },
  );
}

function swapChanges(plan: Plan, swaps: readonly Swap[], after: Asked, before: Asked): AuditChange[] {
  const key = ({ attribute, to, row }: Variant) => `${attribute}\n${to}\n${row.index}`;
  const earlier = new Map(before.variants.map((variant, place) => [key(variant), place]));
  return swaps.flatMap(({ attribute, groups }) => {
    const pairs = [...after.variants.keys()].flatMap((place) => {
      const variant = after.variants[place]!;
      const other = earlier.get(key(variant));
      if (variant.attribute !== attribute || !groups.includes(variant.from) || !groups.includes(variant.to)) return [];
      if (other === undefined || after.answers[place] === null || before.answers[other] === null) return [];
      const sign = variant.from === groups[0] ? 1 : -1;
      const shiftIn = (own: RowScore, answer: RowScore) => {
        const label = plan.positive ?? own.answer;
        const [mine, changed] = [own.probabilities?.[label], answer.probabilities?.[label]];
        return mine === undefined || changed === undefined ? null : sign * (changed - mine);
      };
      const [late, early] = [variant.of.score, before.variants[other]!.of.score];
      const [answer, answered] = [after.answers[place]!, before.answers[other]!];
      return {
        flip: {
          late: Number(answer.prediction !== late.prediction),
          early: Number(answered.prediction !== early.prediction),
        },
        shift: { late: shiftIn(late, answer), early: shiftIn(early, answered) },
      };
    });
    const change = (name: string, values: readonly { late: number | null; early: number | null }[]): AuditChange[] => {
      const known = values.filter(
        (value): value is { late: number; early: number } => value.late !== null && value.early !== null,
      );
      if (known.length === 0) return [];
      const differences = known.map(({ late, early }) => late - early);
      return [
        {
          ...{ part: "swaps", what: `${attribute}: ${name}, ${groups[0]} to ${groups[1]}` },
          ...{ before: average(known.map(({ early }) => early)), after: average(known.map(({ late }) => late)) },
          difference: bootstrapInterval(known.length, meanOf(differences), { seed: plan.seed }),
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
