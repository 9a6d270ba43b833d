// What the loop of a batch knows of a row: what is asked, which texts ask it, and how its answer is written down. Knows no format.
import type { Answer, LabelsRequest, TextRequest } from "../store/index.js";

/** A row of the input. */
export interface Item {
  file: string;
  line: number;
  /** What is asked; a text: why it cannot be. */
  request: TextRequest | LabelsRequest | string;
  /** Texts that ask for the answer in live traffic. */
  texts: readonly string[];
  /** The line of the output. */
  answered(answer: Answer): object;
  /** The line of the error file. */
  failed(reason: string): object;
}

/** Rows from a file of some format. */
export interface Input {
  /** Rows, good and bad, as far as that is known before they are read. */
  total: number;
  items(): AsyncGenerator<Item>;
}
