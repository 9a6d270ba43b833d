// What an audit looks at, and what it tests by: numbers' tolerance, and swaps of too few rows.
import { expect, it } from "vitest";
import { judge } from "../../src/audit/membership.js";
import { planAudit } from "../../src/audit/plan.js";
import { rowsAudit } from "../../src/audit/rows.js";
import { swapsOf, variantsOf } from "../../src/audit/swaps.js";
import { findingsOf } from "../../src/audit/verdict.js";
import type { Row } from "../../src/dataset/index.js";
import type { Task, TaskKind } from "../../src/task/index.js";

const taskOf = (kind: TaskKind) => ({ kind, prompt: { template: "{{ text }}" }, answer: { field: "answer" } }) as Task;
const rowOf = (answer: string, index = 0) =>
  ({ index, line: index + 1, answer, fields: { text: "Zoe is here" } }) as unknown as Row;

it.each([
  { targets: ["1", "3"], tolerance: Math.SQRT2 / 10 },
  { targets: ["0.1", "0.1", "0.1"], tolerance: 0.01 },
  { targets: ["-4", "-4"], tolerance: 0.4 },
  { targets: ["0", "0"], tolerance: 0.1 },
])("of targets $targets numbers count as the same up to $tolerance", ({ targets, tolerance }) => {
  const plan = planAudit(
    taskOf("regress"),
    targets.map((target) => rowOf(target)),
    [],
    { seed: 1 },
  );
  expect(plan.tolerance).toBeCloseTo(tolerance, 12);
});

it.each([9, 10])("a swap of %d rows is tested from ten rows on", (count) => {
  const task = taskOf("classify");
  const labels = ["no", "yes"].map((text) => ({ value: text, text }));
  const rows = Array.from({ length: count }, (_, index) => rowOf("yes", index));
  const plan = planAudit(task, rows, labels, { seed: 1, swaps: [["Zoe", "Bob"]] });
  const scored = (index: number, yes: number) => ({
    index,
    answer: "yes",
    prediction: "yes",
    probabilities: { no: 1 - yes, yes },
  });
  const judged = rows.map((row) => judge(task, row, scored(row.index, 0.9)));
  const own = { ...plan, lists: plan.lists.slice(-1) };
  const variants = variantsOf(own.lists, task, judged);
  const [swap, ...others] = swapsOf(
    own,
    variants,
    variants.map(({ row }) => scored(row.index, 0.6)),
  );
  expect(others).toEqual([]);
  expect(swap).toMatchObject({
    rows: count,
    agreement: { value: 1 },
    shift: { value: expect.closeTo(-0.3, 12) as number },
  });
  if (count < 10) expect([swap!.p_value, swap!.p_holm]).toEqual([null, null]);
  else expect(swap!.p_holm).toBeLessThan(0.01);
});

it("a label that follows given names is found in the rows, clear of 0, and one that follows none is not", () => {
  const task = taskOf("classify");
  const labels = ["no", "yes"].map((text) => ({ value: text, text }));
  const judgement = { tolerance: null, groups: [], swaps: [], crows_pairs: null, bbq: null, teacher: null };
  const found = (answerOf: (name: number, round: number) => string) => {
    const names = ["Mary", "Anna", "John", "Robert"];
    const rows = Array.from({ length: 120 }, (_, index) => ({
      ...rowOf(answerOf(index % 4, Math.floor(index / 4)), index),
      fields: { text: `${names[index % 4]} asked for a loan` },
    }));
    return findingsOf(rowsAudit(planAudit(task, rows, labels, { seed: 1 }), [{ split: "train", rows }]), judgement);
  };
  const biased = found((name, round) => (name < 2 === round % 10 > 0 ? "no" : "yes"));
  expect(biased.map(({ what }) => what.replace(/ is tied.*/, "")).sort()).toEqual([
    "anna (given name, female)",
    "john (given name, male)",
    "mary (given name, female)",
    "robert (given name, male)",
  ]);
  for (const { value } of biased) expect(value.low).toBeGreaterThan(0);
  expect(found((_, round) => (round % 2 === 0 ? "no" : "yes"))).toEqual([]);
});
