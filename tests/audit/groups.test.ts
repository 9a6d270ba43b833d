// Group metrics against Fairlearn, their intervals and tests against statsmodels and SciPy (tests/golden/golden_audit.py).
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type GroupMetric, groupTables, type Judged } from "../../src/audit/groups.js";
import { fisherExact, meanGap, rateGap } from "../../src/audit/proportions.js";
import type { Row } from "../../src/dataset/index.js";
import { normalQuantile } from "../../src/evaluate/index.js";

interface Both {
  difference: number;
  ratio: number;
}
interface Case {
  name: string;
  group: string[];
  answers: number[];
  predictions: number[];
  probabilities: number[];
  groups: Record<string, Record<string, number>>;
  demographic_parity: Both;
  equal_opportunity: Both;
  equalized_odds: Both;
  accuracy: Both;
}
const golden = JSON.parse(readFileSync(new URL("../golden/audit.json", import.meta.url), "utf8")) as {
  cases: Case[];
  proportions: { counts: [number, number, number, number]; fisher: number; difference: number[]; ratio: number[] }[];
  means: { high: number[]; low: number[]; p: number; interval: number[] }[];
  quantiles: [number, number][];
};

const metrics: GroupMetric[] = ["demographic_parity", "equal_opportunity", "equalized_odds", "calibration", "accuracy"];
const inGroup = (name: string) => ({ fields: { name } }) as unknown as Row;
const membership = { attribute: "name", source: "column" as const, groupOf: (row: Row) => row.fields.name as string };

function judged({
  group,
  answers,
  predictions,
  probabilities,
}: Pick<Case, "group" | "answers" | "predictions" | "probabilities">): Judged[] {
  const text = (label: number) => (label === 1 ? "yes" : "no");
  return group.map((name, index) => ({
    row: inGroup(name),
    score: {
      index,
      answer: text(answers[index]!),
      prediction: text(predictions[index]!),
      probabilities: { no: 1 - probabilities[index]!, yes: probabilities[index]! },
    },
  }));
}

describe("group metrics, as Fairlearn", () => {
  it.each(golden.cases)("$name", (expected) => {
    const [table] = groupTables([membership], judged(expected), ["yes"], metrics);
    expect(table!.groups.map(({ group }) => group)).toEqual(Object.keys(expected.groups));
    for (const { group, accuracy, labels } of table!.groups) {
      const { label, ...rates } = labels[0]!;
      for (const [name, value] of Object.entries({ ...rates, accuracy })) {
        expect(value, `${group} ${name}`).toBeCloseTo(expected.groups[group]![name]!, 12);
      }
    }
    for (const metric of ["demographic_parity", "equal_opportunity", "equalized_odds", "accuracy"] as const) {
      const gap = table!.gaps.find((one) => one.metric === metric)!;
      expect(gap.difference.value, metric).toBeCloseTo(expected[metric].difference, 12);
      expect(gap.ratio!.value, `${metric} ratio`).toBeCloseTo(expected[metric].ratio, 12);
      expect(gap.difference.low).toBeLessThan(gap.difference.value);
      expect(gap.difference.high).toBeGreaterThan(gap.difference.value);
    }
    const sizes = Object.keys(expected.groups).map((name) => expected.group.filter((own) => own === name).length);
    expect(table!.gaps.find(({ metric }) => metric === "demographic_parity")!.smallest).toBe(Math.min(...sizes));
  });

  it("lists small groups, and compares none with them", () => {
    const rows = (group: string, count: number, share: number) =>
      Array.from({ length: count }, (_, row) => ({ group, answer: 1, predicted: row < share * count ? 1 : 0 }));
    const all = [...rows("a", 40, 0.5), ...rows("b", 40, 0.5), ...rows("c", 9, 0)];
    const [table] = groupTables(
      [membership],
      judged({
        group: all.map(({ group }) => group),
        answers: all.map(({ answer }) => answer),
        predictions: all.map(({ predicted }) => predicted),
        probabilities: all.map(() => 0.5),
      }),
      ["yes"],
      metrics,
    );
    expect(table!.groups.map(({ rows }) => rows)).toEqual([40, 40, 9]);
    expect(table!.gaps.find(({ metric }) => metric === "demographic_parity")).toMatchObject({
      difference: { value: 0 },
      p_value: 1,
      p_holm: 1,
    });
    // No row's answer is no: there are no false positive rates.
    expect(table!.groups[0]!.labels[0]).toMatchObject({ true_positive_rate: 0.5, false_positive_rate: null });
    expect(table!.gaps.find(({ metric }) => metric === "equalized_odds")).toMatchObject({ rate: "tpr" });
  });

  it("widens the interval for the pairs that the extremes are of, and corrects p for them", () => {
    const pair = [
      { group: "a", hits: 30, rows: 100 },
      { group: "b", hits: 20, rows: 90 },
    ];
    const [two, three] = [rateGap(pair)!, rateGap([...pair, { group: "c", hits: 25, rows: 100 }])!];
    expect(three.between).toEqual(["a", "b"]);
    expect(three.difference.value).toBe(two.difference.value);
    expect(three.difference.low).toBeLessThan(two.difference.low);
    expect(three.p_value).toBeCloseTo(3 * two.p_value, 12);
    expect(rateGap(pair.slice(1))).toBeNull();
  });
});

describe("two proportions, as statsmodels and SciPy", () => {
  it.each(golden.proportions)("$counts", ({ counts: [a, n, b, m], fisher, difference, ratio }) => {
    expect(fisherExact(a, n, b, m) / fisher).toBeCloseTo(1, 9);
    const gap = rateGap([
      { group: "a", hits: a, rows: n },
      { group: "b", hits: b, rows: m },
    ])!;
    expect(gap.difference.low).toBeCloseTo(difference[0]!, 9);
    expect(gap.difference.high).toBeCloseTo(difference[1]!, 9);
    const value = b / m / (a / n);
    expect(gap.ratio!.low).toBeCloseTo(Math.min(value, ratio[0]!), 9);
    expect(gap.ratio!.high).toBeCloseTo(Math.max(value, ratio[1]!), 9);
  });

  it.each(golden.means)("means: p = $p", ({ high, low, p, interval }) => {
    const gap = meanGap([
      { group: "low", values: low },
      { group: "high", values: high },
    ])!;
    expect(gap.between).toEqual(["high", "low"]);
    expect(gap.p_value).toBeCloseTo(p, 12);
    expect(gap.difference.low).toBeCloseTo(interval[0]!, 9);
    expect(gap.difference.high).toBeCloseTo(interval[1]!, 9);
  });

  it.each(golden.quantiles)("normal quantile of %d", (share, expected) => {
    expect(normalQuantile(share)).toBeCloseTo(expected, 6);
  });
});
