// Rounding and colours of what people read.
import { afterEach, describe, expect, it, vi } from "vitest";
import { size } from "../../bin/options.js";
import {
  clock,
  colours,
  evaluationText,
  fileSize,
  number,
  plain,
  signed,
  studentText,
  teachText,
} from "../../bin/print.js";
import { comparisonText } from "../../bin/print-distill.js";
import { Progress } from "../../bin/print-progress.js";
import { promptText } from "../../bin/print-prompt.js";
import type { PromptResult, StudentResult, TaskKind, TeachResult } from "../../src/index.js";

afterEach(() => vi.unstubAllEnvs());

/** An evaluation but for what is shown of it. */
const evaluated = {
  ...{ split: "test" as const, prompt: null, shots: 0, errors: 0, bad_rows: [], metrics: {}, reliability: [] },
  ...{ rows_per_second: 1, tokens_per_second: 1, peak_memory_bytes: 1, seconds: 1 },
};

describe("print", () => {
  it("writes sizes, times and losses", () => {
    expect([0, 999, 1000, 98362432, 2e15].map(fileSize)).toEqual(["0 B", "999 B", "1.0 kB", "98.4 MB", "2000.0 TB"]);
    expect([0, 59.6, 65, 7384].map(clock)).toEqual(["0:00", "1:00", "1:05", "2:03:04"]);
    expect([1.23456, null, -1e-7, -0.5, -0].map(number)).toEqual(["1.2346", "–", "0.0000", "-0.5000", "0.0000"]);
    expect([-1e-7, 0.2].map(signed)).toEqual(["0.000", "+0.200"]);
  });

  it("spells out what would steer the terminal", () => {
    expect(plain("a\u001b[2J\u0007\u009b\u202eb\n")).toBe("a\\u001b[2J\\u0007\\u009b\\u202eb\\u000a");
    expect(plain("日本 – é ❄\ufe0f")).toBe("日本 – é ❄\ufe0f");
    const label = "\u001b[31mred";
    const text = evaluationText({
      ...{ ...evaluated, task: label, model: label, adapter: label, rows: 1 },
      confusion: { labels: [label], counts: [[1]] },
      classes: [{ label, precision: 1, recall: 1, f1: 1, support: 1 }],
      slices: [
        {
          column: label,
          slices: [{ value: label, rows: 1, metrics: { accuracy: { value: 1, low: 1, high: 1 } } }],
        },
      ],
      against: { against: label, rows: 1, metrics: {}, only_first: 0, only_second: 0, p_value: 1 },
    });
    expect(text).not.toContain("\u001b");
    expect(text.split("\\u001b[31mred")).toHaveLength(10);
  });

  it("shows how sure a student's agreement with its teacher is, and none of the teacher's with itself", () => {
    const accuracy = { value: 0.75, low: 0.5, high: 0.9 };
    const line = { model: "m", adapter: null, parameters: 1, bytes: 1, rows_per_second: 1, memory_bytes: null };
    const comparison = [
      { ...line, name: "teacher" as const, metrics: { accuracy }, agreement: 1, agreement_interval: null },
      {
        ...{ ...line, name: "student" as const, metrics: { accuracy } },
        ...{ agreement: 0.875, agreement_interval: [0.625, 0.96875] as [number, number] },
      },
      { ...line, name: "quantized" as const, metrics: {}, agreement: null, agreement_interval: null },
    ];
    const text = comparisonText({ metric: "accuracy", comparison });
    expect(text).toMatch(/as the teacher +95 % *\n/);
    expect(text).toMatch(/teacher .* 0\.500 – 0\.900 +1\.000 +– *\n/);
    expect(text).toMatch(/student .* 0\.500 – 0\.900 +0\.875 +0\.625 – 0\.969 *\n/);
    expect(text).toMatch(/quantised student .* \? +– *$/m);
  });

  it("shows a slice without a metric that others have by a dash", () => {
    const accuracy = { value: 1, low: 1, high: 1 };
    const text = evaluationText({
      ...{ ...evaluated, task: "t", model: "m", adapter: null, rows: 2, confusion: null, classes: null, against: null },
      slices: [
        {
          column: "c",
          slices: [
            { value: "a", rows: 1, metrics: { accuracy } },
            { value: "b", rows: 1, metrics: { accuracy, answered_accuracy: accuracy } },
          ],
        },
        { column: "d", slices: [{ value: "z", rows: 2, metrics: { accuracy } }] },
      ],
    });
    expect(text).toMatch(/a +1 +1\.000 +– +1\.000 – 1\.000\nb +1 +1\.000 +1\.000/);
    expect(text).toMatch(/^d +rows +accuracy .*\nz +2 +1\.000/m);
  });

  it("shows the labels of sets with the intervals of their F1 and their average precision", () => {
    const scores = { precision: 0.5, recall: 0.25, f1: 0.333, support: 4, f1_interval: [0.1, 0.6] as [number, number] };
    const text = evaluationText({
      ...{ ...evaluated, task: "t", model: "m", adapter: null, rows: 4, confusion: null, slices: null, against: null },
      classes: [
        { label: "red", ...scores, average_precision: 0.75 },
        { label: "big", ...scores, average_precision: null },
      ],
    });
    expect(text).toMatch(/label +precision +recall +F1 +rows +F1 95 % +average precision/);
    expect(text).toMatch(/red +0\.500 +0\.250 +0\.333 +4 +0\.100 – 0\.600 +0\.750/);
    expect(text).toMatch(/big .* –\n/);
  });

  it("shows a dash where a number has no interval", () => {
    const scores = { precision: 1, recall: 1, f1: 1, support: 1, f1_interval: null, average_precision: 1 };
    const text = evaluationText({
      ...{ ...evaluated, task: "t", model: "m", adapter: null, rows: 1, confusion: null, slices: null, against: null },
      metrics: { log_loss: { value: 0.3, low: null, high: null } },
      classes: [{ label: "red", ...scores }],
    });
    expect(text).toMatch(/^log_loss +0\.300 +–$/m);
    expect(text).toMatch(/F1 95 % +average precision\nred +1\.000 +1\.000 +1\.000 +1 +– +1\.000$/m);
  });

  it("tells how a student of a task is trained: of sets of labels with a head, which goes with no full tuning", () => {
    const result = { loss: { teacher: 1, student: 2 }, layers: [0], rows: 1, heads: 1, vocabulary: 1, parameters: 1 };
    const student = {
      ...result,
      out: "s.gguf",
      type: "f16",
      bytes: 1,
      teacher_parameters: 2,
      width: 1,
      feed_forward: 1,
    };
    const told = (kind: TaskKind) =>
      studentText(student as unknown as StudentResult, kind)
        .split("\n")
        .at(-2);
    expect(told("classify")).toBe("train it before use: distill, or tune --method full, on the student");
    expect(told("multilabel")).toBe("train it before use: tune, on the student (an adapter and a head)");
  });

  it("says of a student where nothing was left out", () => {
    const sizes = { layers: [0], rows: 1, heads: 1, vocabulary: 1, width: 1, out: "s.gguf", type: "f16", bytes: 1 };
    const told = (parameters: number) => {
      const made = { ...sizes, loss: { teacher: 1, student: 1 }, parameters, teacher_parameters: 2 };
      return studentText(made as unknown as StudentResult, "classify");
    };
    expect(told(2)).toContain("\nnothing was left out: --layers, --ffn, --heads and --vocab make it smaller\n");
    expect(told(1)).not.toContain("left out");
  });

  it("tells no speed of a teacher that was asked nothing", () => {
    const taught = { cache: "c", rows: 8, positions: 9, top_k: 64, hidden_width: null, bytes: 1, seconds: 1 };
    const told = (computed: number) => {
      const speeds = { rows_per_second: computed, tokens_per_second: computed, peak_memory_bytes: 1 };
      return teachText({ ...taught, ...speeds, computed } as TeachResult)
        .split("\n")
        .slice(1);
    };
    expect(told(0)).toEqual(["0 asked now, 8 were there", "1 B at most · 0:01", ""]);
    expect(told(2)).toEqual(["2 asked now, 6 were there", "2.0 rows/s · 2 tokens/s · 1 B at most · 0:01", ""]);
  });

  it("shows from where on labels of sets are given", () => {
    const tried = { answer: '["big"]', probabilities: { red: 0.25, big: 0.75 }, thresholds: { red: null, big: 0.4 } };
    const text = promptText({ tried, compared: null, shown: null, saved: null } as unknown as PromptResult);
    expect(text).toMatch(/label +probability +given from\n.*big +0\.750 +0\.400\n.*red +0\.250 +never/s);
    const single = { ...tried, answer: "big", thresholds: null };
    expect(promptText({ tried: single } as unknown as PromptResult)).not.toMatch(/label|never/);
  });

  it("shows McNemar's test of every two prompts that were scored", () => {
    const metric = { value: 0.5, low: 0.4, high: 0.6 };
    const one = { instruction: "", shots: 0, select: "random", calibrate: false, rows: 9, refused: null };
    const prompts = [metric, metric, null, metric].map((metric) => ({ ...one, metric }));
    const pair = (first: number, second: number, p_value: number, p_holm: number) => ({
      ...{ first, second, only_first: 1, only_second: 2, p_value, p_holm },
    });
    const pairs = [pair(0, 1, 0.5, 1), pair(0, 3, 0.00001, 0.00003), pair(1, 3, 0.023456, 0.046912)];
    const compared = { prompts, pairs, best: 3, split: "test", metric: "accuracy" };
    const shown = (change = {}) =>
      promptText({ task: "t", compared: { ...compared, ...change } } as unknown as PromptResult);
    expect(shown()).toMatch(/ +1 +2 +4\n1 +0\.5 +0\.00001\n2 +1 +0\.0235\n4 +0\.00003 +0\.0469\n/);
    // Of two, the line says it.
    expect(shown({ pairs: pairs.slice(1, 2) })).not.toContain("every two");
    expect(shown({ pairs: pairs.slice(1, 2) })).toContain("with Holm's correction 0.00003");
  });

  it("reads sizes in powers of 1024", () => {
    expect(["1000", "2G", "512M", "1.5GiB", "3kb"].map(size)).toEqual([1000, 2 ** 31, 2 ** 29, 1.5 * 2 ** 30, 3072]);
    expect(() => size("big")).toThrow(/such as 2G/);
  });

  it.each([
    [{ NO_COLOR: "1", FORCE_COLOR: "" }, true, false],
    [{ NO_COLOR: "1", FORCE_COLOR: "1" }, true, false],
    [{ NO_COLOR: "", FORCE_COLOR: "1" }, false, true],
    [{ NO_COLOR: "", FORCE_COLOR: "", TERM: "xterm" }, true, true],
    [{ NO_COLOR: "", FORCE_COLOR: "", TERM: "dumb" }, true, false],
    [{ NO_COLOR: "", FORCE_COLOR: "", TERM: "xterm" }, false, false],
  ])("colours with %j, terminal %s: %s", (environment, isTTY, coloured) => {
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
    const text = colours({ isTTY } as NodeJS.WriteStream).red("x");
    expect(text.includes("\u001b")).toBe(coloured);
  });
});

describe("Progress without a terminal", () => {
  it("writes a line where a phase begins and ends, counts warnings past the twentieth", () => {
    let text = "";
    const stream = { isTTY: false, write: (part: string) => (text += part) } as unknown as NodeJS.WriteStream;
    const progress = new Progress(stream);
    for (let done = 0; done <= 100; done++) progress.update("scoring", done, 100, `${done} rows`);
    progress.update("checking", 1, 2);
    expect(text).toBe("scoring 0% 0 rows\nscoring 100% 100 rows\nchecking 50%\n");
    text = "";
    for (let row = 0; row < 23; row++) progress.warn(`row ${row}\u0007`);
    progress.end();
    expect(text.trim().split("\n")).toHaveLength(21);
    expect(text).toMatch(/^warning: row 0\\u0007\n/);
    expect(text).toMatch(/… and 3 more warnings\n$/);
  });
});
