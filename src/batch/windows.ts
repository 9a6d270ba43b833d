// Rows of an input some at a time, and what their prompts share. Answers nothing.
import { frontOf } from "./engine.js";
import type { Item } from "./item.js";

/** Rows that are looked at together, where nothing else is said. */
export const usualWindow = 2048;
/** Tokens of a window at most, unless a row has more. */
const windowTokens = 2 ** 22;
/** Rows that show what all prompts share. */
const frontRows = 64;

/** Rows some at a time: as many as asked for, and fewer where they are long. */
export async function* windowsOf(items: AsyncIterable<Item>, size: number): AsyncGenerator<Item[]> {
  let [window, tokens]: [Item[], number] = [[], 0];
  for await (const item of items) {
    window.push(item);
    tokens += typeof item.request === "string" ? item.request.length : item.request.prompt.length;
    if (window.length < size && tokens < windowTokens) continue;
    yield window;
    [window, tokens] = [[], 0];
  }
  if (window.length > 0) yield window;
}

/** What all prompts share, as the first rows of the input show it. */
export function frontOfFirst(items: readonly Item[]): Int32Array {
  return frontOf(
    items.slice(0, frontRows).flatMap(({ request }) => (typeof request === "string" ? [] : [request.prompt])),
  );
}
