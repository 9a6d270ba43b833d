// The model at work for texts to embed: some at a time, a text of each request in turn, so that a long list holds up no other. Knows no store and no HTTP.
import { type Engine, embedded } from "../batch/index.js";
import { embedBatches } from "../embed/index.js";
import type { EmbeddingRequest } from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import type { Wanted } from "./wanted.js";

type Text = Wanted<EmbeddingRequest>;

/** Tokens that are worked on at once: what waits beside them, a step of the decoder included, waits so long. */
const tokensAtOnce = 512;

export class Vectors {
  /** Of each request, the texts that are not taken yet; none of them empty. */
  #line: Text[][] = [];
  #work: Promise<void> | null = null;

  constructor(readonly engine: Engine) {}

  /** Requests with texts that are not taken yet. */
  get waiting(): number {
    return this.#line.length;
  }

  add(wanted: readonly Text[]): void {
    this.#line.push([...wanted]);
    this.#work ??= this.#run().finally(() => {
      this.#work = null;
    });
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    await this.#work;
  }

  async #run(): Promise<void> {
    const { model, lora, adapter } = this.engine;
    while (this.#line.length > 0) {
      const now = this.#take();
      const left = new Set(now);
      try {
        const job = { model, lora, adapter, pooling: now[0]?.request.pooling ?? "mean" };
        const prompts = now.map(({ request }) => request.prompt);
        for await (const { from, vectors } of embedBatches(job, prompts)) {
          for (const [at, vector] of vectors.entries()) {
            const one = now[from + at]!;
            left.delete(one);
            one.done(embedded(vector, one.request));
          }
        }
      } catch (error) {
        for (const { failed } of left) failed(error);
      }
    }
  }

  #take(): Text[] {
    const taken: Text[] = [];
    for (let tokens = 0; this.#line.length > 0; ) {
      const texts = this.#line.shift()!;
      const [next, ...others] = texts as [Text, ...Text[]];
      const { length } = next.request.prompt;
      if (next.signal.aborted) next.failed(new StillroomError("cancelled", "was called off"));
      else if (
        taken.length > 0 &&
        (tokens + length > tokensAtOnce || next.request.pooling !== taken[0]!.request.pooling)
      ) {
        this.#line.unshift(texts);
        break;
      } else {
        taken.push(next);
        tokens += length;
      }
      if (others.length > 0) this.#line.push(others);
    }
    return taken;
  }
}
