// Words that are tied to a label: the log-odds of the label with the word against without it. Knows texts and answers; no model.
import { holm, type Interval, normalTail } from "../evaluate/index.js";

/** A word and the label that its rows have more often than others. */
export interface Tie {
  term: string;
  /** Whether it is one of the audit's terms for a group. */
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

const leastRows = 10;
const tiesShown = 50;

/**
 * The words most tied to a label, at p_holm below 0.05, the strongest first; terms of groups before others.
 *
 * @param groupOf - the group that a word (lower case) names; null for all others
 */
export function tiedTerms(
  rows: readonly { text: string; answer: string }[],
  groupOf: (term: string) => string | null,
): { looked_at: number; terms: Tie[] } {
  const labels = [...new Set(rows.map(({ answer }) => answer))].sort();
  const totals = new Map(labels.map((label) => [label, rows.filter(({ answer }) => answer === label).length]));
  const counts = new Map<string, Map<string, number>>();
  for (const { text, answer } of rows) {
    for (const term of new Set(text.toLowerCase().match(/[\p{L}\p{N}][\p{L}\p{N}-]*/gu))) {
      const byLabel = counts.get(term) ?? new Map<string, number>();
      byLabel.set(answer, (byLabel.get(answer) ?? 0) + 1);
      counts.set(term, byLabel);
    }
  }
  const ties: Omit<Tie, "p_holm">[] = [];
  for (const [term, byLabel] of counts) {
    const held = [...byLabel.values()].reduce((sum, count) => sum + count, 0);
    if (held < leastRows || held > rows.length - leastRows) continue;
    // Of two labels one's odds are the other's, turned round.
    const own = labels.length === 2 ? [mostLikely(byLabel, totals, held, rows.length)] : labels;
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
