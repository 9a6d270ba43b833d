// Group metrics against Fairlearn, their intervals and tests against statsmodels and SciPy (tests/golden/golden_audit.py).
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  type GroupGap,
  type GroupTable,
  groupTables,
  judgedMetrics,
  notCompared,
  rowMetrics,
} from "../../src/audit/groups.js";
import { byColumn, type Judged, judge } from "../../src/audit/membership.js";
import { expectedRatio, fisherExact, meanGap, rateGap, spreadGap } from "../../src/audit/proportions.js";
import { type Row, setText } from "../../src/dataset/index.js";
import { normalQuantile } from "../../src/evaluate/index.js";
import { studentQuantile, studentTail } from "../../src/evaluate/means.js";
import type { Task, TaskKind } from "../../src/task/index.js";

interface Both {
  difference: number;
  ratio: number;
}
interface Calibrated {
  groups: Record<string, number>;
  between: [string, string];
  ratio: number;
  interval: [number, number];
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
  calibration: number;
  expected_to_observed: Calibrated;
}
const golden = JSON.parse(readFileSync(new URL("../golden/audit.json", import.meta.url), "utf8")) as {
  cases: Case[];
  sets: {
    group: string[];
    answers: number[][];
    predictions: number[][];
    probabilities: number[][];
    labels: (Record<"demographic_parity" | "equal_opportunity" | "equalized_odds", Both> &
      Pick<Case, "expected_to_observed">)[];
  };
  numbers: {
    name: string;
    group: string[];
    targets: number[];
    predictions: number[];
    groups: Record<string, Record<string, number>>;
    difference: Record<string, number>;
    ratio: Record<string, number>;
    expected_to_observed: Calibrated | null;
  }[];
  students: [number, number, number][];
  proportions: { counts: [number, number, number, number]; fisher: number; difference: number[]; ratio: number[] }[];
  means: { high: number[]; low: number[]; p: number; interval: number[] }[];
  quantiles: [number, number][];
};

const inGroup = (name: string) => ({ fields: { name } }) as unknown as Row;
const membership = { attribute: "name", source: "column" as const, groupOf: (row: Row) => row.fields.name as string };

const planOf = (kind: TaskKind, positives: string[] = []) => {
  return { task: { kind } as Task, memberships: [membership], positives, seed: 1 };
};

function judged({
  group,
  answers,
  predictions,
  probabilities,
}: Pick<Case, "group" | "answers" | "predictions" | "probabilities">): Judged[] {
  const text = (label: number) => (label === 1 ? "yes" : "no");
  return group.map((name, index) =>
    judge({ kind: "classify" }, inGroup(name), {
      index,
      answer: text(answers[index]!),
      prediction: text(predictions[index]!),
      probabilities: { no: 1 - probabilities[index]!, yes: probabilities[index]! },
    }),
  );
}

/** Against pandas; the interval against 20,000 resamples of NumPy's. */
function expectCalibrated({ ratio, ratio_between }: GroupGap, expected: Calibrated) {
  expect(ratio_between).toEqual(expected.between);
  expect(ratio!.value).toBeCloseTo(expected.ratio, 12);
  expect(Math.abs(ratio!.low! - expected.interval[0])).toBeLessThan(0.02);
  expect(Math.abs(ratio!.high! - expected.interval[1])).toBeLessThan(0.02);
}

describe("group metrics, as Fairlearn", () => {
  it.each(golden.cases)("$name", (expected) => {
    const [table] = groupTables(planOf("classify", ["yes"]), judged(expected), judgedMetrics);
    expect(table!.groups.map(({ group }) => group)).toEqual(Object.keys(expected.groups));
    for (const { group, accuracy, labels } of table!.groups) {
      const { label, expected_to_observed, ...rates } = labels[0]!;
      expect(expected_to_observed).toBeCloseTo(expected.expected_to_observed.groups[group]!, 12);
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
    const calibration = table!.gaps.find(({ metric }) => metric === "calibration")!;
    expect(calibration.difference.value).toBeCloseTo(expected.calibration, 12);
    expect(calibration.smallest).toBe(Math.min(...sizes));
    expectCalibrated(calibration, expected.expected_to_observed);
  });

  it("lists small groups, and compares none with them", () => {
    const rows = (group: string, count: number, share: number) =>
      Array.from({ length: count }, (_, row) => ({ group, answer: 1, predicted: row < share * count ? 1 : 0 }));
    const all = [...rows("a", 40, 0.5), ...rows("b", 40, 0.5), ...rows("c", 9, 0)];
    const [table] = groupTables(
      planOf("classify", ["yes"]),
      judged({
        group: all.map(({ group }) => group),
        answers: all.map(({ answer }) => answer),
        predictions: all.map(({ predicted }) => predicted),
        probabilities: all.map(() => 0.5),
      }),
      judgedMetrics,
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
    expect(three.difference.low).toBeLessThan(two.difference.low!);
    expect(three.p_value).toBeCloseTo(3 * two.p_value, 12);
    expect(rateGap(pair.slice(1))).toBeNull();
  });
});

describe("the ratio of calibration", () => {
  const gapOf = (groups: Record<string, { hits: number; rows: number; probability: number }>) => {
    const all = Object.entries(groups).flatMap(([group, { hits, rows, probability }]) =>
      Array.from({ length: rows }, (_, row) => ({ group, answer: Number(row < hits), probability })),
    );
    const [table] = groupTables(
      planOf("classify", ["yes"]),
      judged({
        group: all.map(({ group }) => group),
        answers: all.map(({ answer }) => answer),
        predictions: all.map(() => 1),
        probabilities: all.map(({ probability }) => probability),
      }),
      judgedMetrics,
    );
    const found = Object.fromEntries(
      table!.groups.map(({ group, labels }) => [group, labels[0]!.expected_to_observed]),
    );
    return { found, gap: table!.gaps.find(({ metric }) => metric === "calibration")! };
  };

  it("names its groups, which may be others than the difference's", () => {
    const { found, gap } = gapOf({
      a: { hits: 60, rows: 80, probability: 0.9 },
      b: { hits: 10, rows: 80, probability: 0.25 },
      c: { hits: 40, rows: 80, probability: 0.5 },
    });
    expect(found).toEqual({ a: expect.closeTo(1.2, 12), b: 2, c: 1 });
    expect(gap).toMatchObject({ between: ["a", "c"], ratio_between: ["b", "c"], ratio: { value: 0.5 } });
    expect(gap.ratio!.high).toBeLessThan(1);
  });

  it("leaves out a group without the answer, and is null where no two are left", () => {
    const none = { hits: 0, rows: 20, probability: 0.25 };
    const some = { hits: 10, rows: 20, probability: 0.5 };
    const three = gapOf({ a: none, b: some, c: { ...some, probability: 0.25 } });
    expect(three.found).toEqual({ a: null, b: 1, c: 0.5 });
    expect(three.gap).toMatchObject({ between: ["a", "c"], ratio_between: ["b", "c"], ratio: { value: 0.5 } });
    const two = gapOf({ a: none, b: some });
    expect(two.gap).toMatchObject({ between: ["a", "b"], ratio: null, ratio_between: null, smallest: 20 });
    // Nothing is expected of anybody: 0 by 0.
    const zero = { ...some, probability: 0 };
    expect(gapOf({ a: zero, b: zero }).gap).toMatchObject({ ratio: null, ratio_between: null });
  });

  it("is finite where resamples have no answer, or expect none", () => {
    // One hit among ten: a third of the resamples have none, and count half a row.
    const rare = gapOf({ a: { hits: 1, rows: 10, probability: 0.09 }, b: { hits: 50, rows: 100, probability: 0.5 } });
    const { value, low, high } = rare.gap.ratio!;
    expect(value).toBeCloseTo(0.9, 12);
    expect(low).toBeLessThan(0.4);
    // 0.9 expected by a half observed, over about 1.
    expect(Math.abs(high! - 1.8)).toBeLessThan(0.6);
    const rows = (probability: number) => Array.from({ length: 10 }, () => ({ expected: probability, observed: 1 }));
    const certain = [{ expected: 1, observed: 1 }, ...rows(1e-320)];
    const { ratio } = expectedRatio(
      [
        { group: "a", rows: certain },
        { group: "b", rows: rows(0.05) },
      ],
      1,
    );
    expect(Number.isFinite(ratio!.high)).toBe(true);
  });
});

describe("sets of labels, each a decision of its own", () => {
  it("have Fairlearn's metrics label by label", () => {
    const { group, answers, predictions, probabilities, labels } = golden.sets;
    const names = ["red", "round"];
    const setOf = (flags: number[]) => setText(names.filter((_, label) => flags[label] === 1));
    const rows = group.map((name, index) =>
      judge({ kind: "multilabel" }, inGroup(name), {
        index,
        ...{ answer: setOf(answers[index]!), prediction: setOf(predictions[index]!) },
        probabilities: { red: probabilities[index]![0]!, round: probabilities[index]![1]! },
      }),
    );
    const [table] = groupTables(planOf("multilabel", names), rows, judgedMetrics);
    for (const [place, label] of names.entries()) {
      for (const metric of ["demographic_parity", "equal_opportunity", "equalized_odds"] as const) {
        const gap = table!.gaps.find((one) => one.metric === metric && one.label === label)!;
        expect(gap.difference.value, `${metric} of ${label}`).toBeCloseTo(labels[place]![metric].difference, 12);
        expect(gap.ratio!.value, `${metric} of ${label}`).toBeCloseTo(labels[place]![metric].ratio, 12);
      }
      const calibration = table!.gaps.find((one) => one.metric === "calibration" && one.label === label)!;
      expectCalibrated(calibration, labels[place]!.expected_to_observed);
    }
    for (const { group: name, labels: own } of table!.groups) {
      for (const [place, { calibration, expected_to_observed }] of own.entries()) {
        expect(expected_to_observed).toBeCloseTo(labels[place]!.expected_to_observed.groups[name]!, 12);
        const excesses = group.flatMap((one, row) =>
          one === name ? [probabilities[row]![place]! - answers[row]![place]!] : [],
        );
        expect(calibration).toBeCloseTo(excesses.reduce((sum, value) => sum + value, 0) / excesses.length, 12);
      }
    }
    expect(table!.gaps.filter(({ metric }) => metric === "accuracy")).toMatchObject([{ label: null }]);
  });
});

describe("numbers by group, as Fairlearn's MetricFrame of scikit-learn's metrics", () => {
  const rowsOf = ({ group, targets, predictions }: (typeof golden.numbers)[number], half?: number) =>
    group.map((name, index) =>
      judge({ kind: "regress" }, inGroup(name), {
        ...{ index, answer: String(targets[index]), prediction: String(predictions[index]), probabilities: null },
        ...(half !== undefined && { interval: [predictions[index]! - half, predictions[index]! + half] }),
      }),
    );

  it.each(golden.numbers)("$name", (expected) => {
    const [table] = groupTables(planOf("regress"), rowsOf(expected), [...rowMetrics, ...judgedMetrics]);
    for (const { group, accuracy, labels, numbers } of table!.groups) {
      expect([accuracy, labels, numbers!.coverage]).toEqual([null, [], null]);
      if (expected.expected_to_observed === null) expect(numbers!.expected_to_observed).toBeNull();
      else expect(numbers!.expected_to_observed).toBeCloseTo(expected.expected_to_observed.groups[group]!, 12);
      for (const [name, value] of Object.entries(expected.groups[group]!))
        expect(numbers![name as "mae"], `${group} ${name}`).toBeCloseTo(value, 12);
    }
    const metrics = table!.gaps.map(({ metric }) => metric);
    expect(metrics).toEqual(["mean_target", "mean_prediction", "mae", "rmse", "signed_error"]);
    for (const gap of table!.gaps) {
      const { metric, difference, ratio, smallest, p_value } = gap;
      expect(difference.value, metric).toBeCloseTo(expected.difference[metric]!, 12);
      expect(difference.low, metric).toBeLessThan(difference.value);
      expect(difference.high, metric).toBeGreaterThan(difference.value);
      expect(p_value).toBeGreaterThan(0);
      const sizes = Object.keys(expected.groups).map((name) => expected.group.filter((own) => own === name).length);
      expect(smallest).toBe(Math.min(...sizes));
      // What may be below 0 has no ratio, and the rows' own means have none. That of signed errors is of the means.
      const signed = expected.name === "of either sign" && ["mean_prediction", "signed_error"].includes(metric);
      if (signed || metric === "mean_target") expect(ratio, metric).toBeNull();
      else if (metric === "signed_error") expectCalibrated(gap, expected.expected_to_observed!);
      else expect(ratio!.value, metric).toBeCloseTo(expected.ratio[metric]!, 12);
    }
  });

  it("have the coverage of their intervals compared as a rate", () => {
    const [expected] = golden.numbers;
    const rows = rowsOf(expected!, 0.3);
    const [table] = groupTables(planOf("regress"), rows, judgedMetrics);
    const within = (name: string) => {
      const errors = expected!.group.flatMap((own, row) =>
        own === name ? [Math.abs(expected!.predictions[row]! - expected!.targets[row]!)] : [],
      );
      return { hits: errors.filter((error) => error <= 0.3).length, rows: errors.length };
    };
    const [first, second] = [within("g0"), within("g1")];
    const { metric, ...gap } = table!.gaps.at(-1)!;
    expect(metric).toBe("coverage");
    expect(gap.difference).toEqual(
      rateGap([
        { group: "g0", ...first },
        { group: "g1", ...second },
      ])!.difference,
    );
    expect(table!.groups.map(({ numbers }) => numbers!.coverage)).toEqual([
      first.hits / first.rows,
      second.hits / second.rows,
    ]);
  });

  it("are resampled within each group, more often where many pairs widen the interval", () => {
    // The first group has one value: all that varies is the second's mean.
    const two = spreadGap(
      [
        { group: "a", values: Array(10).fill(4) },
        { group: "b", values: Array.from({ length: 100 }, (_, at) => at % 2) },
      ],
      (mean) => mean,
      1,
    )!;
    expect(two).toMatchObject({ between: ["a", "b"], difference: { value: 3.5 }, ratio: { value: 0.125 } });
    // 1.96 standard errors of a share of one half among 100.
    expect(two.difference.high! - two.difference.low!).toBeCloseTo(2 * 1.96 * 0.05, 1);
    const alike = (group: string, value: number) => ({ group, values: new Array<number>(10).fill(value) });
    for (const groups of [
      [alike("a", 0.3), alike("b", 0.1)],
      [alike("a", 0.1), alike("b", 0.1)],
    ]) {
      // Rows that are all alike say nothing of others.
      const none = { value: expect.any(Number), low: null, high: null };
      expect(spreadGap(groups, (mean) => mean, 1)).toMatchObject({ difference: none, ratio: none });
      expect(meanGap(groups)).toMatchObject({ difference: none, ratio: null });
    }
    const many = spreadGap(
      Array.from({ length: 20 }, (_, group) => ({
        group: `g${group}`,
        values: Array.from({ length: 100 }, (_, at) => (group === 19 ? 4 : at % 2)),
      })),
      (mean) => mean,
      1,
    )!;
    expect(many.difference.value).toBe(3.5);
    expect(many.difference.high! - many.difference.low!).toBeGreaterThan(2 * 3 * 0.05);
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
    expect(gap.p_value / p).toBeCloseTo(1, 9);
    expect(gap.difference.low).toBeCloseTo(interval[0]!, 9);
    expect(gap.difference.high).toBeCloseTo(interval[1]!, 9);
  });

  it.each(golden.students)("P(T > %d) with %d degrees of freedom", (t, freedom, expected) => {
    expect(studentTail(t, freedom) / expected).toBeCloseTo(1, 9);
    // Of shares nearer to 1 a double holds too few digits.
    if (expected > 1e-9) expect(studentQuantile(1 - expected, freedom)).toBeCloseTo(t, 5);
  });

  it.each(golden.quantiles)("normal quantile of %d", (share, expected) => {
    expect(normalQuantile(share)).toBeCloseTo(expected, 6);
  });
});

it("a row whose column is empty, blank, null or missing is of no group", () => {
  const rows = ["north", "", "  ", null, undefined, 0].map((region): Row => ({ fields: { region } }) as unknown as Row);
  const { groupOf } = byColumn("region", rows);
  expect(rows.map(groupOf)).toEqual(["north", null, null, null, null, "0"]);
  expect(() => byColumn("region", rows.slice(1, 4))).toThrow("expected a column region");
});

it("rates of a few of a large group's rows are not compared, and it is said", () => {
  // Of 40 rows each, 9 of a's are of the label, all of them missed, and 20 of b's, all found.
  const rows = ["a", "b"].flatMap((group) =>
    Array.from({ length: 40 }, (_, row) => ({ group, answer: Number(row < (group === "a" ? 9 : 20)) })),
  );
  const answered = (predicted: (row: (typeof rows)[number]) => number) => {
    const [table] = groupTables(
      planOf("classify", ["yes"]),
      judged({
        group: rows.map(({ group }) => group),
        answers: rows.map(({ answer }) => answer),
        predictions: rows.map(predicted),
        probabilities: rows.map(() => 0.5),
      }),
      judgedMetrics,
    );
    return table!;
  };
  const table = answered(({ group, answer }) => Number(group === "b" && answer === 1));
  expect(table.groups[0]!.labels[0]).toMatchObject({ true_positive_rate: 0, false_positive_rate: 0 });
  const byMetric = new Map(table.gaps.map((gap) => [gap.metric, gap]));
  expect(byMetric.has("equal_opportunity")).toBe(false);
  expect(byMetric.get("equalized_odds")).toMatchObject({ rate: "fpr", smallest: 20, p_holm: 1 });
  expect(byMetric.get("demographic_parity")).toMatchObject({ smallest: 40 });
  expect(notCompared([table])).toEqual([
    "True and false positive rates of fewer than 10 of a group's rows, not compared: name (1 of 4).",
  ]);
});

it("what is not compared for want of rows is said, whole attributes and single groups", () => {
  const table = (attribute: string, ...sizes: [string, number][]) => {
    return { attribute, groups: sizes.map(([group, rows]) => ({ group, rows, labels: [] as unknown })) } as GroupTable;
  };
  const full = table("full", ["a", 10], ["b", 10]);
  const tables = [full, table("one", ["same", 60]), table("few", ["lone", 1], ["many", 29]), table("none")];
  expect(notCompared([full])).toEqual([]);
  expect(notCompared([...tables, table("some", ["a", 12], ["b", 9], ["c", 10])])).toEqual([
    "Not compared, since no two groups have 10 rows: one (same 60), few (lone 1, many 29), none (no rows).",
    "Groups of fewer than 10 rows, not compared: some (b 9).",
  ]);
});
