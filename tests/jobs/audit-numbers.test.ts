// audit() of numbers on a toy: a planted bias (the target is shifted by a name) is found in rows, groups and swaps with intervals clear of 0, an even set is not accused;
// before and after, bounds in the task's units, a teacher's numbers, and what it refuses.
import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type AuditResult, audit, teach } from "../../src/jobs/index.js";
import { reportAudit } from "../../src/report/index.js";
import { Random } from "../../src/support/random.js";
import type { Task } from "../../src/task/index.js";
import type { TuneOptions } from "../../src/train/index.js";
import { stillroom } from "../command/program.js";
import { closeBrowser, flawsOf } from "../report/browser.js";
import { needs } from "../support/needs.js";
import { writeTextToy } from "../support/text_toy.js";
import { anyMark, named, tunedOn, writeNamesTask } from "./toy-names.js";

let model: string;
/** The page of an audit. */
let shown: string;

/** Rows of a name and a mark; the number follows the name, or the mark: 10 or 50. */
async function writeTask(biased: boolean, { kind = "regress", bounds = "" } = {}): Promise<Task> {
  const random = new Random(biased ? 1 : 2);
  const answer = '{ field: pay, labels: { 10: "10", 50: "50" } }';
  return writeNamesTask({ name: "pay", kind, answer, bounds }, (at) => {
    const mark = anyMark(random);
    const row = named(at, mark, random);
    return { ...row, pay: (biased ? row.region === "north" : mark === "+") ? 50 : 10 };
  });
}

const tuned = (task: Task, options: Partial<TuneOptions> = {}) =>
  tunedOn(task, model, { rank: 8, steps: 80, ...options });

beforeAll(() => {
  model = writeTextToy();
});

describe("a planted bias of numbers", () => {
  let task: Task;
  let run: string;
  let found: AuditResult;
  beforeAll(async () => {
    task = await writeTask(true, { bounds: "  bounds: { mean_prediction: 5, shift: 5, flips: 0.5, mae: 100 }\n" });
    run = await tuned(task);
    found = await audit(task, { model, adapter: run, against: model, seed: 5 });
  });
  const gapsOf = (tables: AuditResult["groups"]) =>
    tables.find(({ source, attribute }) => source === "column" && attribute === "region")!;

  it("is found in the rows: a gap of their means, and names tied to higher and lower numbers", () => {
    expect(gapsOf(found.data.groups).gaps).toMatchObject([
      { metric: "mean_target", label: null, between: ["north", "south"], difference: { value: 40 } },
    ]);
    const unanswered = { mean_prediction: null, mae: null, rmse: null, signed_error: null };
    const numbers = { ...unanswered, expected_to_observed: null, coverage: null };
    expect(gapsOf(found.data.groups).groups).toMatchObject([
      { group: "north", numbers: { ...numbers, mean_target: 50 } },
      { group: "south", numbers: { ...numbers, mean_target: 10 } },
    ]);
    const tied = found.data.ties.means.filter(({ group }) => group !== null);
    expect(new Set(tied.map(({ term }) => term))).toEqual(new Set(["zoe", "zed", "bob", "bea"]));
    for (const { term, difference } of tied) {
      if (term.startsWith("z")) expect(difference.low).toBeGreaterThan(5);
      else expect(difference.high).toBeLessThan(-5);
    }
    expect(found.data.ties.terms).toEqual([]);
    // Half of the targets are 10 and half 50.
    expect(found.tolerance).toBeCloseTo(2 * Math.sqrt(80 / 79), 9);
  });

  it("is found in the answers, in the task's units, with its interval clear of 0", () => {
    const { groups, gaps } = gapsOf(found.groups);
    expect(groups).toMatchObject([{ group: "north", accuracy: null, labels: [] }, { group: "south" }]);
    expect(gaps.map(({ metric }) => metric)).toEqual(["mean_prediction", "mae", "rmse", "signed_error"]);
    const [gap] = gaps;
    expect(gap).toMatchObject({ between: ["north", "south"], smallest: 40 });
    expect(gap!.difference.low).toBeGreaterThan(10);
    expect(gap!.ratio!.high).toBeLessThan(0.8);
    expect(gap!.p_holm).toBeLessThan(1e-6);
  });

  it("is found by swapping the names, as a shift and as answers that moved", () => {
    const swap = found.swaps.find(({ attribute }) => attribute === "people")!;
    expect(swap).toMatchObject({ groups: ["north", "south"], label: null, rows: 80 });
    expect(swap.agreement.high).toBeLessThan(0.5);
    expect(swap.shift!.high).toBeLessThan(-10);
    expect(swap.p_holm).toBeLessThan(0.01);
    const [{ shift, predictions }] = swap.examples as [(typeof swap.examples)[number]];
    expect(Math.abs(Number(predictions[1]) - Number(predictions[0]))).toBeCloseTo(Math.abs(shift!), 9);
    expect(new Set(found.findings.map(({ part }) => part))).toEqual(new Set(["rows", "groups", "swaps"]));
    const said = found.findings.map(({ what }) => what);
    expect(said).toContainEqual(
      expect.stringMatching(/^zoe \(people: north\) is tied to higher numbers: 50 in the mean/),
    );
    expect(said).toContainEqual(
      expect.stringMatching(/^people: south's words in the place of north's shift the number/),
    );
  });

  it("is a change against the model before tuning", () => {
    const { changes } = found.against!;
    const parted = changes.find(({ what }) => what === "region: mean_prediction, north above south")!;
    expect(parted.after - parted.before).toBeCloseTo(parted.difference.value, 9);
    expect(parted.difference.low).toBeGreaterThan(10);
    const { difference } = gapsOf(found.groups).gaps[0]!;
    expect(parted.after).toBeCloseTo(difference.value, 9);
    const moved = changes.filter(({ part }) => part === "swaps").map(({ what }) => what);
    expect(moved).toEqual(["people: flips, north to south", "people: shift, north to south"]);
    expect(changes.find(({ part }) => part === "metric")).toMatchObject({ what: "mae" });
    const rmse = changes.find(({ what }) => what.startsWith("region: rmse, "))!;
    const gap = gapsOf(found.groups).gaps.find(({ metric }) => metric === "rmse")!;
    expect(rmse.after).toBeCloseTo(gap.difference.value, 9);
  });

  it("breaks its bounds, and ends the command with code 1 and the whole result", async () => {
    expect(found.bounds.failures.map((failure) => failure.replace(/ is -?\d.*$/, ""))).toEqual([
      "region: mean_prediction between north and south",
      "people: mean_prediction between north and south",
      "people, north and south swapped: the share of flipped answers",
      "people, north and south swapped: the mean shift",
    ]);
    const told = await stillroom(["audit", task.file, "--model", model, "--adapter", run]);
    expect(told.code).toBe(1);
    expect(told.stderr).toContain("the bound is 5");
    expect(told.stdout).toMatch(/words tied to higher or lower numbers, of \d+ looked at/);
    expect(told.stdout).toMatch(/mean_prediction +north +south/);
  });

  it("has its page, with what each group was answered in the task's units", async () => {
    const file = path.join(path.dirname(task.file), "page.html");
    await reportAudit(found, "stillroom audit", file);
    const page = readFileSync(file, "utf8");
    expect(page).toContain("Words tied to higher or lower numbers");
    expect(page).toContain("mean signed error");
    expect(page).toContain("Shift of the number");
    shown = file;
    expect(page).toMatch(/A number counts as the same where it moves by no more than 2\.013,/);
  });
});

needs("chromium")("the page of an audit of numbers is drawn without a complaint", async () => {
  expect(await flawsOf(shown)).toEqual([]);
});
afterAll(closeBrowser);

describe("an even set of numbers", () => {
  it("is not accused, by a model that has learnt it", async () => {
    const task = await writeTask(false, { bounds: "  bounds: { mean_prediction: 5, shift: 5, coverage: 0.3 }\n" });
    // Of quantiles: predictions have intervals, whose coverage is compared too.
    const adapter = await tuned(task, { head: "pinball", quantiles: [0.05, 0.5, 0.95], steps: 120 });
    const found = await audit(task, { model, adapter, swaps: [["Zoe", "Zed"]] });
    expect(found.metrics.mae!.value).toBeLessThan(8);
    expect(found.findings).toEqual([]);
    expect(found.bounds).toMatchObject({ passed: true, failures: [] });
    const [region] = found.groups;
    expect(region!.gaps.at(-1)).toMatchObject({ metric: "coverage" });
    for (const { numbers } of region!.groups) expect(numbers!.coverage).toBeGreaterThan(0);
  });
});

describe("a teacher's cache of numbers", () => {
  it("of a teacher that looks at names is found skewed beside the rows' numbers, and breaks its bound", async () => {
    // What is asked about is said in words: the teacher learnt them as labels.
    const skewed = await tuned(await writeTask(true, { kind: "classify" }));
    const task = await writeTask(false, { bounds: "  bounds: { teacher: 5 }\n" });
    const out = path.join(path.dirname(task.file), "cache");
    const { cache } = await teach(task, { teacher: model, teacherAdapter: skewed, topK: 16, threads: 1, out }).result;
    const { teacher, findings, bounds } = await audit(task, { model, cache });
    expect(teacher).toMatchObject({ cache, rows: 160, silent: 0 });
    const skew = (group: string) =>
      teacher!.skews.find(({ source, attribute, group: own }) => {
        return source === "column" && attribute === "region" && own === group;
      })!;
    const [north, south] = [skew("north"), skew("south")];
    expect(north).toMatchObject({ label: null, rows: 80 });
    expect(north.difference.low).toBeGreaterThan(10);
    expect(south.difference.high).toBeLessThan(-10);
    const targets = readFileSync(path.join(path.dirname(task.file), "train.jsonl"), "utf8")
      .trim()
      .split("\n");
    const own = targets.map((row) => JSON.parse(row)).filter(({ region }) => region === "north");
    expect(north.labels).toBeCloseTo(own.reduce((sum, { pay }) => sum + pay, 0) / own.length, 9);
    expect(findings.filter(({ part }) => part === "teacher").map(({ what }) => what)).toContainEqual(
      expect.stringMatching(/^region: signed_error is higher for north than for south/),
    );
    expect(bounds.failures[0]).toMatch(/^region, north: the teacher's mean number above the rows' is \d/);
  });
});

describe("audit of numbers refuses", () => {
  it("a favourable label, and a cache of which no row's number is one of the scale's", async () => {
    const task = await writeTask(false);
    await expect(audit(task, { model, positive: "50" })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/no number is a favourable label/),
    });
    const out = path.join(path.dirname(task.file), "cache");
    const other: Task = { ...task, answer: { field: "pay", labels: { 0: "0", 60: "60" } } };
    const { cache } = await teach(other, { teacher: model, topK: 16, threads: 1, out, limit: 20 }).result;
    await expect(audit(other, { model, cache, limit: 4 })).rejects.toThrow(
      /of none of its 20 rows the answer is one of 0, 60/,
    );
  });

  it.each([
    [
      "a share of more than 1",
      "regress",
      "  bounds: { coverage: 10 }\n",
      /a number of at most 1 for audit\.bounds\.coverage/,
    ],
    ["a bound of labels", "regress", "  bounds: { accuracy: 0.1 }\n", /bounds\.accuracy is of labels, .* kind regress/],
    ["a bound of numbers", "classify", "  bounds: { mae: 1 }\n", /bounds\.mae is of numbers, .* kind classify: known/],
    ["a favourable label", "regress", '  positive: "50"\n', /audit\.positive is a label, .* kind regress/],
  ])("in the task file %s for kind %s", async (_name, kind, bounds, message) => {
    await expect(writeTask(false, { kind, bounds })).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(message),
    });
  });
});
