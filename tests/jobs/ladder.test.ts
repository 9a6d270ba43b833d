// ladder() on a toy: its rungs, its files, and that one that was cut off goes on to the same.
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { ladderText } from "../../bin/print-ladder.js";
import {
  compare,
  type LadderEvent,
  type LadderOptions,
  type LadderResult,
  ladder,
  reportLadder,
  type Task,
} from "../../src/index.js";
import { hashFile } from "../../src/support/files.js";
import { readTask } from "../../src/task/index.js";
import { closeBrowser, flawsOf } from "../report/browser.js";
import { needs } from "../support/needs.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { harm } from "./toy-harm.js";
import { bothAudited, expectFairness, ofBoth } from "./toy-names.js";
import { writeToyTask } from "./toy-task.js";

vi.mock("../../src/export/index.js", async (original) => (await import("./toy-harm.js")).harmful(original));

const folder = mkdtempSync(path.join(tmpdir(), "stillroom-ladder-"));
let task: Task;
let model: string;
let whole: LadderResult;
const begun: string[] = [];
/** Of its distillation. */
const phases: string[] = [];
/** By rung, how many variants with another group's words were answered in the end. */
const swapped = new Map<string, string>();
const small = (out: string, change: Partial<LadderOptions> = {}): LadderOptions => ({
  ...{ model, out: path.join(folder, out), shots: 2, epochs: 2, studentEpochs: 2, quantize: "Q8_0", threads: 1 },
  ...change,
});

/** The toy's test rows, each once of a Zoe and once of a Bob. */
async function groupedTask(): Promise<Task> {
  const { folder, file } = writeToyTask({ rows: 120 });
  const tests = path.join(folder, "test.jsonl");
  const rows = readFileSync(tests, "utf8").trim().split("\n");
  writeFileSync(tests, rows.flatMap(ofBoth).join("\n"));
  appendFileSync(file, bothAudited);
  return readTask(file);
}

beforeAll(async () => {
  task = await groupedTask();
  model = writeTextToy({}, { ...textToy, layers: 3 });
  const onEvent = (event: LadderEvent) => {
    if (event.type === "begin") begun.push(event.rung);
    if (event.type === "distill" && event.event.type === "phase") phases.push(event.event.phase);
    if (event.type === "swaps") swapped.set(event.rung, `${event.progress.rows} of ${event.progress.totalRows}`);
  };
  whole = await ladder(task, small("whole", { onEvent }));
}, 60_000);

/** What of a rung another run of it has too. */
const lasting = ({ rungs }: LadderResult) =>
  rungs.map(({ rung, shots, select, rows, metrics, p_value, fairness, bytes }) => {
    return { rung, shots, select, rows, metrics, p_value, fairness, bytes };
  });

describe("a ladder", () => {
  it("has five rungs on the same rows, each against the one before", () => {
    expect(whole).toMatchObject({ task: "halves", metric: "accuracy", out: path.join(folder, "whole") });
    expect(whole.rungs.map(({ rung }) => rung)).toEqual([
      "zero-shot",
      "few-shot",
      "tuned",
      "student",
      "quantised student",
    ]);
    expect(begun).toEqual(whole.rungs.map(({ rung }) => rung));
    expect([...swapped]).toEqual(begun.map((rung) => [rung, "40 of 40"]));
    expect(whole.rungs.map(({ shots }) => shots)).toEqual([0, 2, 0, 0, 0]);
    expect(whole.rungs.map(({ rows }) => rows)).toEqual([40, 40, 40, 40, 40]);
    expect(whole.rungs.map(({ select }) => select === null)).toEqual([true, false, true, true, true]);
    expect(whole.rungs.map(({ p_value }) => typeof p_value)).toEqual(["object", ...Array(4).fill("number")]);
    for (const { metrics, memory_bytes } of whole.rungs) {
      expect(metrics.accuracy).toMatchObject({ low: expect.any(Number), high: expect.any(Number) });
      expect(memory_bytes).toBeGreaterThan(0);
    }
  });

  it("prompts with the best of three ways to choose examples, as it was on validation rows", () => {
    const file = path.join(folder, "whole/prompt.json");
    const prompt = JSON.parse(readFileSync(file, "utf8"));
    expect(whole.rungs[1]).toMatchObject({ prompt: file, select: prompt.select, shots: prompt.shots });
    expect(prompt.measured).toMatchObject({ split: "validation", rows: 24, metric: "accuracy" });
  });

  it("says of each rung the largest gap and the swap that flips most, as an audit finds them", async () => {
    const [, , tuned] = whole.rungs;
    const { swaps } = await expectFairness(tuned!.fairness, task, model, tuned!.adapter!);
    const { agreement } = swaps.find(({ attribute }) => attribute === "people")!;
    const { flips } = tuned!.fairness.swap!;
    expect(flips).toEqual({ value: 1 - agreement.value, low: 1 - agreement.high, high: 1 - agreement.low });
  });

  it("ends with a student of a third of the layers, smaller when quantised", () => {
    const [model, , tuned, student, quantised] = whole.rungs.map(({ bytes }) => bytes);
    expect(tuned).toBeGreaterThan(model!);
    expect(quantised).toBeLessThan(student!);
    expect(whole.rungs[3]!.model).toBe(path.join(folder, "whole/distilled/model.gguf"));
    // The rungs ask these models about these rows: its distillation does not.
    expect(phases).toEqual(["quantize"]);
    const { result } = JSON.parse(readFileSync(path.join(folder, "whole/distilled/run.json"), "utf8"));
    expect(result).toMatchObject({ comparison: [], gate: { passed: true } });
  });

  it("that was cut off within a rung goes on to the same", async () => {
    const controller = new AbortController();
    const cut = ladder(
      task,
      small("cut", {
        signal: controller.signal,
        onEvent: (event) =>
          event.type === "distill" && event.event.type === "step" && event.event.step === 3 && controller.abort(),
      }),
    );
    // Not with resume, as a distillation says it: a ladder has no such option.
    const message = expect.stringMatching(/^cancelled after step 3 of \d+; the same again goes on from there$/);
    await expect(cut).rejects.toMatchObject({ code: "cancelled", message, options: [] });
    const file = path.join(folder, "cut/ladder.json");
    const left = JSON.parse(readFileSync(file, "utf8"));
    expect(left.making).toMatchObject({ rung: "student", seconds: expect.any(Number) });
    writeFileSync(file, JSON.stringify({ ...left, making: { rung: "student", seconds: 1000 } }));
    const again: string[] = [];
    const result = await ladder(
      task,
      small("cut", { onEvent: (event) => event.type === "begin" && again.push(event.rung) }),
    );
    expect(again).toEqual(["student", "quantised student"]);
    expect(lasting(result)).toEqual(lasting(whole));
    expect(result.rungs.map(({ seconds }) => seconds > 1000)).toEqual([false, false, false, true, false]);
    expect(JSON.parse(readFileSync(file, "utf8")).making).toBeNull();
    for (const file of ["distilled/quantized.gguf", "tuned/adapter.gguf"])
      expect(await hashFile(path.join(folder, "cut", file))).toBe(await hashFile(path.join(folder, "whole", file)));
  });

  it("takes a precision that training a whole student does not", async () => {
    const { rungs } = await ladder(task, small("rounded", { precision: "int8" }));
    expect(rungs).toHaveLength(5);
  });

  it("of other options is refused in its folder, by the option's name", async () => {
    await expect(ladder(task, small("whole", { shots: 3 }))).rejects.toThrow("holds a ladder with shots 2, now 3");
  });

  it("of another task is refused by its name, and of the same one by what it says otherwise", async () => {
    const refusal = (change: Partial<Task>) =>
      ladder({ ...task, ...change }, small("whole")).catch(({ code, message }) => `${code}: ${message}`);
    const where = `usage: ${path.join(folder, "whole")} holds a ladder`;
    const remedy = "give what it was begun with, or choose another folder for out";
    expect(await refusal({ name: "other" })).toBe(
      `${where} of the task ${task.name}, this is other; choose another folder for out`,
    );
    expect(await refusal({ metric: "macro_f1" })).toBe(
      `${where} with task.metric "accuracy", now "macro_f1"; ${remedy}`,
    );
    const prompt = { ...task.prompt, template: `{{ text }} ${"and so on ".repeat(20)}`, instruction: "Say." };
    expect(await refusal({ prompt })).toBe(
      `${where} with another task.prompt.template; task.prompt.instruction not given, now "Say."; ${remedy}`,
    );
    expect(await refusal({ prompt: { ...prompt, separator: "|" }, metric: "macro_f1" })).toContain(" and 1 more; give");
    // The rungs' fairness is of the groups that the task names. Bounds and the file's place decide nothing.
    expect(await refusal({ audit: { columns: ["half"] } })).toContain("task.audit.columns not given, now");
    const moved = { ...task, file: "/elsewhere.yaml", audit: { ...task.audit, bounds: { flips: 0.5 } } };
    expect((await ladder(moved, small("whole"))).rungs).toHaveLength(5);
  });

  it("is refused before its first rung where a later one could not be climbed", async () => {
    const begun: string[] = [];
    const onEvent = ({ type }: LadderEvent) => begun.push(type);
    await expect(ladder(task, small("late", { layers: 4, onEvent }))).rejects.toThrow("up to the model's 3 for layers");
    await expect(ladder(task, small("late", { quantize: "Q9", onEvent }))).rejects.toThrow(
      /for quantize, received "Q9"/,
    );
    await expect(ladder(task, small("late", { limit: 1, onEvent }))).rejects.toThrow(
      /has 1 training row for examples, 2 were asked for/,
    );
    expect(begun).toEqual([]);
    expect(existsSync(path.join(folder, "late"))).toBe(false);
  });

  it("of a model that cannot be tuned is refused before anything is made", async () => {
    const other = writeTextToy({ "llama.attention.sliding_window": 64 });
    await expect(ladder(task, small("untunable", { model: other }))).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(/the native engine cannot open .*sliding-window attention is not supported/),
    });
    expect(existsSync(path.join(folder, "untunable"))).toBe(false);
  });

  it("of another version is refused by its file", async () => {
    const out = path.join(folder, "old");
    mkdirSync(out);
    writeFileSync(path.join(out, "ladder.json"), '{"format":"stillroom-ladder","version":3}');
    const refused = `${out}/ladder.json is not of a ladder of this version`;
    await expect(ladder(task, small("old"))).rejects.toThrow(refused);
    writeFileSync(path.join(out, "ladder.json"), '{"format":"stillroom-ladder","version":4,"identity":{},"rungs":[]}');
    await expect(ladder(task, small("old"))).rejects.toThrow(refused);
  });

  it("with a damaged rung is refused by its file and the rung, before anything is made", async () => {
    const file = path.join(folder, "whole/ladder.json");
    const good = readFileSync(file, "utf8");
    for (const damage of [{ fairness: null }, { fairness: { gap: null, swap: 5 } }, { metrics: undefined }]) {
      const left = JSON.parse(good);
      Object.assign(left.rungs[1], damage);
      left.rungs.pop();
      writeFileSync(file, JSON.stringify(left));
      await expect(ladder(task, small("whole"))).rejects.toMatchObject({
        code: "input",
        message: `${file} is damaged in its rung 2; put it back as the ladder wrote it, or give another folder`,
      });
    }
    writeFileSync(file, good);
    expect(lasting(await ladder(task, small("whole")))).toEqual(lasting(whole));
  });

  it("begins in an empty folder: what else lies there is neither written over nor taken for a rung's", async () => {
    const out = path.join(folder, "used");
    mkdirSync(out);
    writeFileSync(path.join(out, "student.gguf"), "mine");
    await expect(ladder(task, small("used"))).rejects.toMatchObject({
      code: "usage",
      message: `${out} holds student.gguf, and no ladder; choose an empty or a new folder for out`,
    });
    expect(readFileSync(path.join(out, "student.gguf"), "utf8")).toBe("mine");
  });

  it("leaves bad rows out of the choice of a prompt, tells and counts them; strict, it ends at the first", async () => {
    const { folder: own, file } = writeToyTask({ rows: 120, validation: false });
    const broken = '{"text": 5, "half": "late"}\n';
    const good = readFileSync(path.join(own, "test.jsonl"), "utf8");
    const words = readFileSync(file, "utf8").replace("{{ text }}", "{{ text | trim }}");
    writeFileSync(file, words.replace("data:", "data:\n  validation: { path: v.jsonl }"));
    writeFileSync(path.join(own, "v.jsonl"), broken + good);
    const spoiled = await readTask(file);
    const told: string[] = [];
    const errors: number[] = [];
    const controller = new AbortController();
    const onEvent = (event: LadderEvent) => {
      if (event.type === "bad") told.push(`${event.rung} ${path.basename(event.bad.file)}:${event.bad.line}`);
      if (event.type === "end") errors.push(event.rung.errors);
      if (event.type === "begin" && event.rung === "tuned") controller.abort();
    };
    const cut = ladder(spoiled, small("spoiled", { onEvent, signal: controller.signal }));
    const message = expect.stringMatching(/^cancelled while .*; the same again goes on from there$/);
    await expect(cut).rejects.toMatchObject({ code: "cancelled", message });
    expect([errors, told]).toEqual([[0, 1], ["few-shot v.jsonl:1"]]);
    const strict = ladder(spoiled, small("spoiled", { strict: true, out: path.join(folder, "strict") }));
    await expect(strict).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(/v\.jsonl:1: .*trim$/),
    });
  });

  it("holds a rung against the one before on the rows that both could take", async () => {
    const { folder: own, file } = writeToyTask({ rows: 120 });
    // Without examples it just fits the toy's context.
    appendFileSync(path.join(own, "test.jsonl"), `{"text":"${"a".repeat(248)}","half":"early"}\n`);
    const long = await readTask(file);
    const { out, rungs } = await ladder(long, small("long"));
    expect(rungs.map(({ rows }) => rows)).toEqual([21, 20, 21, 21, 21]);
    expect(rungs.map(({ errors }) => errors)).toEqual([0, 1, 0, 0, 0]);
    const names = ["zero-shot", "few-shot", "tuned", "student", "quantised-student"];
    const files = names.map((name) => path.join(out, `${name}.predictions.jsonl`));
    for (const [place, file] of files.slice(1).entries()) {
      const { rows, pairs } = await compare(long, [files[place]!, file]);
      expect([rows, pairs[0]!.p_value]).toEqual([place < 2 ? 20 : 21, rungs[place + 1]!.p_value]);
    }
  });

  it("needs test rows", async () => {
    const { test: _, ...data } = task.data;
    await expect(ladder({ ...task, data }, small("none"))).rejects.toThrow("has no test rows");
  });

  it("keeps its rungs where quantising harms the student", async () => {
    harm.on = true;
    const options = small("whole", { quantize: "Q4_0", out: path.join(folder, "harmed") });
    const error = await ladder(task, options).catch((thrown) => thrown);
    expect(error).toMatchObject({
      code: "gate",
      message: expect.stringMatching(/^too much was lost; the student is kept/),
      cause: {
        rungs: [{}, {}, { rung: "tuned" }, { rung: "student" }],
        notes: [{ rung: "quantised student", climbed: false, why: expect.stringMatching(/^too much was lost/) }],
      },
    });
    expect(ladderText(error.cause)).toMatch(
      /student .*\nquantised student +not climbed.*\nquantised student: too much/,
    );
    const page = path.join(folder, "harmed.html");
    await reportLadder(error.cause, "stillroom ladder", page);
    expect(readFileSync(page, "utf8")).toContain("quantised student: not climbed: too much was lost");
    expect(readFileSync(page, "utf8")).toContain("McNemar");
    // Begun again, it comes to the same gate and not to a missing file; and past it, once nothing is harmed.
    await expect(ladder(task, options)).rejects.toMatchObject({
      code: "gate",
      message: expect.stringMatching(/^too much was lost; the student is kept/),
    });
    harm.on = false;
    expect((await ladder(task, options)).rungs.at(-1)).toMatchObject({ rung: "quantised student" });
  });

  const file = path.join(folder, "ladder.html");

  it("spells out what would steer the terminal", () => {
    const notes = [{ rung: "student" as const, climbed: true, why: "a \u001b[2J label" }];
    expect(ladderText({ ...whole, notes })).toContain("student: a \\u001b[2J label\n");
  });

  it("has a page with every rung", async () => {
    await reportLadder(whole, "stillroom ladder <task>", file);
    const page = readFileSync(file, "utf8");
    for (const { rung } of whole.rungs) expect(page).toContain(`<td>${rung}</td>`);
    expect(page).toContain("stillroom ladder &lt;task&gt;");
    expect(page).toContain("<td>people: north and south, 40 rows</td>");
    expect(page).not.toContain("No gap:");
    const none = { gap: null, swap: null };
    const few = { ...whole, rungs: whole.rungs.map((rung) => ({ ...rung, fairness: none })) };
    await reportLadder(few, "stillroom ladder", path.join(folder, "few.html"));
    expect(readFileSync(path.join(folder, "few.html"), "utf8")).toMatch(
      /No gap: no two groups.*\n.*No swap: no ten rows/,
    );
  });

  afterAll(closeBrowser);
  needs("chromium")("has a page that is drawn without a complaint", async () => {
    expect(await flawsOf(file)).toEqual([]);
  });
});
