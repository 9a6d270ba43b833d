// What counts as found: numbers beyond the tolerance, probabilities beyond a twentieth, rates however small.
import { expect, it } from "vitest";
import type { GroupGap, GroupMetric } from "../../src/audit/groups.js";
import type { RowAudit } from "../../src/audit/rows.js";
import { findingsOf, judgeBounds, nothingFound } from "../../src/audit/verdict.js";
import type { Task } from "../../src/task/index.js";

const around = (value: number) => ({ value, low: value - 0.01, high: value + 0.01 });
const gap = (metric: GroupMetric, value: number): GroupGap => ({
  ...{ metric, label: null, rate: null, between: ["a", "b"], ratio: null, ratio_between: null },
  ...{ smallest: 40, p_value: 1e-6, p_holm: 1e-5 },
  difference: around(value),
});
const table = (gaps: GroupGap[]) => [{ attribute: "region", source: "column" as const, groups: [], others: 0, gaps }];
const swap = (value: number) => ({
  ...{ attribute: "names", groups: ["a", "b"] as [string, string], label: null, rows: 40, agreement: around(0.5) },
  ...{ shift: around(value), p_value: 1e-6, p_holm: 1e-5, examples: [] },
});
const tie = (term: string, group: string | null, value: number) => ({
  ...{ term, group, rows: 20, mean: value, mean_others: 0, difference: around(value), p_holm: 1e-5 },
});

const rowsWith = (means: RowAudit["ties"]["means"]): RowAudit => ({
  ...{ splits: [], of: "train", groups: [] },
  duplicates: { exact: 0, near: 0, contradicting: 0, across_splits: 0, examples: [] },
  ties: { looked_at: 3, terms: [], means },
});

it.each([
  [2, ["tied to lower", "mae", "coverage", "shift the number"]],
  [
    0.01,
    ["tied to lower", "tied to higher", "mae", "signed_error", "coverage", "shift the number", "shift the number"],
  ],
])("of numbers, beyond a tolerance of %d", (tolerance, expected) => {
  const means = [tie("zoe", "names: a", -3), tie("bob", "names: b", 1), tie("much", null, 9)];
  const found = findingsOf(rowsWith(means), {
    ...{ tolerance, crows_pairs: null, bbq: null, teacher: null },
    groups: table([gap("mae", 3), gap("signed_error", 1), gap("coverage", 0.2)]),
    swaps: [swap(1), swap(-3)],
  });
  const words = /tied to \w+|mae|signed_error|coverage|shift the \w+/;
  expect(found.map(({ what }) => words.exec(what)![0])).toEqual(expected);
});

it.each([9, 10])("of %d rows: nine are never enough to be accused, nor to break a bound", (rows) => {
  const sure = { value: 0.9, low: 0.8, high: 1, p_holm: 1e-5 };
  const judgement = {
    ...{ tolerance: null, groups: [], teacher: null },
    swaps: [{ ...swap(0.4), rows }],
    crows_pairs: { file: "", preferences: [{ bias: "age", pairs: rows, share: sure, log_ratio: 1, p_holm: 1e-5 }] },
    bbq: {
      ...{ folder: "", rows_found: rows, left_out: 0 },
      categories: [
        { category: "age", ambiguous: { rows, accuracy: sure, bias: sure, p_holm: 1e-5 }, disambiguated: null },
      ],
    },
  };
  const bounds = { flips: 0.1, shift: 0.1, crows_pairs: 0.1, bbq: 0.1 };
  const { passed, failures, unseen } = judgeBounds({ audit: { bounds } } as Task, judgement);
  const found = findingsOf(rowsWith([]), { ...judgement, swaps: [] });
  if (rows < 10) expect([found, passed, failures, unseen]).toEqual([[], true, [], Object.keys(bounds)]);
  else expect([found.length, failures.length, unseen]).toEqual([2, 4, []]);
});

it("a share that is its bound but for rounding is within it: 0.4 - 0.3 is above 0.1", () => {
  const value = 0.4 - 0.3;
  expect(value).toBeGreaterThan(0.1);
  const judged = (flips: number) => {
    const agreement = { value: 1 - flips, low: 1 - flips - 0.05, high: 1 - flips + 0.05 };
    const swaps = [{ ...swap(0), agreement }];
    const judgement = { tolerance: null, groups: [], swaps, crows_pairs: null, bbq: null, teacher: null };
    return judgeBounds({ audit: { bounds: { flips: 0.1 } } } as Task, judgement).passed;
  };
  expect([judged(value), judged(0.1 + 1e-9)]).toEqual([true, false]);
});

it("says where nothing is found how many words are tied to an answer that no list names", () => {
  const found = (means: RowAudit["ties"]["means"]) => nothingFound(rowsWith(means));
  expect(found([])).toMatch(/looked at$/);
  expect(found([tie("zoe", "names: a", 3)])).toMatch(/looked at$/);
  expect(found([tie("mary", null, 3)])).toMatch(/; 1 word that names no group of the lists is tied .* audit\.terms/);
  expect(found([tie("mary", null, 3), tie("john", null, 3)])).toMatch(/; 2 words that name .* are tied/);
});
