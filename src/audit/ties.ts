// Words that are tied to a label, by the log-odds of the label with the word against without it, or to higher or lower numbers, by the difference of the means. Knows
// texts and answers; no model.
import {
  type Estimate,
  holm,
  type Interval,
  type Moments,
  meansDifference,
  meansTest,
  momentsOf,
  normalTail,
} from "../evaluate/index.js";
import { leastRows } from "./membership.js";

/** A word and the label that its rows have more often than others. */
export interface Tie {
  term: string;
  /** Of an audit's term the attribute and group that it names, of a given name who mostly bears it; null for all other words. */
  group: string | null;
  label: string;
  /** Rows that hold the word. */
  rows: number;
  /** Share of these with the label, and of all other rows. */
  share: number;
  share_others: number;
  /** ln of the odds ratio, half a row added to each count (Haldane 1956); 0 is no tie. */
  log_odds: Interval;
  /** Corrected (Holm) for all words and labels that were looked at. */
  p_holm: number;
}

/** A word whose rows have other numbers than all others. */
export interface MeanTie {
  term: string;
  /** Of an audit's term the attribute and group that it names, of a given name who mostly bears it; null for all other words. */
  group: string | null;
  /** Rows that hold the word. */
  rows: number;
  /** Mean number of these, and of all other rows. */
  mean: number;
  mean_others: number;
  /** Of the two means, by Welch's interval; 0 is no tie. */
  difference: Estimate;
  /** Corrected (Holm) for all words that were looked at. */
  p_holm: number;
}

const tiesShown = 50;

const wordsOf = (text: string) => new Set(text.toLowerCase().match(/[\p{L}\p{N}][\p{L}\p{N}-]*/gu));

/** The group that a word (lower case) names; null for all others. */
type GroupOf = (term: string) => string | null;

/**
 * The words most tied to a label, at p_holm below 0.05, the strongest first; terms of groups before others.
 *
 * @param rows - with the labels of each answer: one, or those of a set
 * @param groupOf - the group that a word (lower case) names; null for all others
 * @param sets - whether answers are sets of labels
 */
export function tiedTerms(
  rows: readonly { text: string; labels: readonly string[] }[],
  groupOf: GroupOf,
  sets = false,
): { looked_at: number; terms: Tie[] } {
  const labels = [...new Set(rows.flatMap((row) => row.labels))].sort();
  const totals = new Map(labels.map((label) => [label, rows.filter((row) => row.labels.includes(label)).length]));
  const counts = new Map<string, { held: number; byLabel: Map<string, number> }>();
  for (const { text, labels: own } of rows) {
    for (const term of wordsOf(text)) {
      const count = counts.get(term) ?? { held: 0, byLabel: new Map<string, number>() };
      count.held += 1;
      for (const label of own) count.byLabel.set(label, (count.byLabel.get(label) ?? 0) + 1);
      counts.set(term, count);
    }
  }
  const ties: Omit<Tie, "p_holm">[] = [];
  for (const [term, { held, byLabel }] of counts) {
    if (held < leastRows || held > rows.length - leastRows) continue;
    // Of two labels, of which each row has one, one's odds are the other's, turned round.
    const own = labels.length === 2 && !sets ? [mostLikely(byLabel, totals, held, rows.length)] : labels;
    for (const label of own) {
      const total = totals.get(label)!;
      ties.push({ term, group: groupOf(term), label, ...tieOf(byLabel.get(label) ?? 0, held, total, rows.length) });
    }
  }
  const corrected = holm(ties.map(({ log_odds }) => pValue(log_odds)));
  const terms = ties
    .map((tie, place) => ({ ...tie, p_holm: corrected[place]! }))
    .filter(({ p_holm, log_odds }) => p_holm < 0.05 && log_odds.value > 0)
    .sort((a, b) => Number(b.group !== null) - Number(a.group !== null) || b.log_odds.low - a.log_odds.low);
  return { looked_at: ties.length, terms: terms.slice(0, tiesShown) };
}

/** The words whose rows have the most different numbers, at p_holm below 0.05, the strongest first; terms of groups before others. */
export function tiedMeans(
  rows: readonly { text: string; number: number }[],
  groupOf: GroupOf,
): { looked_at: number; means: MeanTie[] } {
  if (rows.length < 2) return { looked_at: 0, means: [] };
  const all = momentsOf(rows.map(({ number }) => number));
  // Sums of distances from the mean of all, whose squares lose nothing to rounding.
  const sums = new Map<string, { rows: number; sum: number; squares: number }>();
  for (const { text, number } of rows) {
    const distance = number - all.mean;
    for (const term of wordsOf(text)) {
      const own = sums.get(term) ?? { rows: 0, sum: 0, squares: 0 };
      sums.set(term, { rows: own.rows + 1, sum: own.sum + distance, squares: own.squares + distance ** 2 });
    }
  }
  const squares = all.variance * (all.rows - 1);
  const compared = [...sums].flatMap(([term, own]) => {
    const others = { rows: all.rows - own.rows, sum: -own.sum, squares: squares - own.squares };
    if (own.rows < leastRows || others.rows < leastRows) return [];
    return { term, with: momentsBy(own), without: momentsBy(others) };
  });
  const corrected = holm(compared.map((one) => meansTest(one.with, one.without)));
  const means = compared
    .map((one, place) => ({ ...one, p_holm: corrected[place]! }))
    .filter(({ p_holm }) => p_holm < 0.05)
    .map(({ term, with: own, without, p_holm }) => ({
      ...{
        term,
        group: groupOf(term),
        rows: own.rows,
        mean: all.mean + own.mean,
        mean_others: all.mean + without.mean,
      },
      ...{ difference: meansDifference(own, without), p_holm },
    }))
    .sort((a, b) => Number(b.group !== null) - Number(a.group !== null) || a.p_holm - b.p_holm);
  return { looked_at: compared.length, means: means.slice(0, tiesShown) };
}

function momentsBy({ rows, sum, squares }: { rows: number; sum: number; squares: number }): Moments {
  const mean = sum / rows;
  return { rows, mean, variance: Math.max(0, squares - rows * mean ** 2) / (rows - 1) };
}

function mostLikely(byLabel: Map<string, number>, totals: Map<string, number>, held: number, rows: number): string {
  const [first, second] = [...totals.keys()] as [string, string];
  return (byLabel.get(first) ?? 0) / held >= totals.get(first)! / rows ? first : second;
}

function tieOf(hits: number, held: number, total: number, rows: number) {
  const [a, b, c, d] = [hits, held - hits, total - hits, rows - held - total + hits].map((count) => count + 0.5) as [
    number,
    number,
    number,
    number,
  ];
  const value = Math.log((a * d) / (b * c));
  const half = 1.959963984540054 * Math.sqrt(1 / a + 1 / b + 1 / c + 1 / d);
  return {
    rows: held,
    share: hits / held,
    share_others: (total - hits) / (rows - held),
    log_odds: { value, low: value - half, high: value + half },
  };
}

/** Wald's test of the log-odds, from its interval. */
function pValue({ value, low }: Interval): number {
  return 2 * normalTail(Math.abs(value) / ((value - low) / 1.959963984540054));
}
