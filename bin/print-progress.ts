// Progress on stderr: a bar on a terminal, else a plain line now and then. Knows no command.
import type { WriteStream } from "node:tty";
import cliProgress from "cli-progress";
import { counted } from "../src/support/words.js";
import { colours, plain } from "./print.js";

const secondsBetweenLines = 10;
/** Warnings of one kind are counted after so many. */
const warningsShown = 20;

/** What a command does now, how far it is, and what came up on the way. */
export class Progress {
  readonly #stream: NodeJS.WriteStream;
  readonly #terminal: boolean;
  #bar: cliProgress.SingleBar | null = null;
  #label = "";
  #lastLine = 0;
  #warnings = 0;

  constructor(stream: NodeJS.WriteStream | WriteStream) {
    this.#stream = stream as NodeJS.WriteStream;
    this.#terminal = stream.isTTY === true && process.env.TERM !== "dumb";
  }

  /** Shows how much of a phase is done: `done` of `total`, and a few words. A new label begins a new bar. */
  update(label: string, done: number, total: number, words = ""): void {
    if (this.#terminal) this.#draw(label, done, total, words);
    else this.#tell(label, done, total, words);
  }

  /** A line of its own. */
  line(text: string): void {
    this.#clear();
    this.#stream.write(`${text}\n`);
  }

  /** A warning; from the 21st on they are only counted. */
  warn(text: string): void {
    if (++this.#warnings <= warningsShown) this.line(`${colours(this.#stream).yellow("warning:")} ${plain(text)}`);
  }

  /** Ends the bar, and says how many warnings were not shown. */
  end(): void {
    this.#clear();
    if (this.#warnings > warningsShown) this.line(`… and ${counted(this.#warnings - warningsShown, "more warning")}`);
    this.#warnings = 0;
  }

  #draw(label: string, done: number, total: number, words: string): void {
    if (label !== this.#label) this.#clear();
    this.#label = label;
    if (!this.#bar) {
      const format = `${label} {bar} {percentage}% {words}`;
      const options = { format, stream: this.#stream, hideCursor: true, clearOnComplete: true, barsize: 20, fps: 5 };
      this.#bar = new cliProgress.SingleBar(options, cliProgress.Presets.shades_classic);
      this.#bar.start(total, done, { words });
    } else {
      this.#bar.setTotal(total);
      this.#bar.update(done, { words });
    }
  }

  #tell(label: string, done: number, total: number, words: string): void {
    const now = performance.now() / 1000;
    const begins = label !== this.#label;
    if (!begins && done < total && now - this.#lastLine < secondsBetweenLines) return;
    this.#label = label;
    this.#lastLine = now;
    this.#stream.write(`${label} ${Math.floor((100 * done) / Math.max(total, 1))}%${words ? ` ${words}` : ""}\n`);
  }

  #clear(): void {
    this.#bar?.stop();
    this.#bar = null;
    this.#label = "";
  }
}
