// What an audit looks at, and what it tests by: numbers' tolerance, and swaps of too few rows.
import { expect, it } from "vitest";
import { judge } from "../../src/audit/membership.js";
import { planAudit } from "../../src/audit/plan.js";
import { swapsOf, variantsOf } from "../../src/audit/swaps.js";
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
