// What the loop of a batch knows of a row: what is asked, which texts ask it, and how its answer is written down. Knows no format.
import type { Prompt } from "../prompt/index.js";
import type { Answer, LaidRequest, Request } from "../store/index.js";

/** A row of the input. */
export interface Item {
  file: string;
  line: number;
  /** What is asked, before its prompt is tokens: a row that is known by it needs none. Undefined where nothing is, or no prompt is laid out. */
  laid?: LaidRequest | undefined;
  /** What is asked; a text: why it cannot be. */
  request(): Request | string;
  /** Of the prompt, in characters. */
  size: number;
  /** Texts that ask for the answer in live traffic. */
  texts: readonly string[];
  /** One of several of a line, and not the last: the line is counted there. */
  part?: boolean | undefined;
  /** The line of the output; null where other parts of it are to come, or failed. */
  answered(answer: Answer): object | null;
  /** The line of the error file; null where another part of it failed before. */
  failed(reason: string, atWork?: boolean): object | null;
}

/** Rows from a file of some format. */
export interface Input {
  /** Rows, good and bad, as far as that is known before they are read. */
  total: number;
  items(): AsyncGenerator<Item>;
}

/** A prompt as one text that no other prompt has. */
export const laidText = ({ pieces }: Pick<Prompt, "pieces">): string => JSON.stringify(pieces);

/** What is made when it is asked for, once. */
export function once<T>(make: () => T): () => T {
  let made: { value: T } | null = null;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** What a row asks; where it cannot be laid out, why: that costs this row, and not the job. */
export function orReason<T>(layOut: () => T): T | string {
  try {
    return layOut();
  } catch (error) {
    return (error as Error).message;
  }
}
