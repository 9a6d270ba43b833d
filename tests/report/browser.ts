// A page in a real browser: what it says, what it asks of the network, and what axe finds in it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { type Browser, chromium as driver, type Page } from "playwright-core";
import { chromium } from "../support/needs.js";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

export interface Opened {
  page: Page;
  /** Messages of errors and warnings on the console, and addresses that were asked for besides the page's own. */
  complaints: string[];
}

let browser: Browser | null = null;

export async function closeBrowser(): Promise<void> {
  await browser?.close();
  browser = null;
}

/** Opens an address; the window is as wide as asked, and dark where asked. */
export async function openPage(address: string, { width = 1200, dark = false } = {}): Promise<Opened> {
  browser ??= await driver.launch({ executablePath: chromium()!, args: ["--no-sandbox"] });
  const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme: dark ? "dark" : "light" });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  const { origin } = new URL(address);
  page.on("request", (request) => {
    const asked = request.url();
    if (asked !== address && (origin === "null" || !asked.startsWith(origin))) complaints.push(asked);
  });
  await page.goto(address);
  return { page, complaints };
}

/** The rules of axe-core that a page breaks, with the place. */
export async function violations({ page }: Opened): Promise<string[]> {
  // A page's policy forbids scripts of others; axe comes in through the debugger.
  const session = await page.context().newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: readFileSync(axe, "utf8") });
  const expression =
    "axe.run().then((r) => JSON.stringify(r.violations.map((v) => v.id + ': ' + v.nodes.map((n) => n.target).join(' | '))))";
  const { result } = await session.send("Runtime.evaluate", { expression, awaitPromise: true });
  return JSON.parse(result.value as string);
}

/** What of the charts that are seen lies beyond the screen, is written in letters of less than 11 pixels, or over other words; and a page that is wider than its screen. */
export async function hidden({ page }: Opened): Promise<string[]> {
  return page.evaluate<string[]>(`(() => {
    const [found, width] = [[], document.documentElement.clientWidth];
    if (document.documentElement.scrollWidth > width) found.push("the page scrolls sideways");
    for (const live of document.querySelectorAll("canvas"))
      if (live.getBoundingClientRect().left < 0 || live.getBoundingClientRect().right > width) found.push("a canvas is cut off");
    const seen = [...document.querySelectorAll("svg")].filter((one) => one.getBoundingClientRect().width > 0);
    if (document.querySelector("svg") && seen.length === 0) found.push("no chart is seen");
    for (const chart of seen) {
      const [title, edge] = [chart.querySelector("title").textContent, chart.getBoundingClientRect()];
      if (chart.parentElement.scrollWidth > chart.parentElement.clientWidth) found.push(title + " scrolls sideways");
      const parts = [...chart.querySelectorAll("text, circle, path")].map((part) => [part, part.getBoundingClientRect()]);
      const name = (part) => title + ": " + (part.textContent || part.outerHTML);
      for (const [part, { left, right, top, bottom }] of parts)
        if (left < 0 || right > width || left < edge.left || right > edge.right || top < edge.top || bottom > edge.bottom)
          found.push(name(part) + " is cut off");
      const words = parts.filter(([part]) => part.tagName === "text");
      for (const [index, [part, one]] of words.entries()) {
        const { fontSize } = getComputedStyle(part), { a, b } = part.getScreenCTM();
        if (parseFloat(fontSize) * Math.hypot(a, b) < 11) found.push(name(part) + " is small");
        for (const [other, two] of words.slice(index + 1))
          if (one.left < two.right && two.left < one.right && one.top + 2 < two.bottom && two.top + 2 < one.bottom)
            found.push(name(part) + " lies over " + other.textContent);
      }
    }
    return found;
  })()`);
}

/** All that is wrong with a page of ours, on a phone and on a screen: complaints, requests, charts that cannot be read, and broken rules of axe-core. */
export async function flawsOf(file: string): Promise<string[]> {
  const found: string[] = [];
  for (const options of [{ width: 360 }, { width: 390, dark: true }, { width: 1200 }]) {
    const opened = await openPage(pathToFileURL(file).href, options);
    const flaws = [...opened.complaints, ...(await hidden(opened)), ...(await violations(opened))];
    found.push(...flaws.map((flaw) => `at ${options.width}: ${flaw}`));
    await opened.page.close();
  }
  return found;
}

/** A property of the first element that a selector finds, as it is drawn. */
export async function styleOf({ page }: Opened, selector: string, property: string): Promise<unknown> {
  return page.evaluate(`getComputedStyle(document.querySelector(${JSON.stringify(selector)})).${property}`);
}
