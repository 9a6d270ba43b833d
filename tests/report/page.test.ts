// The page in Chromium: drawn, sorted, dark, on a phone, without a word to the network.
import { mkdtempSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect } from "vitest";
import { intervalChart, lineChart, pageOf, type Table } from "../../src/report/index.js";
import { needs } from "../support/needs.js";
import { closeBrowser, flawsOf, hidden, openPage, styleOf, violations } from "./browser.js";

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

  testChromium("shows each chart once, all of it, in letters that are 11 pixels high, however wide it is", async () => {
    for (const width of [320, 360, 390, 575, 577, 800, 1280]) {
      const opened = await openPage(address, { width });
      expect(await hidden(opened), `at ${width}`).toEqual([]);
      expect(await opened.page.locator("svg:visible").count()).toBe(2);
      expect(await opened.page.locator(width < 577 ? ".narrow:visible" : ".wide:visible").count()).toBe(2);
      expect(await opened.page.getByRole("img").count()).toBe(2);
      await opened.page.close();
    }
  });

  testChromium("shows all of a chart whose words and numbers are long", async () => {
    const long = "difference of the root_mean_squared_error of late answers, 95 % interval (lower is better)";
    const labels = [
      long,
      "NATIONALITY: WRITER, AMERICAN TO MEXICAN, OF ALL ROWS THAT HAVE A WORD",
      "国籍: アメリカの作家からメキシコの作家まで、すべての行について",
      "b",
    ];
    const rows = labels.map((label, index) => ({ label, value: -2e-5 * index, low: -1e-4, high: 0 }));
    const points = [0, 1, 2].map((x) => ({ x: 1e6 * x, y: -1e-5 * x, low: -1e-4, high: 0 }));
    const series = ["training, mean of 20 steps", "validation", "a third one"].map((name) => ({ name, points }));
    const x = { label: long };
    const charts = [
      intervalChart({ title: long, x, rows, reference: 0 }),
      lineChart({ title: long, x, y: x, series }),
      intervalChart({ title: "short", x, rows: [{ label: "seventeen letters", value: 1e6, low: 0, high: 2e6 }] }),
    ];
    const shown = path.join(folder, "long.html");
    writeFileSync(
      shown,
      pageOf({ title: "Long", subtitle: "charts", command: "stillroom", sections: [{ title: "Long", charts }] }),
    );
    expect(await flawsOf(shown)).toEqual([]);
  });

  testChromium("on a phone breaks words and paths that are wider than it, and shows a number beside them", async () => {
    const word = "a_name_without_a_place_to_break_it_that_goes_on_and_on_and_on_to_the_end";
    const row = [`/a/long/${"folder/".repeat(10)}model.gguf`, 0.5, { value: 0.123, low: -0.456, high: 0.789 }];
    const table = { caption: word, head: ["model", "metric", "accuracy"], rows: [row] };
    const sections = [{ title: word, words: [word], tables: [table] }];
    const shown = path.join(folder, "words.html");
    writeFileSync(shown, pageOf({ title: word, subtitle: word, command: `stillroom eval ${word}`, sections }));
    const { page: opened } = await openPage(pathToFileURL(shown).href, { width: 360 });
    const found = await opened.evaluate(`(() => {
      const pre = document.querySelector("pre"), number = document.querySelector("td.number").getBoundingClientRect();
      return { page: document.documentElement.scrollWidth, command: pre.scrollWidth > pre.clientWidth, number: number.right < 360 };
    })()`);
    expect(found).toEqual({ page: 360, command: false, number: true });
  });

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
    expect(await opened.page.locator(".wide:visible").count()).toBe(await opened.page.locator("svg:visible").count());
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
});
