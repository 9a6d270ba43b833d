// The lines of a growing JSONL file, read once each. A file that was begun again (a resumed run) is read anew.
import { open } from "node:fs/promises";

export class Tail<T> {
  lines: T[] = [];
  /** Counts how often the file was begun again: what was read before no longer holds. */
  generation = 0;
  #offset = 0;
  #inode = 0n;

  constructor(readonly file: string) {}

  /** Reads what was added. A line that is not whole yet stays for the next time; a file that is not there has no lines. */
  async read(): Promise<void> {
    const handle = await open(this.file).catch(() => null);
    if (!handle) return;
    try {
      const { size, ino } = await handle.stat({ bigint: true });
      if (ino !== this.#inode || Number(size) < this.#offset) {
        if (this.#inode !== 0n) this.generation += 1;
        [this.lines, this.#offset, this.#inode] = [[], 0, ino];
      }
      const bytes = Buffer.alloc(Number(size) - this.#offset);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, this.#offset);
      const end = bytes.subarray(0, bytesRead).lastIndexOf(10) + 1;
      this.#offset += end;
      for (const line of bytes.toString("utf8", 0, end).split("\n")) if (line !== "") this.#add(line);
    } finally {
      await handle.close();
    }
  }

  #add(line: string): void {
    try {
      this.lines.push(JSON.parse(line) as T);
    } catch {
      // Half a line of a writer that was killed, with the next writer's behind it.
    }
  }
}
