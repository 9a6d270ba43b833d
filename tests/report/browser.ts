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

/** All that is wrong with a page of ours: complaints, requests and broken rules of axe-core. */
export async function flawsOf(file: string, options: { width?: number; dark?: boolean } = {}): Promise<string[]> {
  const opened = await openPage(pathToFileURL(file).href, options);
  return [...opened.complaints, ...(await violations(opened))];
}

/** A property of the first element that a selector finds, as it is drawn. */
export async function styleOf({ page }: Opened, selector: string, property: string): Promise<unknown> {
  return page.evaluate(`getComputedStyle(document.querySelector(${JSON.stringify(selector)})).${property}`);
}
