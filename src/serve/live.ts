// The model at work for requests that come over time: one decoder, and beside it texts to embed and rows that choose; a bounded line before all, text as it grows.
// Knows no store and no HTTP.
import { decodable, type Engine, type Outcome, outcomeOf } from "../batch/index.js";
import { type DecodedRow, type DecodeRequest, decodeRows } from "../decode/index.js";
import type { EmbeddingRequest, LabelsRequest, TextRequest } from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import { choiceWork } from "./choices.js";
import { ApiError, queueFull } from "./errors.js";
import type { Depth } from "./metrics.js";
import { Turns } from "./turns.js";
import { vectorWork } from "./vectors.js";
import type { Wanted } from "./wanted.js";

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
  readonly #vectors: Turns<EmbeddingRequest>;
  readonly #choices: Turns<LabelsRequest>;

  /** @param front - what the prompts of rows that choose begin with */
  constructor(
    readonly engine: Engine,
    readonly limits: { sequences: number; memory: number | undefined; waiting: number },
    front: Int32Array = new Int32Array(0),
  ) {
    this.#vectors = new Turns(vectorWork(engine));
    this.#choices = new Turns(choiceWork(engine, front));
  }

  depth(): Depth {
    const all = this.#line.length + this.#taken.size;
    const running = Math.min(all, this.limits.sequences);
    return { running, waiting: all - running + this.#vectors.waiting + this.#choices.waiting };
  }

  /** Throws 429 where too many wait, and 503 at the end. */
  #requireRoom(): void {
    if (this.#closing) throw new ApiError(503, "the server is stopping", { code: "stopping" });
    const { running, waiting } = this.depth();
    // Who comes to an idle model does not wait.
    const waits = waiting > 0 || running >= this.limits.sequences;
    if (waits && waiting >= this.limits.waiting) throw queueFull(this.limits.waiting);
  }

  /** The texts of one request. Throws 429 where too many wait. */
  embed(wanted: readonly Wanted<EmbeddingRequest>[]): void {
    this.#requireRoom();
    this.#vectors.add(wanted);
  }

  /** The rows of one request. Throws 429 where too many wait. */
  choose(wanted: readonly Wanted<LabelsRequest>[]): void {
    this.#requireRoom();
    this.#choices.add(wanted);
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
    await this.#choices.close();
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
