// A batch as the live page draws it: the lines of its progress file, and what they come to. Writes nothing.
import { existsSync } from "node:fs";
import { type ProgressLine, progressFile } from "../batch/index.js";
import { Tail } from "./tail.js";
import type { Drawn, Watched } from "./watch.js";

/** Whether a folder is the store of a batch that ran, or runs. */
export function isBatch(folder: string): boolean {
  return existsSync(progressFile(folder));
}

export class WatchedBatch implements Watched {
  readonly #lines: Tail<ProgressLine>;

  constructor(store: string) {
    this.#lines = new Tail(progressFile(store));
  }

  async since(generation: number, known: number) {
    await this.#lines.read();
    const { lines, generation: now } = this.#lines;
    const from = now === generation ? known : 0;
    const last = lines.at(-1);
    return {
      ...{ generation: now, steps: lines.length, validations: 0, x: "seconds" },
      ended: last?.ended === true,
      state: last ? stateOf(last) : "no row is done yet",
      charts: chartsOf(lines, from),
    };
  }
}

function stateOf({ rows, total_rows, from_store, errors, ended }: ProgressLine): string {
  const failed = errors > 0 ? `, ${errors} failed` : "";
  return `${ended ? "ended after " : ""}${rows} of ${total_rows} rows, ${from_store} of them known${failed}`;
}

function chartsOf(lines: readonly ProgressLine[], from: number): Drawn[] {
  const rows = (value: (line: ProgressLine) => number) =>
    lines.slice(from).map((line): [number, number] => [line.seconds, value(line)]);
  // Over a second or more, since the rows of a window end all at once; at first since the beginning.
  const before = (line: ProgressLine, place: number): ProgressLine | undefined => {
    let earlier = from + place - 1;
    while (earlier >= 0 && line.seconds - lines[earlier]!.seconds < 0.99) earlier -= 1;
    return lines[earlier];
  };
  const speed = (value: (line: ProgressLine) => number) =>
    lines.slice(from).flatMap((line, place): [number, number][] => {
      const since = before(line, place);
      const seconds = line.seconds - (since?.seconds ?? 0);
      return seconds > 0 ? [[line.seconds, (value(line) - (since ? value(since) : 0)) / seconds]] : [];
    });
  return [
    { title: "Rows done", series: ["rows"], rows: rows((line) => line.rows) },
    { title: "Rows a second", series: ["rows/s"], rows: speed((line) => line.rows) },
    { title: "Tokens a second", series: ["tokens/s"], rows: speed((line) => line.tokens) },
    { title: "Failed rows", series: ["rows"], rows: rows((line) => line.errors) },
  ];
}
