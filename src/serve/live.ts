// The model at work for requests that come over time: one decoder, and texts to embed beside it; a bounded line before both, text as it grows. Knows no store and no HTTP.
import { decodable, type Engine, type Outcome, outcomeOf } from "../batch/index.js";
import { type DecodedRow, type DecodeRequest, decodeRows } from "../decode/index.js";
import type { TextRequest } from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import { ApiError, queueFull } from "./errors.js";
import type { Depth } from "./metrics.js";
import { Vectors, type Wanted } from "./vectors.js";

interface Ticket {
  request: DecodeRequest;
  done: (row: DecodedRow) => void;
  failed: (error: unknown) => void;
}

export class Live {
  /** Not taken by the decoder yet. */
  #line: Ticket[] = [];
  /** Taken, by their index. */
  #taken = new Map<number, Ticket>();
  #wake: () => void = () => undefined;
  #work: Promise<void> | null = null;
  #closing = false;
  readonly #vectors: Vectors;

  constructor(
    readonly engine: Engine,
    readonly limits: { sequences: number; memory: number | undefined; waiting: number },
  ) {
    this.#vectors = new Vectors(engine);
  }

  depth(): Depth {
    const all = this.#line.length + this.#taken.size;
    const running = Math.min(all, this.limits.sequences);
    return { running, waiting: all - running + this.#vectors.waiting };
  }

  /** Throws 429 where too many wait, and 503 at the end. */
  #requireRoom(): void {
    if (this.#closing) throw new ApiError(503, "the server is stopping", { code: "stopping" });
    if (this.depth().waiting >= this.limits.waiting) throw queueFull(this.limits.waiting);
  }

  /** The texts of one request. Throws 429 where too many wait. */
  embed(wanted: readonly Wanted[]): void {
    this.#requireRoom();
    this.#vectors.add(wanted);
  }

  /** Throws 429 where too many wait. The answer, or why there is none; `onText` gets it as it grows. */
  async answer(request: TextRequest, onText: (piece: string) => void, signal: AbortSignal): Promise<Outcome> {
    this.#requireRoom();
    const row = await new Promise<DecodedRow>((done, failed) => {
      const ticket = { request: { ...decodable(request), onText, signal }, done, failed };
      this.#line.push(ticket);
      signal.addEventListener("abort", () => {
        const at = this.#line.indexOf(ticket);
        if (at < 0) return;
        this.#line.splice(at, 1);
        failed(new StillroomError("cancelled", "was called off"));
      });
      this.#work ??= this.#run();
      this.#wake();
    });
    return outcomeOf(row);
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#wake();
    await this.#work;
    await this.#vectors.close();
  }

  /** Works until it is closed. A decoder that failed fails those that it had, and the next request begins another. */
  async #run(): Promise<void> {
    const { model, lora, adapter } = this.engine;
    const { sequences, memory } = this.limits;
    try {
      const options = { lora, adapter, sequences, memory, wrong: "refuse" as const };
      for await (const row of decodeRows(model, this.#requests(), options)) {
        const ticket = this.#taken.get(row.index)!;
        this.#taken.delete(row.index);
        ticket.done(row);
      }
    } catch (error) {
      for (const { failed } of [...this.#taken.values(), ...this.#line]) failed(error);
      this.#taken.clear();
      this.#line = [];
    } finally {
      this.#work = null;
    }
  }

  async *#requests(): AsyncGenerator<DecodeRequest> {
    for (let index = 0; ; index++) {
      while (this.#line.length === 0) {
        if (this.#closing) return;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      const ticket = this.#line.shift()!;
      this.#taken.set(index, ticket);
      yield ticket.request;
    }
  }
}
