// From a request to its answer: the store's, another's that is being written, or the live model's. Knows no HTTP.
import { setMaxListeners } from "node:events";
import type { Engine, Outcome } from "../batch/index.js";
import {
  type Answer,
  type EmbeddingRequest,
  type Entry,
  keyText,
  type LabelsRequest,
  type Request,
  requestKey,
  type Store,
  type TextRequest,
} from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import { ApiError } from "./errors.js";
import type { Live } from "./live.js";
import type { Log } from "./log.js";
import type { Metrics } from "./metrics.js";
import type { Wanted } from "./wanted.js";

/** A request, and the text that asks for its answer. */
interface Asked {
  request: TextRequest;
  text: string;
}

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

  /** @param left - called when it has ended, or nobody waits any more: an equal request then begins anew */
  constructor(readonly left: () => void) {}

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
    this.left();
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
      if (--this.#followers === 0 && !this.#ended) {
        this.left();
        this.#nobody.abort();
      }
    }
  }

  #news(): void {
    const waiting = this.#tell;
    this.#tell = [];
    for (const one of waiting) one();
  }
}

/** The whole answer, whatever of its text comes before. What is wrong with one of several names its place. */
async function wholeOf(flight: Flight, field: string, index: number, signal: AbortSignal): Promise<Answer> {
  try {
    const pieces = flight.follow(signal);
    for (;;) {
      const { done, value } = await pieces.next();
      if (done) return value;
    }
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    throw new ApiError(error.status, `${field}[${index}]: ${error.message}`, { param: field });
  }
}

/** Rows of a request that are written side by side. */
const rowsAtOnce = 16;

/** A request, and the texts that ask for its answer. */
export interface Wish<Kind extends Request> {
  request: Kind;
  texts: readonly string[];
}

/** Answers to several requests; a miss among them makes it one. */
interface Several {
  from: From;
  answers: Answer[];
}

/** What is known of a request, or the answer that is being written; of a miss, whoever asked has it written. */
type Found =
  | { from: "hit"; answer: Answer }
  | { from: "shared"; flight: Flight }
  | { from: "miss"; flight: Flight; key: Uint8Array };

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
  ask(asked: Asked): Found {
    const found = this.#seek(asked.request);
    if (found.from === "miss") void this.#compute(found.key, asked, found.flight);
    return found;
  }

  /** The vectors of texts, in their order. Throws as ask(), and what is wrong with a text. */
  embed(requests: readonly EmbeddingRequest[], signal: AbortSignal): Promise<Several> {
    const asked = requests.map((request) => ({ request, texts: [] }));
    return this.#several(asked, "input", (wanted) => this.live!.embed(wanted), signal);
  }

  /** The choices of rows, in their order. Throws as ask(), and what is wrong with a row. */
  choose(asked: readonly Wish<LabelsRequest>[], signal: AbortSignal): Promise<Several> {
    return this.#several(asked, "rows", (wanted) => this.live!.choose(wanted), signal);
  }

  /** The words of rows, in their order: some at a time, so that many rows are no crowd. Throws as ask(), and what is wrong with a row. */
  write(asked: readonly Wish<TextRequest>[], signal: AbortSignal): Promise<Several> {
    const begin = (wanted: readonly Wanted<TextRequest>[]) => {
      const line = wanted.values();
      const lane = async () => {
        for (const { request, signal: nobody, done, failed } of line) {
          if (nobody.aborted) failed(new StillroomError("cancelled", "was called off"));
          else await this.live!.answer(request, () => undefined, nobody).then(done, failed);
        }
      };
      const { sequences, waiting } = this.live!.limits;
      for (let lanes = Math.min(rowsAtOnce, sequences + waiting); lanes > 0; lanes--) void lane();
    };
    return this.#several(asked, "rows", begin, signal);
  }

  /** The answers to requests, in their order: each the store's, one that is computed for another, or the model's. */
  async #several<Kind extends Request>(
    asked: readonly Wish<Kind>[],
    field: string,
    begin: (wanted: readonly Wanted<Kind>[]) => void,
    signal: AbortSignal,
  ): Promise<Several> {
    // A client that leaves is told to every request's flight.
    setMaxListeners(0, signal);
    const found = asked.map((one) => ({ ...one, ...this.#seek(one.request) }));
    const wanted = found.flatMap((one) => (one.from === "miss" ? [one] : []));
    try {
      if (wanted.length > 0)
        begin(
          wanted.map(({ request, texts, key, flight }) => ({
            request,
            signal: flight.signal,
            done: (outcome) => void this.#land(key, outcome, texts, flight),
            failed: (error) => flight.end(null, error),
          })),
        );
    } catch (error) {
      for (const { flight } of wanted) flight.end(null, error);
      throw error;
    }
    const answers = await Promise.all(
      found.map(async (one, index) => ("answer" in one ? one.answer : wholeOf(one.flight, field, index, signal))),
    );
    const froms = found.map(({ from }) => from);
    return { from: (["miss", "shared"] as const).find((from) => froms.includes(from)) ?? "hit", answers };
  }

  #seek(request: Request): Found {
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
    const flight: Flight = new Flight(() => {
      if (this.#flights.get(name) === flight) this.#flights.delete(name);
    });
    this.#flights.set(name, flight);
    return { from: "miss", flight, key };
  }

  async #compute(key: Uint8Array, { request, text }: Asked, flight: Flight): Promise<void> {
    try {
      const outcome = await this.live!.answer(request, (piece) => flight.add(piece), flight.signal);
      await this.#land(key, outcome, [text], flight);
    } catch (error) {
      flight.end(null, error);
    }
  }

  /** Keeps an answer, and ends its flight. */
  async #land(key: Uint8Array, outcome: Outcome, texts: readonly string[], flight: Flight): Promise<void> {
    if ("reason" in outcome) {
      const { reason, atWork } = outcome;
      const failure = new ApiError(atWork ? 500 : 400, reason);
      flight.end(null, flight.signal.aborted ? new StillroomError("cancelled", reason) : failure);
      return;
    }
    this.metrics.answers.inc({ from: "model" });
    this.metrics.tokens.inc({ kind: "prompt" }, outcome.promptTokens);
    this.metrics.tokens.inc({ kind: "answer" }, outcome.answerTokens);
    await this.#keep({ key, answer: outcome, maker: this.engine.maker, texts });
    flight.end(outcome, null);
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
