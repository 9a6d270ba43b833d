// ladder() on a toy: its rungs, its files, and that one that was cut off goes on to the same.
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import {
  type LadderEvent,
  type LadderOptions,
  type LadderResult,
  ladder,
  reportLadder,
  type Task,
} from "../../src/index.js";
import { StillroomError } from "../../src/support/errors.js";
import { hashFile } from "../../src/support/files.js";
import { readTask } from "../../src/task/index.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { writeToyTask } from "./toy-task.js";

const harm = vi.hoisted(() => ({ on: false }));
vi.mock("../../src/export/index.js", async (original) => {
  const real = await original<typeof import("../../src/export/index.js")>();
  const exportModel: typeof real.exportModel = async (options) => {
    if (harm.on) throw new StillroomError("gate", "too much was lost");
    return real.exportModel(options);
  };
  return { ...real, exportModel };
});

const folder = mkdtempSync(path.join(tmpdir(), "stillroom-ladder-"));
let task: Task;
let model: string;
let whole: LadderResult;
const begun: string[] = [];
const small = (out: string, change: Partial<LadderOptions> = {}): LadderOptions => ({
  ...{ model, out: path.join(folder, out), shots: 2, epochs: 2, studentEpochs: 2, quantize: "Q8_0", threads: 1 },
  ...change,
});

beforeAll(async () => {
  task = await readTask(writeToyTask({ rows: 120 }).file);
  model = writeTextToy({}, { ...textToy, layers: 3 });
  const onEvent = (event: LadderEvent) => event.type === "begin" && begun.push(event.rung);
  whole = await ladder(task, small("whole", { onEvent }));
}, 60_000);

/** What of a rung another run of it has too. */
const lasting = ({ rungs }: LadderResult) =>
  rungs.map(({ rung, shots, rows, metrics, p_value, bytes }) => ({ rung, shots, rows, metrics, p_value, bytes }));

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
    expect(whole.rungs.map(({ shots }) => shots)).toEqual([0, 2, 0, 0, 0]);
    expect(whole.rungs.map(({ rows }) => rows)).toEqual([20, 20, 20, 20, 20]);
    expect(whole.rungs.map(({ p_value }) => typeof p_value)).toEqual(["object", ...Array(4).fill("number")]);
    for (const { metrics, memory_bytes } of whole.rungs) {
      expect(metrics.accuracy).toMatchObject({ low: expect.any(Number), high: expect.any(Number) });
      expect(memory_bytes).toBeGreaterThan(0);
    }
  });

  it("ends with a student of a third of the layers, smaller when quantised", () => {
    const [model, , tuned, student, quantised] = whole.rungs.map(({ bytes }) => bytes);
    expect(tuned).toBeGreaterThan(model!);
    expect(quantised).toBeLessThan(student!);
    expect(whole.rungs[3]!.model).toBe(path.join(folder, "whole/distilled/model.gguf"));
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
    await expect(cut).rejects.toMatchObject({ code: "cancelled" });
    const again: string[] = [];
    const result = await ladder(
      task,
      small("cut", { onEvent: (event) => event.type === "begin" && again.push(event.rung) }),
    );
    expect(again).toEqual(["student", "quantised student"]);
    expect(lasting(result)).toEqual(lasting(whole));
    for (const file of ["distilled/quantized.gguf", "tuned/adapter.gguf"])
      expect(await hashFile(path.join(folder, "cut", file))).toBe(await hashFile(path.join(folder, "whole", file)));
  });

  it("takes a precision that training a whole student does not", async () => {
    const { rungs } = await ladder(task, small("rounded", { precision: "int8" }));
    expect(rungs).toHaveLength(5);
  });

  it("of other options is refused in its folder, by the option's name", async () => {
    await expect(ladder(task, small("whole", { shots: 3 }))).rejects.toThrow("holds a ladder with shots 2, now 3");
    await expect(ladder({ ...task, metric: "macro_f1" }, small("whole"))).rejects.toThrow("holds a ladder with task");
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
      message: "too much was lost",
      cause: { rungs: [{}, {}, { rung: "tuned" }] },
    });
  });

  it("has a page with every rung", async () => {
    const file = path.join(folder, "ladder.html");
    await reportLadder(whole, "stillroom ladder <task>", file);
    const page = readFileSync(file, "utf8");
    for (const { rung } of whole.rungs) expect(page).toContain(`<td>${rung}</td>`);
    expect(page).toContain("stillroom ladder &lt;task&gt;");
  });
});
