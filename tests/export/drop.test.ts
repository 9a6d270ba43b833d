// Whether a step of an export harmed the metric: over every way in which rows can turn, beside what an interval or a test alone would say.
import { describe, expect, it } from "vitest";
import { bootstrapInterval, mcnemar, meanOf, type RowScore } from "../../src/evaluate/index.js";
import { changeBetween, doubtOf, harmOf } from "../../src/export/drop.js";
import type { Task } from "../../src/task/index.js";

/** Of so many rows, so many are right before; of these the first are lost, of the others the first won. */
function turned(rows: number, right: number, lost: number, won: number) {
  const before = Array.from({ length: rows }, (_, row) => Number(row < right));
  const after = before.map((one, row) => (row < lost ? 0 : row >= right && row < right + won ? 1 : one));
  return { before, after };
}

const classify = { kind: "classify", metric: "accuracy" } as Task;
const labels = ["a", "b"].map((text) => ({ text, value: text }));
const settings = { labels, seed: 0, drop: 0.02 };
const scores = (right: readonly number[]) =>
  right.map((one, index): RowScore => {
    const p = one === 1 ? 0.75 : 0.25;
    return { index, answer: "a", prediction: one === 1 ? "a" : "b", probabilities: { a: p, b: 1 - p } };
  });

/** Every way from so many right rows. */
function* waysFrom(rows: number, right: number) {
  const { low, high } = bootstrapInterval(rows, meanOf(turned(rows, right, 0, 0).before), { seed: 0 });
  for (let lost = 0; lost <= right; lost++) {
    for (let won = 0; won <= rows - right; won++) {
      const { before, after } = turned(rows, right, lost, won);
      const p_value = mcnemar(after, before).exact;
      const values: [number, number] = [right / rows, (right - lost + won) / rows];
      const harm = harmOf("accuracy", values, {
        ...{ test: "mcnemar", p_value, redrawn: [low, high], bound: 0.02 },
        difference: { value: values[1] - values[0], low: 0, high: 0 },
      });
      const dropped = 50 * (lost - won) > rows; // a bound of 0.02, in whole rows
      const outside = dropped && values[1] < low;
      yield { rows, right, lost, won, harm, outside, significant: dropped && p_value < 0.05 };
    }
  }
}

describe("every way in which rows can turn", () => {
  it("up to 20 rows: harm is what leaves the draws of the rows, which a test alone would pass half of", () => {
    const count = { all: 0, harms: 0, significant: 0 };
    for (let rows = 1; rows <= 20; rows++) {
      for (let right = 0; right <= rows; right++) {
        for (const { harm, outside, significant, ...way } of waysFrom(rows, right)) {
          expect(harm !== null, JSON.stringify(way)).toBe(outside);
          count.all++;
          count.harms += Number(harm !== null);
          count.significant += Number(significant);
        }
      }
    }
    expect(count).toEqual({ all: 10_625, harms: 2_498, significant: 1_286 });
  });

  it.each([
    [50, 1_503, 10],
    [100, 6_195, 52],
    [200, 25_584, 201],
  ])(
    "%i rows: harm is also what is no chance by the test, from 6 rows lost and none won on",
    (rows, outsides, also) => {
      const count = { outsides: 0, also: 0, least: rows };
      for (const share of [0.5, 0.6, 0.7, 0.8, 0.9, 0.96, 1]) {
        for (const { harm, outside, significant, ...way } of waysFrom(rows, Math.round(share * rows))) {
          expect(harm !== null, JSON.stringify(way)).toBe(outside || significant);
          count.outsides += Number(outside);
          if (outside || harm === null) continue;
          count.also++;
          count.least = Math.min(count.least, way.lost - way.won);
        }
      }
      expect(count).toEqual({ outsides, also, least: 6 });
    },
  );
});

it("of up to 15 rows is said that they judged nothing where no way to turn is harm, and nowhere else", () => {
  const blind: number[][] = [];
  for (let rows = 1; rows <= 15; rows++) {
    for (let right = 0; right <= rows; right++) {
      const { before } = turned(rows, right, 0, 0);
      const change = changeBetween(classify, scores(before), scores(before), settings);
      const value = right / rows;
      const doubt = doubtOf("accuracy", [value, value], change, rows);
      const harms = [...waysFrom(rows, right)].filter(({ harm }) => harm !== null).length;
      expect(doubt !== null, `${right} of ${rows}`).toBe(harms === 0);
      if (doubt !== null) blind.push([right, rows]);
    }
  }
  // None right, or so few that draws without any of them are frequent.
  expect(blind).toHaveLength(47);
  expect(blind.filter(([right]) => right === 0)).toHaveLength(15);
  expect(Math.max(...blind.map(([right]) => right!))).toBe(3);
});

describe("of models' answers", () => {
  it("a row that was wrong before is said to judge nothing, for any metric that is 0 at least", () => {
    const said = (metric: string, rows: number) => {
      const wrong = scores(Array.from({ length: rows }, () => 0));
      const change = changeBetween({ ...classify, metric } as Task, wrong, wrong, settings);
      return doubtOf(metric, [0, 0], change, rows);
    };
    const rest =
      "before it, and no fall from there would fail: it judged nothing; give more rows, some of them answered rightly";
    expect(said("accuracy", 1)).toBe(`accuracy is 0 on 1 row ${rest}`);
    expect(said("accuracy", 500)).toBe(`accuracy is 0 on 500 rows ${rest}`);
    expect(said("macro_f1", 1)).toBe(`macro_f1 is 0 on 1 row ${rest}`);
    const { before } = turned(100, 40, 0, 0);
    const wide = changeBetween(classify, scores(before), scores(before), { ...settings, drop: 0.5 });
    expect(doubtOf("accuracy", [0.4, 0.4], wide, 100)).toBe(
      "accuracy is 0.4 on 100 rows before it, and no fall from there would fail: it judged nothing; give a smaller bound, or rows of which more are answered rightly",
    );
    // An error may always rise.
    expect(said("log_loss", 1)).toBeNull();
  });

  it.each([100, 99, 50])(
    "100 rows, %i of them right: a bound of a point takes one row lost for within it, and two not",
    (right) => {
      const of = (lost: number) => {
        const { before, after } = turned(100, right, lost, 0);
        const change = changeBetween(classify, scores(before), scores(after), { ...settings, drop: 0.01 });
        // Whatever the draws are: as if every one had given the value before.
        const certain = { ...change, redrawn: [right / 100, right / 100] as [number, number] };
        const values = [right / 100, (right - lost) / 100] as const;
        return { harm: harmOf("accuracy", values, certain) !== null, doubt: doubtOf("accuracy", values, change, 100) };
      };
      expect(of(1)).toEqual({ harm: false, doubt: null });
      expect(of(2).harm).toBe(true);
    },
  );

  it("the same rows are compared, and the sentence has what says that it is no chance", () => {
    const { before, after } = turned(100, 50, 9, 1);
    const change = changeBetween(classify, scores(before), scores(after), settings);
    expect(change).toMatchObject({ test: "mcnemar", p_value: 22 / 1024, bound: 0.02 });
    expect(change.difference.value).toBeCloseTo(-0.08, 12);
    expect(change.difference.high).toBeLessThan(0);
    expect(change.redrawn[0]).toBeCloseTo(0.4, 12);
    expect(harmOf("accuracy", [0.5, 0.42], change)).toBe(
      "accuracy from 0.5 to 0.42, the bound is 0.02 (p = 0.0215 by McNemar's exact test)",
    );
    expect(harmOf("accuracy", [0.42, 0.5], change)).toBeNull();
  });

  it("of five right answers that turn wrong the draws alone say so: no test of five rows can", () => {
    const { before, after } = turned(5, 5, 5, 0);
    const change = changeBetween(classify, scores(before), scores(after), settings);
    expect(change.p_value).toBe(2 / 32);
    expect(harmOf("accuracy", [1, 0], change)).toBe(
      "accuracy from 1 to 0, the bound is 0.02 (every draw of these rows gives 1 before it)",
    );
  });

  it("other metrics have a permutation test, and errors get worse as they rise", () => {
    const task = { ...classify, metric: "log_loss" } as Task;
    const { before, after } = turned(100, 50, 9, 1);
    const change = changeBetween(task, scores(before), scores(after), settings);
    const [low, high] = [-Math.log(0.75), -Math.log(0.25)];
    expect(change.difference.value).toBeCloseTo(0.08 * (high - low), 12);
    expect(change.test).toBe("permutation");
    expect(change.p_value).toBeLessThan(0.05);
    const [first, second] = [(low + high) / 2, 0.42 * low + 0.58 * high];
    expect(harmOf("log_loss", [first, second], change)).toMatch(
      /^log_loss from 0\.837 to 0\.925, the bound is 0\.02 \(p = 0\.0\d+ by a paired permutation test of log_loss\)$/,
    );
    expect(harmOf("log_loss", [second, first], change)).toBeNull();
  });

  it.each([1, 1000])("an error in the unit of the answers has its bound in their deviations, times %i too", (unit) => {
    const task = { kind: "regress", metric: "mae" } as Task;
    const answered = (error: number) =>
      Array.from({ length: 100 }, (_, index): RowScore => {
        const answer = unit * (index % 2);
        const prediction = answer + unit * error * (1 + (index % 10) / 100);
        return { index, answer: `${answer}`, prediction: `${prediction}`, probabilities: null };
      });
    const [before, little, much] = [answered(0.2), answered(0.205), answered(0.25)];
    const none = { ...settings, labels: [] };
    // The deviation of as many zeros as ones is a half, but for the 99 in place of the 100.
    const change = changeBetween(task, before, little, none);
    expect(change.bound).toBeCloseTo(0.02 * unit * Math.sqrt(25 / 99), 9);
    const mae = (error: number) => unit * error * 1.045;
    expect(change.p_value).toBeLessThan(0.05);
    expect(harmOf("mae", [mae(0.2), mae(0.205)], change)).toBeNull();
    expect(harmOf("mae", [mae(0.2), mae(0.25)], changeBetween(task, before, much, none))).toMatch(/^mae from 0?\.?209/);
  });

  it("a loss past the bound that may be chance is said, and harm or a loss within it is not", () => {
    const doubt = (lost: number) => {
      const { before, after } = turned(100, 50, lost, 1);
      const change = changeBetween(classify, scores(before), scores(after), settings);
      return doubtOf("accuracy", [0.5, 0.51 - lost / 100], change, 100);
    };
    expect(doubt(2)).toBeNull();
    expect(doubt(9)).toBeNull();
    expect(doubt(5)).toBe(
      "accuracy fell by 0.04 on 100 rows, more than the bound of 0.02; p = 0.219: chance cannot be excluded, more rows would tell",
    );
  });

  it.each([1, 5])("%i rows of one answer judge no error", (rows) => {
    const task = { kind: "regress", metric: "mae" } as Task;
    const answered = (prediction: string) =>
      Array.from({ length: rows }, (_, index): RowScore => ({ index, answer: "3", prediction, probabilities: null }));
    const change = changeBetween(task, answered("3.5"), answered("4.5"), { ...settings, labels: [] });
    expect(change.bound).toBeNull();
    expect(harmOf("mae", [0.5, 1.5], change)).toBeNull();
    expect(doubtOf("mae", [0.5, 1.5], change, rows)).toMatch(
      /^mae on \d rows? cannot be judged: .* deviations .* are 0/,
    );
  });
});
