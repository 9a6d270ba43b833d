// The page of an evaluation: metrics, slices, reliability, mistakes and bad rows, as evaluate found them, readable by everybody.
import { appendFileSync, mkdtempSync, readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Evaluation, evaluate, reportEvaluation } from "../../src/index.js";
import { readTask } from "../../src/task/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { needs } from "../support/needs.js";
import { writeTextToy } from "../support/text_toy.js";
import { closeBrowser, flawsOf } from "./browser.js";

const testChromium = needs("chromium");
const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-evaluation-report-"));
const file = path.join(folder, "page.html");
let result: Evaluation;
let page: string;

beforeAll(async () => {
  const toy = writeToyTask();
  appendFileSync(path.join(toy.folder, "test.jsonl"), '{"text":"abc","half":"<neither>"}\n');
  const task = await readTask(toy.file);
  const model = writeTextToy();
  result = await evaluate(task, { model, against: model, slice: ["half"], threads: 1 });
  await reportEvaluation(result, "stillroom eval task.yaml", file);
  page = readFileSync(file, "utf8");
});
afterAll(closeBrowser);

describe("the page of an evaluation", () => {
  it("has every metric with its interval, of all rows, of slices and of what it is held against", () => {
    expect(page).toContain("on 20 test rows; 1 bad row left out");
    for (const [name, { value }] of Object.entries(result.metrics)) {
      expect(page).toContain(`<tr><td>${name}</td><td class="number" data-value="${value}">`);
    }
    for (const { value, rows } of result.slices![0]!.slices)
      expect(page).toContain(`<tr><td>${value}</td><td class="number" data-value="${rows}">`);
    expect(page).toContain("0 rows are right here alone, 0 there alone: p = 1 by");
  });

  it("has a bin of the reliability diagram as a point and as a line of its table", () => {
    expect(page).toContain("Reliability diagram");
    for (const { rows, confidence, accuracy } of result.reliability!) {
      const cells = page.split("<tr>").find((line) => line.includes(`data-value="${confidence}"`))!;
      expect(cells).toContain(`data-value="${rows}"`);
      expect(cells).toContain(`data-value="${Math.round(accuracy * rows) / rows}"`);
    }
  });

  it("has the square of answers and predictions, the mistakes, most first, and the bad rows", () => {
    const { labels, counts } = result.confusion!;
    for (const [row, label] of labels.entries()) {
      const cells = counts[row]!.map((count) => `<td class="number" data-value="${count}">${count}</td>`).join("");
      expect(page).toContain(`<tr><td>${label}</td>${cells}</tr>`);
    }
    const wrong = counts.flatMap((own, row) => own.filter((count, column) => row !== column && count > 0));
    const listed = page
      .slice(page.indexOf("The commonest mistakes"))
      .match(/<tr><td>(early|late)<\/td><td>(early|late)<\/td>/g);
    expect(listed).toHaveLength(wrong.length);
    expect(page).toContain("&quot;&lt;neither&gt;&quot;");
  });

  testChromium("asks nobody, complains of nothing, and axe finds nothing, on a phone in the dark", async () => {
    expect(await flawsOf(file)).toEqual([]);
  });
});
