// The page of a comparison: every model and every pair stand in it, with what chance allows.
import { mkdtempSync, readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import { type CompareResult, reportCompare } from "../../src/index.js";
import { needs } from "../support/needs.js";
import { closeBrowser, flawsOf } from "./browser.js";

const file = path.join(mkdtempSync(path.join(os.tmpdir(), "stillroom-compare-report-")), "page.html");
afterAll(closeBrowser);

const accuracy = (value: number) => ({ accuracy: { value, low: value - 0.1, high: value + 0.1 } });
const result: CompareResult = {
  ...{
    task: "fruit",
    split: "test",
    shots: 0,
    prompt: null,
    seed: 0,
    metric: "accuracy",
    lower_is_better: false,
    rows: 40,
    errors: 0,
  },
  compared: [
    {
      name: "a.gguf",
      model: "/a.gguf",
      adapter: null,
      bytes: 2e6,
      trained_rows: null,
      metrics: accuracy(0.5),
      rows_per_second: 10,
    },
    {
      name: "b<.jsonl",
      model: null,
      adapter: null,
      bytes: null,
      trained_rows: null,
      metrics: accuracy(0.75),
      rows_per_second: null,
    },
  ],
  pairs: [
    {
      ...{ first: "a.gguf", second: "b<.jsonl", test: "mcnemar", p_value: 0.004, p_holm: 0.012 },
      difference: { value: -0.25, low: -0.4, high: -0.1 },
    },
  ],
};

it("speaks of one row as of one", async () => {
  const one = path.join(path.dirname(file), "one.html");
  await reportCompare({ ...result, rows: 1 }, "stillroom compare", one);
  expect(readFileSync(one, "utf8")).toContain("On the same 1 test row.");
});

it("has each one's metric, and the difference of every two with its correction", async () => {
  await reportCompare(result, "stillroom compare a.gguf 'b<.jsonl'", file);
  const page = readFileSync(file, "utf8");
  expect(page).toContain(
    '<td>a.gguf</td><td class="number" data-value="0.5">0.5 [0.4, 0.6]</td><td class="number" data-value="10">10</td><td class="number" data-value="2">2</td></tr>',
  );
  expect(page).toContain(
    '<td>b&lt;.jsonl</td><td class="number" data-value="0.75">0.75 [0.65, 0.85]</td><td></td><td></td></tr>',
  );
  expect(page).toContain('<td class="number" data-value="-0.25">-0.25 [-0.4, -0.1]</td><td>mcnemar</td>');
  expect(page).toContain('data-value="0.012">0.012</td>');
  expect(page).toContain("a.gguf − b&lt;.jsonl: -0.25, -0.4 to -0.1.");
  expect(page).toContain("(higher is better)");
  expect(page).not.toContain("Learning curve");
});

it("has values alone where the rows give no interval", async () => {
  const metrics = { accuracy: { value: 0.5, low: null, high: null } };
  const compared = result.compared.map((one, index) => ({ ...one, metrics, trained_rows: 1 + index }));
  const place = file.replace("page", "alone");
  await reportCompare({ ...result, compared }, "stillroom compare", place);
  const page = readFileSync(place, "utf8");
  expect(page).toContain('<td>a.gguf</td><td class="number" data-value="0.5">0.5</td>');
  expect(page).toContain("accuracy, 95 % interval (higher is better). a.gguf: 0.5. b&lt;.jsonl: 0.5.");
  expect(page).toContain("<title>Learning curve</title>");
  expect(page).not.toMatch(/(?<!is)NaN|\[null|to null/);
});

it("names models in its charts without their folders, where they can still be told apart", async () => {
  const place = file.replace("page", "folders");
  const named = async (...names: [string, string]) => {
    const compared = result.compared.map((one, index) => ({ ...one, name: names[index]! }));
    const pairs = result.pairs.map((pair) => ({ ...pair, first: names[0], second: names[1] }));
    await reportCompare({ ...result, compared, pairs }, "stillroom compare", place);
    return readFileSync(place, "utf8");
  };
  expect(await named("/a/b/c/model.gguf+runs/one", "runs/one")).toContain("model.gguf+one − one: -0.25");
  expect(await named("/a/one", "/b/one")).toContain("/a/one − /b/one: -0.25");
});

it("has a learning curve of runs that were tuned on different numbers of rows", async () => {
  const tuned = [400, 50].map((trained_rows) => ({ ...result.compared[0]!, trained_rows }));
  const curve = { ...result, compared: [...result.compared, ...tuned] };
  const place = file.replace("page", "curve");
  await reportCompare(curve, "stillroom compare", place);
  const page = readFileSync(place, "utf8");
  expect(page).toContain("<title>Learning curve</title>");
  expect(page).toContain('data-value="400">400</td>');
});

needs("chromium")("is drawn without a complaint", async () => {
  expect(await flawsOf(file)).toEqual([]);
});
