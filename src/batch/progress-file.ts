// How far a batch is, for those who look at it from another process: progress.jsonl in the store's folder. Owns the format.
import { appendFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { BatchProgress } from "./result.js";

/** A line: what was done so many seconds after the batch began. */
export interface ProgressLine {
  rows: number;
  total_rows: number;
  computed: number;
  from_store: number;
  errors: number;
  tokens: number;
  seconds: number;
  /** On the last line of a batch that came to its end, or to a limit. */
  ended?: true;
}

const everySeconds = 1;

/** The file in a store's folder. */
export function progressFile(store: string): string {
  return path.join(store, "progress.jsonl");
}

/** Begun anew with each batch; a line a second at most. A disk that takes none ends the telling, and not the batch. */
export class ProgressFile {
  /** What was told, and when a line of it was written. */
  #last: ProgressLine | null = null;
  #written = Number.NEGATIVE_INFINITY;
  #writes = true;

  constructor(readonly file: string) {
    // Another file, not the same one emptied: a reader sees that it was begun anew.
    this.#try(() => {
      writeFileSync(`${file}.tmp`, "");
      renameSync(`${file}.tmp`, file);
    });
  }

  tell({ rows, totalRows: total_rows, computed, fromStore: from_store, errors, tokens, seconds }: BatchProgress): void {
    this.#last = { rows, total_rows, computed, from_store, errors, tokens, seconds };
    if (seconds - this.#written >= everySeconds) this.#add(this.#last);
  }

  end(): void {
    if (this.#last) this.#add({ ...this.#last, ended: true });
  }

  /** A batch that was cut off leaves how far it came. */
  flush(): void {
    if (this.#last && this.#last.seconds > this.#written) this.#add(this.#last);
  }

  #add(line: ProgressLine): void {
    this.#written = line.seconds;
    this.#try(() => appendFileSync(this.file, `${JSON.stringify(line)}\n`));
  }

  #try(write: () => void): void {
    if (!this.#writes) return;
    try {
      write();
    } catch {
      this.#writes = false;
    }
  }
}
