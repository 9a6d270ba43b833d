// The files of a batch: a line for each answered row, and one for each that failed. Both are there whole at the end, or not at all.
import { rm } from "node:fs/promises";
import type { Answer } from "../store/index.js";
import { WholeFile } from "../support/files.js";
import type { Failure } from "./engine.js";
import type { Item } from "./item.js";

/** Where the lines go, and who hears of rows that failed. */
export interface OutputOptions {
  out: string;
  errors?: string | undefined;
  onBad?: ((bad: { file: string; line: number; reason: string }) => void) | undefined;
}

/** Where rows that failed are told. */
export const errorsOf = ({ out, errors }: Pick<OutputOptions, "out" | "errors">): string =>
  errors ?? `${out}.errors.jsonl`;

export class Output {
  /** Rows that were answered, and rows that failed, so far. */
  lines = 0;
  errors = 0;
  #errors: WholeFile | null = null;

  private constructor(
    readonly options: OutputOptions,
    readonly out: WholeFile,
  ) {}

  static async create(options: OutputOptions): Promise<Output> {
    return new Output(options, await WholeFile.create(options.out));
  }

  async answered(item: Item, answer: Answer): Promise<void> {
    const line = item.answered(answer);
    if (line === null) return;
    this.lines++;
    await this.out.write(lineOf(line));
  }

  async failed(item: Item, { reason, atWork }: Failure): Promise<void> {
    const line = item.failed(reason, atWork);
    if (line === null) return;
    this.#errors ??= await WholeFile.create(errorsOf(this.options));
    this.errors++;
    this.options.onBad?.({ file: item.file, line: item.line, reason });
    await this.#errors.write(lineOf(line));
  }

  /** Puts the files in place, and gives the one of the rows that failed; null where none did. */
  async finish(): Promise<string | null> {
    await this.out.finish();
    const file = errorsOf(this.options);
    // One of an earlier run would speak of rows that are answered now.
    if (this.#errors) await this.#errors.finish();
    else await rm(file, { force: true });
    return this.#errors ? file : null;
  }

  /** Leaves nothing of what is not finished. */
  async discard(): Promise<void> {
    await this.out.discard();
    await this.#errors?.discard();
  }
}

const lineOf = (line: object): Buffer => Buffer.from(`${JSON.stringify(line)}\n`);
