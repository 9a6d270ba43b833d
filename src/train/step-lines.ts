// A file of JSON lines that each carry a step. Knows no run; tells what of the file could not be kept.
import { type FileHandle, open, readFile } from "node:fs/promises";
import { cannot, isAbsent } from "../support/errors.js";
import { writeFileAtomic } from "../support/files.js";
import { numbered } from "../support/words.js";

/** What a file held before it was rewound. */
export interface Rewound {
  /** The last step that a line told of; 0 where none did. */
  lastStep: number;
  /** What could not be kept, and what comes of it: a sentence that names file and lines; none where a killed run cut off the last line. */
  damaged: string[];
}

/** A file of JSON lines that each carry a step. */
export class StepLines {
  #handle: FileHandle | null = null;

  /** every: whether each step leaves a line, so that one without is missing. */
  constructor(
    readonly file: string,
    readonly every: boolean,
  ) {}

  /** Appends one line; durable after sync. */
  async append(line: { step: number }): Promise<void> {
    await this.#io("write", async () => {
      this.#handle ??= await open(this.file, "a");
      await this.#handle.appendFile(`${JSON.stringify(line)}\n`);
    });
  }

  async sync(): Promise<void> {
    await this.#io("sync", async () => this.#handle?.sync());
  }

  /** Leaves the lines up to a step, but for damaged ones. Throws "io" where the file cannot be read: it is as it was then. */
  async rewind(step: number): Promise<Rewound> {
    await this.close();
    const lines = (await this.#read()).split("\n");
    const kept: string[] = [];
    const damaged = { before: [] as number[], after: [] as number[] };
    const told = new Set<number>();
    let lastStep = 0;
    for (const [index, line] of lines.entries()) {
      const found = stepOf(line);
      if (found !== null) {
        told.add(found);
        lastStep = Math.max(lastStep, found);
        if (found <= step) kept.push(line);
      } else if (line !== "") {
        // Steps come in order. Behind the last line end lies what a killed run had not written to its end.
        if (lastStep < step) damaged.before.push(index + 1);
        else if (index < lines.length - 1) damaged.after.push(index + 1);
      }
    }
    await writeFileAtomic(this.file, kept.map((line) => `${line}\n`).join(""));
    const missing = this.every ? Array.from({ length: step }, (_, index) => index + 1).filter((s) => !told.has(s)) : [];
    return { lastStep, damaged: [...this.#lost(damaged.before, missing), ...this.#again(damaged.after)] };
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    await this.#io("close", async () => handle?.close());
  }

  *#lost(lines: number[], steps: number[]): Generator<string> {
    if (lines.length === 0 && steps.length === 0) return;
    const what = [
      ...(lines.length > 0 ? [`${numbered("line", lines)} ${are(lines)} damaged and left out`] : []),
      ...(steps.length > 0 ? [`no line tells of ${numbered("step", steps)}`] : []),
    ];
    yield `${this.file}: ${what.join("; ")}; charts and reports go without, what was learnt is in the checkpoint`;
  }

  *#again(lines: number[]): Generator<string> {
    if (lines.length === 0) return;
    const whose = lines.length === 1 ? "its step is" : "their steps are";
    yield `${this.file}: ${numbered("line", lines)} ${are(lines)} damaged; ${whose} taken and written again`;
  }

  async #read(): Promise<string> {
    return readFile(this.file, "utf8").catch((error) => {
      if (isAbsent(error)) return "";
      throw cannot("read", this.file, error);
    });
  }

  async #io(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      throw cannot(what, this.file, error);
    }
  }
}

function are(things: readonly unknown[]): string {
  return things.length === 1 ? "is" : "are";
}

/** The step of a line; null when the line is not whole. */
function stepOf(line: string): number | null {
  try {
    const { step } = JSON.parse(line) as { step?: unknown };
    return Number.isSafeInteger(step) ? (step as number) : null;
  } catch {
    return null;
  }
}
