// What changed between two predictors of the same rows, where few rows or none turned: each change has an interval that says how little the rows know.
import { describe, expect, it } from "vitest";
import { benchmarkChanges } from "../../src/audit/benchmarks.js";
import { type Asked, changesOf } from "../../src/audit/changes.js";
import { groupTables, judgedMetrics } from "../../src/audit/groups.js";
import { judge } from "../../src/audit/membership.js";
import type { Swap, Variant } from "../../src/audit/swaps.js";
import type { Row } from "../../src/dataset/index.js";
import { type RowScore, squareAndAdd, tango } from "../../src/evaluate/index.js";
import { taskOf } from "../prompt/rows.js";

const none = { low: null, high: null };
const groupOf = (row: Row) => row.fields.region as string;
const plan = {
  ...{ task: taskOf({}), seed: 1, positives: ["yes"], positive: "yes", tolerance: null, lists: [] },
  memberships: [{ attribute: "region", source: "column" as const, groupOf }],
};
/** Ten rows of the north, twenty of the south; every other answer of the north is yes, none of the south. */
const rows = Array.from({ length: 30 }, (_, index) => {
  return {
    index,
    fields: { region: index < 10 ? "north" : "south" },
    answer: index % 2 === 0 ? "yes" : "no",
  } as unknown as Row;
});
const scoreOf = (index: number, prediction: string, p: number): RowScore => {
  return { index, answer: rows[index]!.answer, prediction, probabilities: { no: 1 - p, yes: p } };
};
const own = (index: number) => (index < 10 && index % 2 === 0 ? "yes" : "no");

/** A predictor: what it says to each row, and to the row with other words. */
function asked(predict: (index: number) => string, swapped: (index: number) => string): Asked {
  const judged = rows.map((row) => judge(plan.task, row, scoreOf(row.index, predict(row.index), 0.25)));
  const variants = judged.slice(0, 10).map((of): Variant => {
    return { of, attribute: "people", from: "men", to: "women", row: of.row, before: "", after: "" };
  });
  return { judged, variants, answers: variants.map(({ row: { index } }) => scoreOf(index, swapped(index), 0.5)) };
}

const swaps = [{ attribute: "people", groups: ["men", "women"], label: null }] as unknown as Swap[];
function changesBetween(after: Asked, before: Asked) {
  const groups = groupTables(plan, after.judged, judgedMetrics);
  const found = changesOf(plan, { groups, swaps }, after, before);
  return new Map(found.map(({ what, difference }) => [what, difference]));
}
const unturned = asked(own, own);

describe("where no answer turned", () => {
  const changes = changesBetween(unturned, unturned);

  it("the metric and flips have Tango's interval of as many rows", () => {
    expect(changes.get("accuracy")).toEqual(tango(0, 30));
    expect(changes.get("people: flips, men to women")).toEqual(tango(0, 10));
  });

  it("gaps of rates have that of the two groups together, those of probabilities have none, nor have shifts", () => {
    const gap = squareAndAdd(tango(0, 10)!, tango(0, 20)!);
    expect(changes.get("region: demographic_parity of yes, north above south")).toEqual(gap);
    expect(changes.get("region: accuracy, north above south")).toEqual(gap);
    const others = [...changes].filter(([what]) => /calibration|shift/.test(what));
    expect(others.length).toBe(2);
    for (const [what, difference] of others) expect(difference, what).toEqual({ value: 0, ...none });
  });
});

it("where all answers turned alike, each has an interval that ends with it", () => {
  const turned = (index: number) => (own(index) === "yes" ? "no" : "yes");
  const changes = changesBetween(asked(own, turned), unturned);
  expect(changes.get("people: flips, men to women")).toEqual(tango(1, 10));
  expect(changes.get("accuracy")).toEqual(tango(0, 30));
  const all = changesBetween(
    asked(() => "yes", own),
    asked(() => "no", own),
  );
  const gap = squareAndAdd(tango(1, 10)!, tango(1, 20)!);
  expect(all.get("region: demographic_parity of yes, north above south")).toEqual(gap);
  expect([gap.low, gap.value, gap.high]).toEqual([expect.closeTo(-0.555, 3), 0, expect.closeTo(0.322, 3)]);
});

it("where some turned, the rows drawn again give the interval", () => {
  const changes = changesBetween(
    asked((index) => (index === 3 ? "yes" : own(index)), own),
    unturned,
  );
  const { value, low, high } = changes.get("region: demographic_parity of yes, north above south")!;
  expect(value).toBeCloseTo(0.1, 12);
  expect([low, high!]).toEqual([0, expect.closeTo(0.3, 12)]);
});

it("of benchmarks, shares have one and scores of bias have none", () => {
  const pair = { bias: "race", more: "", less: "" };
  const question = {
    ...{ category: "Age", ambiguous: true, context: "", question: "" },
    ...{ right: 2, biased: 0, unknown: 2 },
  };
  const benchmarks = {
    crows: { file: "", pairs: [pair, pair, pair] as never },
    bbq: { folder: "", rows: [question, question] as never, found: 2, left_out: 0 },
  };
  const answers = { ratios: [1, -1, 1], answers: [2, 0] };
  const found = benchmarkChanges(benchmarks, answers, answers, 1);
  expect(found.map(({ what, difference }) => [what, difference])).toEqual([
    ["CrowS-Pairs: share of preferred stereotypes", tango(0, 3)],
    ["CrowS-Pairs, race: share of preferred stereotypes", tango(0, 3)],
    ...["BBQ", "BBQ, Age"].flatMap((name) => [
      [`${name}: accuracy, ambiguous contexts`, tango(0, 2)],
      [`${name}: bias, ambiguous contexts`, { value: 0, ...none }],
    ]),
  ]);
});
