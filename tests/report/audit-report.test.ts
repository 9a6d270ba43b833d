// The page of an audit: what was found and what was looked at, in words, charts and tables, readable by everybody.
import { mkdtempSync, readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { auditText } from "../../bin/print-audit.js";
import type { GroupGap } from "../../src/audit/index.js";
import { type AuditResult, audit, reportAudit } from "../../src/index.js";
import { readTask } from "../../src/task/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { needs } from "../support/needs.js";
import { writeTextToy } from "../support/text_toy.js";
import { closeBrowser, flawsOf } from "./browser.js";

const testChromium = needs("chromium");
const file = path.join(mkdtempSync(path.join(os.tmpdir(), "stillroom-audit-report-")), "page.html");
let result: AuditResult;
const value = (of: number) => ({ value: of, low: of - 0.05, high: of + 0.05 });

beforeAll(async () => {
  const model = writeTextToy();
  const found = await audit(await readTask(writeToyTask().file), {
    model,
    groups: ["half"],
    against: model,
    threads: 1,
  });
  const examples = [
    { line: 3, before: "he & I", after: "she & I", shift: 0.5, predictions: ["early", "late"] as [string, string] },
  ];
  const swap = {
    attribute: "gender",
    groups: ["male", "female"] as [string, string],
    label: null,
    rows: 9,
    p_value: 0.01,
    p_holm: 0.02,
    examples,
  };
  const finding = { part: "swaps" as const, what: "gender: female in place of male", value: value(0.25), p_holm: 0.02 };
  const [ratio, p] = [value(0.5), { p_value: 0.01, p_holm: 0.02 }];
  const calibration: GroupGap = {
    ...{ metric: "calibration", label: "late", rate: null, between: ["top", "low"], difference: value(0.25) },
    ...{ ratio, ratio_between: ["most", "least"], smallest: 12, ...p },
  };
  const scored = { rows: 40, accuracy: value(0.375), bias: value(-0.125), p_holm: 0.5 };
  result = {
    ...found,
    groups: [...found.data.groups, { ...found.data.groups[0]!, gaps: [calibration] }],
    crows_pairs: {
      file: "crows.csv",
      preferences: [{ bias: "race <color>", pairs: 516, share: value(0.625), log_ratio: 0.5, p_holm: 0.001 }],
    },
    bbq: {
      ...{ folder: "bbq", rows_found: 80, left_out: 2 },
      categories: [{ category: "Age", ambiguous: scored, disambiguated: null }],
    },
    swaps: [{ ...swap, agreement: value(0.75), shift: value(0.25) }],
    findings: [finding],
    bounds: { passed: false, failures: ["flips of gender are 0.25, the bound is 0.1"], unseen: ["bbq"] },
  };
  await reportAudit(result, "stillroom audit task.yaml", file);
});
afterAll(closeBrowser);

describe("the page of an audit", () => {
  it("says what was found, and which bound is broken", () => {
    const page = readFileSync(file, "utf8");
    expect(page).toContain("Bound broken: flips of gender are 0.25, the bound is 0.1");
    expect(page).toContain("The bound bbq was not looked at");
    expect(page).toContain(
      '<td>swaps</td><td>gender: female in place of male</td><td class="number" data-value="0.25">0.25 [0.2, 0.3]</td>',
    );
    expect(page).toContain("<td>he &amp; I</td><td>she &amp; I</td><td>early</td><td>late</td>");
  });

  it("has CrowS-Pairs and BBQ where they were asked", () => {
    const page = readFileSync(file, "utf8");
    expect(page).toContain("<td>race &lt;color&gt;</td>");
    expect(page).toMatch(/<td>Age<\/td><td>ambiguous<\/td><td[^>]*>40<\/td><td[^>]*>0\.375 \[/);
    expect(page).not.toContain("<td>disambiguated</td>");
  });

  it("has every gap and group that was looked at, and the limits", () => {
    const page = readFileSync(file, "utf8");
    const gaps = [...result.groups, ...result.data.groups].flatMap((table) => table.gaps);
    expect(gaps.length).toBeGreaterThan(0);
    for (const { metric } of gaps) expect(page).toContain(`<td>half</td><td>${metric}</td>`);
    for (const limit of result.limits) expect(page).toContain(limit.slice(0, 60).replaceAll("'", "&#39;"));
  });

  it("and the terminal say what was not compared for want of rows", () => {
    const words = "Not compared, since no two groups have 10 rows: ";
    expect(readFileSync(file, "utf8")).toContain(words);
    expect(auditText(result)).toContain(words);
  });

  it("says of rows that no model answered nothing but their answers, and has no table without a row", () => {
    const rows = readFileSync(file, "utf8").split("<h2>The rows</h2>")[1]!.split("<h2>")[0]!;
    expect(rows).toContain("share of answers");
    expect(rows).not.toContain("share of predictions");
    expect(rows).not.toContain("<tbody></tbody>");
  });

  it("has a sister on the terminal, where ratios have their intervals as well", () => {
    expect(auditText(result)).toMatch(/difference +95 % +ratio +95 % +smallest/);
  });

  it("gives a sign on the terminal to differences alone", () => {
    const change = { what: "accuracy", before: 0.625, after: 0.75, difference: { value: 0.125, low: 0.1, high: 0.15 } };
    const against = { ...result.against!, changes: [{ part: "metric" as const, ...change }] };
    expect(auditText({ ...result, against })).toMatch(/accuracy +0\.625 +0\.750 +\+0\.125 +0\.100 – 0\.150/);
  });

  it("says which groups a ratio is of, on the terminal where they are others than the difference's", () => {
    const page = readFileSync(file, "utf8");
    expect(page).toMatch(/<td>top<\/td><td>low<\/td>.*0\.5 \[0\.45, 0\.55\]<\/td><td>least \/ most<\/td>/);
    const [{ between, ratio_between }] = result.data.groups[0]!.gaps as [GroupGap];
    expect(ratio_between).toEqual(between);
    expect(page).toContain(`<td>${between[1]} / ${between[0]}</td>`);
    expect(auditText(result)).toMatch(/top +low .*0\.500 +0\.450 – 0\.550 \(least \/ most\) +12/);
    expect(auditText(result).match(/ \/ /g)).toHaveLength(1);
  });

  testChromium("is drawn without a complaint", async () => {
    expect(await flawsOf(file)).toEqual([]);
  });
});
