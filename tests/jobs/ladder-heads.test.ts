// ladder() of tasks that a head answers, on a toy: numbers and sets of labels. Which rungs there are, what the student learns from, what is said of the others.
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { ladderText } from "../../bin/print-ladder.js";
import {
  compare,
  evaluate,
  type LadderEvent,
  type LadderOptions,
  type LadderResult,
  ladder,
  reportLadder,
} from "../../src/index.js";
import { largestGap, mostFlips } from "../../src/jobs/fairness.js";
import { readTask, type Task } from "../../src/task/index.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { harm } from "./toy-harm.js";
import { bothAudited, expectFairness, ofBoth } from "./toy-names.js";
import { writeSetTask } from "./toy-sets.js";
import { writeToyTask } from "./toy-task.js";

vi.mock("../../src/export/index.js", async (original) => (await import("./toy-harm.js")).harmful(original));

const folder = mkdtempSync(path.join(tmpdir(), "stillroom-ladder-heads-"));
let model: string;
const small = (out: string, change: Partial<LadderOptions> = {}): LadderOptions => ({
  ...{ model, out: path.join(folder, out), shots: 2, epochs: 3, studentEpochs: 3, quantize: "Q8_0", threads: 1 },
  ...{ learningRate: 1e-2, studentLearningRate: 1e-2, ...change },
});

/** The toy task with 10 for early and 50 for late; each test row once of a Zoe and once of a Bob. */
async function numberTask(): Promise<Task> {
  const { folder: data, file } = writeToyTask({ rows: 120 });
  for (const name of ["train.jsonl", "test.jsonl"]) {
    const lines = readFileSync(path.join(data, name), "utf8")
      .replaceAll('"early"', "10")
      .replaceAll('"late"', "50")
      .trim()
      .split("\n");
    writeFileSync(path.join(data, name), (name === "test.jsonl" ? lines.flatMap(ofBoth) : lines).join("\n"));
  }
  const text = readFileSync(file, "utf8").replace("classify", "regress").replace("accuracy", "mae");
  const labels = text.replace("{ early: early, late: late }", '{ 0: "0", 60: "60" }');
  writeFileSync(file, labels.replace(", stratify: half", ""));
  appendFileSync(file, bothAudited);
  return readTask(file);
}

beforeAll(() => {
  model = writeTextToy({}, { ...textToy, layers: 3 });
});

describe("a ladder of numbers", () => {
  let task: Task;
  let whole: LadderResult;
  beforeAll(async () => {
    task = await numberTask();
    whole = await ladder(task, small("numbers"));
  }, 60_000);

  it("has all five rungs, the task's metric, and p of a permutation test", async () => {
    const names = ["zero-shot", "few-shot", "tuned", "student", "quantised student"];
    expect(whole.rungs.map(({ rung }) => rung)).toEqual(names);
    expect(whole.rungs.map(({ p_value }) => typeof p_value)).toEqual(["object", ...Array(4).fill("number")]);
    const [zero, , tuned, student, quantised] = whole.rungs;
    expect(tuned!.metrics.mae!.high).toBeLessThan(zero!.metrics.mae!.low!);
    expect(student!.metrics.mae!.high).toBeLessThan(zero!.metrics.mae!.low!);
    expect(quantised!.bytes).toBeLessThan(student!.bytes);
    const sizes = [model, ...["adapter.gguf", "head.safetensors"].map((name) => path.join(tuned!.adapter!, name))];
    expect(tuned!.bytes).toBe(sizes.reduce((sum, file) => sum + statSync(file).size, 0));
    expect([student!.adapter, quantised!.adapter]).toEqual(Array(2).fill(path.join(folder, "numbers/distilled")));
    const files = ["few-shot", "tuned"].map((rung) => path.join(folder, "numbers", `${rung}.predictions.jsonl`));
    const { pairs } = await compare(task, files, {});
    expect(pairs).toMatchObject([{ test: "permutation", p_value: tuned!.p_value }]);
  });

  it("has a student of numbers half-way between the rows' and the tuned model's", async () => {
    const predictions = path.join(folder, "train.jsonl");
    await evaluate(task, {
      model,
      adapter: path.join(folder, "numbers/tuned"),
      split: "train",
      predictions,
      threads: 1,
    });
    const said = readFileSync(predictions, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const taught = readFileSync(path.join(folder, "numbers/taught-train.jsonl"), "utf8").trim().split("\n");
    expect(taught).toHaveLength(said.length);
    for (const [place, line] of taught.entries()) {
      const { half } = JSON.parse(line);
      expect(Number(half)).toBeCloseTo((Number(said[place].answer) + Number(said[place].prediction)) / 2, 3);
    }
    const run = JSON.parse(readFileSync(path.join(folder, "numbers/distilled/run.json"), "utf8"));
    expect(run.model.path).toBe(path.join(folder, "numbers/student.gguf"));
    // The rows that the run is validated on keep their own numbers.
    const kept = readFileSync(path.join(folder, "numbers/taught-validation.jsonl"), "utf8").trim().split("\n");
    expect(new Set(kept.map((line) => JSON.parse(line).half))).toEqual(new Set(["10", "50"]));
  });

  it("says of each rung the largest gap in the task's units, as an audit finds it", async () => {
    const [, , tuned] = whole.rungs;
    const { gap, swap } = tuned!.fairness;
    const { gaps, swaps } = await expectFairness(tuned!.fairness, task, model, tuned!.adapter!);
    // A share of intervals, however large, is no error.
    const covered = { ...gaps[0]!, metric: "coverage" as const, difference: { value: 1e3, low: 0, high: 1e3 } };
    expect(largestGap([{ attribute: "people", gaps: [covered, ...gaps] }])).toEqual(gap);
    expect(swap!.label).toBeNull();
    // Of few rows a swap turns all or none by chance.
    const turned = { ...swaps[0]!, attribute: "few", rows: 9, agreement: { value: 0, low: 0, high: 0.3 } };
    expect(mostFlips([turned, ...swaps])).toEqual(swap);
    expect(mostFlips([turned])).toBeNull();
  });

  it("says what is not as usual, on the terminal and on its page", async () => {
    expect(whole.notes.map(({ rung, climbed }) => [rung, climbed])).toEqual([
      ["student", true],
      ["quantised student", true],
    ]);
    expect(ladderText(whole)).toMatch(/student: a head is not distilled: .* half-way between/);
    expect(ladderText(whole)).toContain("p: a paired permutation test of mae against the rung above");
    const file = path.join(folder, "ladder.html");
    await reportLadder(whole, "stillroom ladder", file);
    expect(readFileSync(file, "utf8")).toContain("a head is not distilled");
  });

  it("measures what is quantised under the head, and keeps its rungs where that is harmed", async () => {
    const [file, quantized] = ["ladder.json", "quantized.gguf"].map((name) => path.join(folder, "numbers", name));
    const card = readFileSync(path.join(folder, "numbers/quantized.md"), "utf8");
    expect(card).toMatch(/mae on 24 validation rows of halves(.|\n)*Both were run under distilled, whose head gave/);
    const kept = JSON.parse(readFileSync(file!, "utf8"));
    writeFileSync(file!, JSON.stringify({ ...kept, rungs: kept.rungs.slice(0, 4) }));
    rmSync(quantized!);
    harm.on = true;
    const error = await ladder(task, small("numbers")).catch((thrown) => thrown);
    harm.on = false;
    expect(error).toMatchObject({ code: "gate", message: "too much was lost" });
    expect(error.cause.rungs).toEqual(whole.rungs.slice(0, 4));
    const again = await ladder(task, small("numbers"));
    expect(again.rungs[4]).toMatchObject({ rung: "quantised student", metrics: whole.rungs[4]!.metrics });
  });

  it("without numbers on its scale begins with tuning, and goes on where it was cut off", async () => {
    const bare: Task = { ...task, answer: { field: "half" } };
    const controller = new AbortController();
    const cut = ladder(
      bare,
      small("bare", {
        signal: controller.signal,
        onEvent: (event) => event.type === "tune" && event.rung === "student" && controller.abort(),
      }),
    );
    await expect(cut).rejects.toMatchObject({ code: "cancelled" });
    const begun: string[] = [];
    const found = await ladder(
      bare,
      small("bare", { onEvent: (event) => event.type === "begin" && begun.push(event.rung) }),
    );
    expect(begun).toEqual(["student", "quantised student"]);
    expect(found.rungs.map(({ rung }) => rung)).toEqual(["tuned", "student", "quantised student"]);
    expect(found.notes.filter(({ climbed }) => !climbed).map(({ rung }) => rung)).toEqual(["zero-shot", "few-shot"]);
    expect(ladderText(found)).toMatch(/zero-shot +not climbed/);
    expect(ladderText(found)).toMatch(/few-shot: a number needs a head/);
    expect(found.rungs.slice(1).map(({ metrics }) => metrics)).toEqual(
      whole.rungs.slice(3).map(({ metrics }) => metrics),
    );
  }, 60_000);
});

describe("a ladder of sets of labels", () => {
  it("begins with tuning, and its student learns the rows' own sets", async () => {
    const own = mkdtempSync(path.join(tmpdir(), "stillroom-ladder-sets-"));
    const task = await readTask(writeSetTask(own));
    for (const name of ["train", "test"]) appendFileSync(path.join(own, `${name}.jsonl`), "{broken\n");
    const told: string[] = [];
    const onEvent = (event: LadderEvent) => event.type === "bad" && told.push(`${event.rung} ${event.bad.reason}`);
    const rates = { learningRate: 3e-2, studentLearningRate: 3e-2 };
    const found = await ladder(task, small("sets", { ...rates, onEvent }));
    const { rungs, notes } = found;
    expect(rungs.map(({ errors }) => errors)).toEqual([2, 1, 1]);
    expect(told).toEqual([expect.stringMatching(/^tuned is not JSON/)]);
    expect(ladderText(found)).toContain("tuned: 2 bad rows left out\nstudent: 1 bad row left out");
    expect(rungs.map(({ rung }) => rung)).toEqual(["tuned", "student", "quantised student"]);
    expect(rungs.map(({ p_value }) => typeof p_value)).toEqual(["object", "number", "number"]);
    for (const { metrics } of rungs) expect(metrics[task.metric]!.value).toBeGreaterThan(0.6);
    expect(notes).toMatchObject([
      { rung: "zero-shot", climbed: false, why: expect.stringMatching(/a set of labels needs a head/) },
      { rung: "few-shot", climbed: false },
      { rung: "student", why: expect.stringMatching(/on the rows' own sets$/) },
      { rung: "quantised student", climbed: true },
    ]);
  }, 60_000);
});
