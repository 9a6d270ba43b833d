// What the loop of a batch knows of a row: what is asked, which texts ask it, and how its answer is written down. Knows no format.
import type { Answer, Request } from "../store/index.js";

/** A row of the input. */
export interface Item {
  file: string;
  line: number;
  /** What is asked; a text: why it cannot be. */
  request: Request | string;
  /** Texts that ask for the answer in live traffic. */
  texts: readonly string[];
  /** One of several of a line, and not the last: the line is counted there. */
  part?: boolean | undefined;
  /** The line of the output; null where other parts of it are to come, or failed. */
  answered(answer: Answer): object | null;
  /** The line of the error file; null where another part of it failed before. */
  failed(reason: string): object | null;
}

/** Rows from a file of some format. */
export interface Input {
  /** Rows, good and bad, as far as that is known before they are read. */
  total: number;
  items(): AsyncGenerator<Item>;
}

/** What a row asks; where it cannot be laid out, why: that costs this row, and not the job. */
export function orReason<T>(layOut: () => T): T | string {
  try {
    return layOut();
  } catch (error) {
    return (error as Error).message;
  }
}
