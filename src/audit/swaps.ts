// What a predictor says to the same rows with the terms of another group in them: counterfactual fairness (Kusner et al. 2017; Garg et al. 2019)
// as far as words can stand for groups. Asks a predictor that it is given; opens no model.
import { type Row, usedFields } from "../dataset/index.js";
import {
  type Estimate,
  estimates,
  holm,
  type Interval,
  meanOf,
  permutationTest,
  type RowScore,
  wilson,
} from "../evaluate/index.js";
import type { Task } from "../task/index.js";
import { type Look, looksOf } from "./looks.js";
import { byTerms, type Judged, leastRows } from "./membership.js";
import type { Plan } from "./plan.js";
import { swapTerms } from "./swap.js";
import type { TermGroups } from "./terms.js";

/** Rows of one group with the terms of another, and back. */
export interface Swap {
  attribute: string;
  /** Terms of the first were put in the place of the second's, and the other way round. */
  groups: [string, string];
  /** Of sets, the label that is looked at, each in turn; null for the answer as a whole. */
  label: string | null;
  rows: number;
  /** Share of rows whose prediction stays; a number does that moves by no more than the audit's tolerance. */
  agreement: Interval;
  /**
   * Mean of a label's probability with the second group's terms minus that with the first's: the label looked at, the favourable one, or of several labels the right
   * answer. Of numbers, their mean difference in the task's units. null without probabilities.
   */
  shift: Estimate | null;
  /** Paired permutation test of the shift; null without one, and of fewer than ten rows. */
  p_value: number | null;
  /** Corrected (Holm) for all swaps of an audit. */
  p_holm: number | null;
  /** The rows that moved most. */
  examples: { line: number; before: string; after: string; shift: number | null; predictions: [string, string] }[];
}

/** A row with other words in it. */
export interface Variant {
  of: Judged;
  attribute: string;
  /** The row's own group, and that whose terms stand in the variant. */
  from: string;
  to: string;
  row: Row;
  /** What of the text was changed, for a reader. */
  before: string;
  after: string;
}

const examplesShown = 3;

/** Every row that mentions one group of an attribute, in a variant for each other group. */
export function variantsOf(lists: readonly TermGroups[], task: Task, rows: readonly Judged[]): Variant[] {
  const fields = usedFields(task).all;
  return lists.flatMap((terms) => {
    const { groupOf } = byTerms(terms, task);
    const names = Object.keys(terms.groups);
    const swaps = new Map(
      names.flatMap((from) =>
        names.filter((to) => to !== from).map((to) => [`${from}\n${to}`, swapTerms(terms, from, to)]),
      ),
    );
    return rows.flatMap((of) => {
      const from = groupOf(of.row);
      if (from === null) return [];
      return names.flatMap((to) => {
        if (to === from) return [];
        const changed = withSwapped(of.row, fields, swaps.get(`${from}\n${to}`)!);
        return changed === null ? [] : [{ of, attribute: terms.attribute, from, to, ...changed }];
      });
    });
  });
}

/** A row whose texts are changed, where any is. */
function withSwapped(row: Row, names: readonly string[], swap: (text: string) => string | null) {
  const fields = Object.assign(Object.create(null) as Row["fields"], row.fields);
  const seen: [string, string][] = [];
  const changed = (value: unknown): unknown => {
    if (typeof value === "string") {
      const other = swap(value);
      if (other !== null) seen.push([value, other]);
      return other ?? value;
    }
    if (Array.isArray(value)) return value.map(changed);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, part]) => [name, name === "role" ? part : changed(part)]),
    );
  };
  for (const name of names) {
    if (fields[name] !== undefined) fields[name] = changed(fields[name]);
  }
  if (seen.length === 0) return null;
  return { row: { ...row, fields }, before: seen[0]![0], after: seen[0]![1] };
}

/** What was said to the variants, in their order; null where one could not be asked. */
export function swapsOf(plan: Plan, variants: readonly Variant[], answers: readonly (RowScore | null)[]): Swap[] {
  const looks = looksOf(plan);
  const found = plan.lists.flatMap((terms) => {
    const names = Object.keys(terms.groups);
    const pairs = names.flatMap((first, place) => names.slice(place + 1).map((second) => [first, second] as const));
    return pairs.flatMap((pair) => {
      const places = [...variants.keys()].filter((place) => {
        const { attribute, from, to } = variants[place]!;
        return attribute === terms.attribute && answers[place] !== null && pair.includes(from) && pair.includes(to);
      });
      if (places.length === 0) return [];
      return looks.map((look) => {
        const asked = places.map((place) => pairedAnswer(variants[place]!, answers[place]!, pair, look));
        const groups: [string, string] = [...pair];
        return { attribute: terms.attribute, groups, label: look.label, ...summed(asked, plan.seed) };
      });
    });
  });
  const corrected = holm(found.map(({ p_value }) => p_value ?? 1));
  return found.map((swap, place) => ({ ...swap, p_holm: swap.p_value === null ? null : corrected[place]! }));
}

interface PairedAnswer {
  variant: Variant;
  same: boolean;
  /** What may shift, with the first group's terms and with the second's. */
  values: [number, number] | null;
  predictions: [string, string];
}

function pairedAnswer(
  variant: Variant,
  answer: RowScore,
  [first]: readonly [string, string],
  look: Look,
): PairedAnswer {
  const own = variant.of.score;
  const inOrder = <T>(mine: T, other: T): [T, T] => (variant.from === first ? [mine, other] : [other, mine]);
  const [mine, other] = [look.value(own, own), look.value(answer, own)];
  return {
    variant,
    same: look.same(own, answer),
    values: mine === null || other === null ? null : inOrder(mine, other),
    predictions: [own.prediction, answer.prediction],
  };
}

function summed(asked: readonly PairedAnswer[], seed: number): Omit<Swap, "attribute" | "groups" | "label" | "p_holm"> {
  const rows = asked.length;
  const known = asked.flatMap(({ values }) => (values === null ? [] : [values]));
  const shifts = known.map(([first, second]) => second - first);
  const moved = ({ values, same }: PairedAnswer) => (values ? Math.abs(values[1] - values[0]) : Number(!same));
  const both = [...known.map(([, second]) => second), ...known.map(([first]) => first)];
  return {
    rows,
    agreement: wilson(asked.filter(({ same }) => same).length, rows),
    shift: known.length === 0 ? null : estimates(known.length, { shift: meanOf(shifts) }, seed).shift,
    p_value: known.length < leastRows ? null : permutationTest(known.length, meanOf(both), seed),
    examples: [...asked]
      .sort((a, b) => moved(b) - moved(a))
      .slice(0, examplesShown)
      .map(({ variant, values, predictions }) => ({
        line: variant.row.line,
        before: variant.before,
        after: variant.after,
        shift: values && values[1] - values[0],
        predictions,
      })),
  };
}
