// The page in Chromium: drawn, sorted, dark, on a phone, without a word to the network.
import { mkdtempSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect } from "vitest";
import { intervalChart, lineChart, pageOf, type Table } from "../../src/report/index.js";
import { needs } from "../support/needs.js";
import { closeBrowser, openPage, styleOf, violations } from "./browser.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-page-"));
const testChromium = needs("chromium");
const rows = [
  ["b", 10, { value: 0.5, low: 0.4, high: 0.6 }],
  ["a", 9, { value: 0.75, low: 0.6, high: 0.8 }],
  ["<i>c</i>", null, { value: 0.25, low: 0.2, high: 0.3 }],
] as const;
const page = pageOf({
  title: "A <b>bold</b> & title",
  subtitle: "Two models on test rows.",
  command: `stillroom compare a b --report "x.html"`,
  sections: [
    {
      title: "Metrics",
      words: ["Higher is better."],
      charts: [
        intervalChart({
          title: "accuracy",
          x: { label: "accuracy" },
          rows: [{ label: "b", value: 0.5, low: 0.4, high: 0.6 }],
        }),
        lineChart({
          title: "loss",
          x: { label: "step" },
          y: { label: "loss" },
          series: [{ name: "loss", points: [{ x: 1, y: 2 }] }],
        }),
      ],
      tables: [{ caption: "Models", head: ["model", "rows", "accuracy"], rows }],
    },
  ],
});
const file = path.join(folder, "page.html");
writeFileSync(file, page);
const address = pathToFileURL(file).href;

/** A page of one table, by its address. */
function fileOf(name: string, table: Table, command = "stillroom"): string {
  const sections = [{ title: "One", tables: [table] }];
  writeFileSync(path.join(folder, name), pageOf({ title: "One", subtitle: "table", command, sections }));
  return pathToFileURL(path.join(folder, name)).href;
}
afterAll(closeBrowser);

describe("a page", () => {
  testChromium("is drawn without a complaint, and nothing of it was text turned markup", async () => {
    const opened = await openPage(address);
    expect(await opened.page.locator("h1").textContent()).toBe("A <b>bold</b> & title");
    expect(await opened.page.locator("svg").count()).toBe(2);
    expect(await styleOf(opened, "svg circle", "fill")).toBe("rgb(0, 114, 178)");
    expect(await opened.page.locator("i, b").count()).toBe(0);
    expect(opened.complaints).toEqual([]);
    expect(await violations(opened)).toEqual([]);
  });

  testChromium("sorts its tables, numbers as numbers, and empty cells last", async () => {
    const { page: shown } = await openPage(address);
    const column = (index: number) => shown.locator(`tbody td:nth-child(${index})`).allTextContents();
    await shown.getByRole("button", { name: "rows" }).click();
    expect(await column(2)).toEqual(["9", "10", ""]);
    await shown.getByRole("button", { name: "rows" }).click();
    expect(await column(2)).toEqual(["10", "9", ""]);
    await shown.getByRole("button", { name: "accuracy" }).click();
    expect(await column(1)).toEqual(["<i>c</i>", "b", "a"]);
    expect(await shown.locator("th[aria-sort]").count()).toBe(1);
  });

  testChromium(
    "has letters in its charts that are 11 pixels high, which scroll where they are wider than a phone",
    async () => {
      const letters = `Math.min(...[...document.querySelectorAll("svg text")].map(
      (text) => parseFloat(getComputedStyle(text).fontSize) * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b)))`;
      const wider = "[...document.querySelectorAll('figure')].some((one) => one.scrollWidth > one.clientWidth)";
      for (const width of [390, 560, 800, 1280]) {
        const opened = await openPage(address, { width });
        expect(await opened.page.evaluate(letters), `at ${width}`).toBeGreaterThanOrEqual(11);
        expect(await opened.page.evaluate(wider), `at ${width}`).toBe(width === 390);
        expect(await opened.page.evaluate("document.documentElement.scrollWidth")).toBe(width);
        if (width === 390) expect(await violations(opened)).toEqual([]);
        await opened.page.close();
      }
    },
  );

  testChromium("is dark where that is wished", async () => {
    const opened = await openPage(address, { dark: true });
    const ground = await styleOf(opened, "body", "backgroundColor");
    expect(ground).toBe("rgb(22, 22, 22)");
    expect(await styleOf(opened, "svg text", "fill")).toBe("rgb(236, 236, 236)");
    expect(await violations(opened)).toEqual([]);
  });

  testChromium("is dark ink on paper, whatever the screen is", async () => {
    const opened = await openPage(address, { dark: true });
    await opened.page.emulateMedia({ media: "print" });
    expect(await styleOf(opened, "body", "color")).toBe("rgb(27, 27, 27)");
    expect(await styleOf(opened, "svg text", "fill")).toBe("rgb(27, 27, 27)");
    expect(await violations(opened)).toEqual([]);
  });

  testChromium("breaks on paper what is wider than it: paper does not scroll", async () => {
    const head = Array.from({ length: 8 }, (_, column) => `a_long_name_of_column_${column}`);
    const cells = head.map(() => ({ value: 0.123, low: -0.456, high: 0.789 }));
    const long = `/a/long/${"folder/".repeat(40)}model.gguf`;
    const table = { caption: "Wide", head: ["model", "metric", ...head], rows: [[long, "mean_prediction", ...cells]] };
    const { page: shown } = await openPage(fileOf("wide.html", table, long), { width: 794 });
    const beyond = () =>
      shown.evaluate("[...document.querySelectorAll('pre, .table')].map((one) => one.scrollWidth > one.clientWidth)");
    expect(await beyond()).toEqual([true, true]);
    await shown.emulateMedia({ media: "print" });
    expect(await beyond()).toEqual([false, false]);
    // Not within a word that a line can hold.
    const lines =
      "(() => { const range = document.createRange(); range.selectNodeContents(document.querySelectorAll('td')[1]); return range.getClientRects().length; })()";
    expect(await shown.evaluate(lines)).toBe(1);
  });

  testChromium(
    "heads numbers on their side, writes whole ones in full, and leaves out columns without any value",
    async () => {
      const { page: shown } = await openPage(
        fileOf("tables.html", {
          caption: "Files",
          head: ["name", "nothing", "bytes"],
          rows: [
            ["a", null, 221_123_456],
            ["b", null, null],
          ],
        }),
      );
      expect(await shown.locator("th").allTextContents()).toEqual(["name", "bytes"]);
      expect(await shown.locator("td").allTextContents()).toEqual(["a", "221,123,456", "b", ""]);
      expect(await shown.locator("th.number").allTextContents()).toEqual(["bytes"]);
    },
  );

  testChromium("fits a phone", async () => {
    const opened = await openPage(address, { width: 360 });
    expect(await opened.page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(360);
    expect(await styleOf(opened, ".charts svg text:nth-of-type(2)", "fontSize")).toBe("14px");
    expect(await violations(opened)).toEqual([]);
  });
});
