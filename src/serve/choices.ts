// The model at work for rows of the task that choose among labels, or are answered by a head: some at a time, a row of each request in turn, so that many rows hold
// up no other request. Knows no store and no HTTP.
import { answering, type Engine } from "../batch/index.js";
import type { LabelsRequest } from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import type { Wanted } from "./wanted.js";

type Row = Wanted<LabelsRequest>;

/** Rows that are worked on at once: what waits beside them waits so long. */
const rowsAtOnce = 16;

export class Choices {
  /** Of each request, the rows that are not taken yet; none of them empty. */
  #line: Row[][] = [];
  #work: Promise<void> | null = null;
  readonly #never = new AbortController().signal;

  /** @param front - what all prompts begin with, as a batch of the task has it: the same bits */
  constructor(
    readonly engine: Engine,
    readonly front: Int32Array,
  ) {}

  /** Requests with rows that are not taken yet. */
  get waiting(): number {
    return this.#line.length;
  }

  add(rows: readonly Row[]): void {
    this.#line.push([...rows]);
    this.#work ??= this.#run().finally(() => {
      this.#work = null;
    });
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    await this.#work;
  }

  async #run(): Promise<void> {
    while (this.#line.length > 0) {
      const now = this.#take();
      const left = new Set(now);
      const tell = async (place: number, outcome: Parameters<Row["done"]>[0]) => {
        const one = now[place]!;
        left.delete(one);
        one.done(outcome);
      };
      try {
        // A row that fails costs those beside it nothing.
        const answer = answering(this.engine, 0, undefined);
        await answer(
          now.map(({ request }) => request),
          this.front,
          tell,
          this.#never,
        );
      } catch (error) {
        for (const { failed } of left) failed(error);
      }
    }
  }

  #take(): Row[] {
    const taken: Row[] = [];
    while (this.#line.length > 0 && taken.length < rowsAtOnce) {
      const [next, ...others] = this.#line.shift() as [Row, ...Row[]];
      if (next.signal.aborted) next.failed(new StillroomError("cancelled", "was called off"));
      else taken.push(next);
      if (others.length > 0) this.#line.push(others);
    }
    return taken;
  }
}
