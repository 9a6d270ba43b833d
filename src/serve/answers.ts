// From a request to its answer: the store's, another's that is being written, or the live model's. Knows no HTTP.
import type { Asked, Engine } from "../batch/index.js";
import { type Answer, type Entry, keyText, requestKey, type Store } from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import { ApiError } from "./errors.js";
import type { Live } from "./live.js";
import type { Log } from "./log.js";
import type { Metrics } from "./metrics.js";

/** Where an answer comes from; the x-stillroom-cache header. */
export type From = "hit" | "miss" | "shared";

/** An answer that is being written, and those who wait for it. */
export class Flight {
  #text = "";
  #followers = 0;
  #answer: Answer | null = null;
  #error: unknown = null;
  #ended = false;
  #tell: (() => void)[] = [];
  readonly #nobody = new AbortController();

  /** Aborted when nobody waits any more. */
  get signal(): AbortSignal {
    return this.#nobody.signal;
  }

  add(piece: string): void {
    this.#text += piece;
    this.#news();
  }

  end(answer: Answer | null, error: unknown): void {
    [this.#answer, this.#error, this.#ended] = [answer, error, true];
    this.#news();
  }

  /** The text as it grows; one who reads slowly gets more at a time. Then the answer; throws why there is none. */
  async *follow(signal: AbortSignal): AsyncGenerator<string, Answer> {
    const left = () => this.#news();
    signal.addEventListener("abort", left);
    this.#followers++;
    try {
      for (let sent = 0; ; ) {
        if (signal.aborted) throw new StillroomError("cancelled", "the client left");
        if (this.#text.length > sent) {
          const piece = this.#text.slice(sent);
          sent = this.#text.length;
          yield piece;
        } else if (!this.#ended) await new Promise<void>((resolve) => this.#tell.push(resolve));
        else if (this.#answer) return this.#answer;
        else throw this.#error;
      }
    } finally {
      signal.removeEventListener("abort", left);
      if (--this.#followers === 0 && !this.#ended) this.#nobody.abort();
    }
  }

  #news(): void {
    const waiting = this.#tell;
    this.#tell = [];
    for (const one of waiting) one();
  }
}

export class Answers {
  readonly #flights = new Map<string, Flight>();
  #written: { entry: Entry; then: () => void }[] = [];

  constructor(
    readonly store: Store,
    readonly engine: Engine,
    readonly live: Live | null,
    readonly metrics: Metrics,
    readonly log: Log,
  ) {}

  /** Throws 404 where the answer is not known and no model is live. */
  ask({ request, text }: Asked): { from: From; answer: Answer } | { from: From; flight: Flight } {
    const key = requestKey(this.engine.maker, request);
    const known = this.store.answer(key);
    if (known) {
      this.metrics.answers.inc({ from: "store" });
      return { from: "hit", answer: known };
    }
    const name = keyText(key);
    const other = this.#flights.get(name);
    if (other) {
      this.metrics.answers.inc({ from: "shared" });
      return { from: "shared", flight: other };
    }
    if (!this.live)
      throw new ApiError(404, "the store has no answer to this request, and no model is live", {
        code: "answer_not_found",
      });
    const flight = new Flight();
    this.#flights.set(name, flight);
    const forget = () => {
      if (this.#flights.get(name) === flight) this.#flights.delete(name);
    };
    // An equal request that comes now begins anew.
    flight.signal.addEventListener("abort", forget);
    void this.#compute(key, { request, text }, flight).finally(forget);
    return { from: "miss", flight };
  }

  async #compute(key: Uint8Array, { request, text }: Asked, flight: Flight): Promise<void> {
    try {
      const outcome = await this.live!.answer(request, (piece) => flight.add(piece), flight.signal);
      if ("reason" in outcome) {
        flight.end(
          null,
          flight.signal.aborted ? new StillroomError("cancelled", outcome.reason) : new ApiError(400, outcome.reason),
        );
        return;
      }
      this.metrics.answers.inc({ from: "model" });
      this.metrics.tokens.inc({ kind: "prompt" }, outcome.promptTokens);
      this.metrics.tokens.inc({ kind: "answer" }, outcome.answerTokens);
      await this.#keep({ key, answer: outcome, maker: this.engine.maker, texts: [text] });
      flight.end(outcome, null);
    } catch (error) {
      flight.end(null, error);
    }
  }

  /** Answers that end in the same step are written together. A store that takes none, as on a full disk, costs the answer's keeping and not the answer. */
  #keep(entry: Entry): Promise<void> {
    return new Promise((then) => {
      this.#written.push({ entry, then });
      if (this.#written.length > 1) return;
      setImmediate(async () => {
        const now = this.#written;
        this.#written = [];
        try {
          await this.store.put(now.map((one) => one.entry));
        } catch (error) {
          this.log.error({ err: error }, "answers were not kept");
        }
        for (const one of now) one.then();
      });
    });
  }
}
