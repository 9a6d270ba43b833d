// The line before the model for requests of several parts: some parts at a time, one of each request in turn, so that a long request holds up no other. Knows neither the
// model nor what a part is.
import type { Outcome } from "../batch/index.js";
import type { Request } from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import type { Wanted } from "./wanted.js";

/** How parts are worked on. */
export interface PartWork<Kind extends Request> {
  /** Whether one more goes with those that are taken already, of which there is at least one. */
  fits(taken: readonly Kind[], next: Kind): boolean;
  /** Tells the outcome of each by its place. What it throws is the failure of those that it told nothing of. */
  answer(parts: readonly Kind[], tell: (place: number, outcome: Outcome) => void): Promise<void>;
}

export class Turns<Kind extends Request> {
  /** Of each request, the parts that are not taken yet; none of them empty. */
  #line: Wanted<Kind>[][] = [];
  #work: Promise<void> | null = null;

  constructor(readonly work: PartWork<Kind>) {}

  /** Requests with parts that are not taken yet. */
  get waiting(): number {
    return this.#line.length;
  }

  /** The parts of one request. */
  add(parts: readonly Wanted<Kind>[]): void {
    this.#line.push([...parts]);
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
      const tell = (place: number, outcome: Outcome) => {
        const one = now[place]!;
        left.delete(one);
        one.done(outcome);
      };
      try {
        await this.work.answer(
          now.map(({ request }) => request),
          tell,
        );
      } catch (error) {
        for (const { failed } of left) failed(error);
      }
    }
  }

  #take(): Wanted<Kind>[] {
    const taken: Wanted<Kind>[] = [];
    const requests: Kind[] = [];
    while (this.#line.length > 0) {
      const parts = this.#line.shift()!;
      const [next, ...others] = parts as [Wanted<Kind>, ...Wanted<Kind>[]];
      if (next.signal.aborted) next.failed(new StillroomError("cancelled", "was called off"));
      else if (taken.length > 0 && !this.work.fits(requests, next.request)) {
        this.#line.unshift(parts);
        break;
      } else {
        taken.push(next);
        requests.push(next.request);
      }
      if (others.length > 0) this.#line.push(others);
    }
    return taken;
  }
}
