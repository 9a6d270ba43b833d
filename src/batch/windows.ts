// Rows of an input some at a time, and what their prompts share. Answers nothing.
import { frontOf } from "./engine.js";
import type { Item } from "./item.js";

/** Rows that are looked at together, where nothing else is said. */
export const usualWindow = 2048;
/** Characters of a window's prompts at most, unless a row has more. */
const windowSize = 2 ** 23;
/** Rows that show what all prompts share. */
export const frontRows = 64;

/** Rows some at a time: as many as asked for, and fewer where they are long. */
export async function* windowsOf(items: AsyncIterable<Item>, size: number): AsyncGenerator<Item[]> {
  let [window, held]: [Item[], number] = [[], 0];
  for await (const item of items) {
    window.push(item);
    held += item.size;
    if (window.length < size && held < windowSize) continue;
    yield window;
    [window, held] = [[], 0];
  }
  if (window.length > 0) yield window;
}

/** What all prompts share, as the first rows of the input show it. */
export function frontOfFirst(items: readonly Item[]): Int32Array {
  return frontOf(
    items.slice(0, frontRows).flatMap((item) => {
      const request = item.request();
      return typeof request === "string" ? [] : [request.prompt];
    }),
  );
}
