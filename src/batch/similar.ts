// Look-ups by what a text means: its vector by the model that a similarity was fitted for, and the nearest text that the store knows. Nothing here works
// before that fit.

import { embedBatches } from "../embed/index.js";
import { Model, type OpenModelOptions, openModel } from "../model/index.js";
import {
  type Fit,
  fitOf,
  keepNear,
  type Lookup,
  leadsNear,
  NearIndex,
  type Store,
  spaceOf,
  told,
} from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import { encodePrompt } from "../tokens/index.js";
import { type Engine, openEngine } from "./engine.js";

/** What a text leads to, and for a hit by similarity how near which known text is. */
export interface SimilarLookup extends Lookup {
  /** The cosine; null where the text itself is known, and without a hit. */
  similarity: number | null;
  /** The known text. */
  similar_to: string | null;
}

/** A text and the request whose answer it leads to. */
export interface Leading {
  key: Uint8Array;
  text: string;
}

/** Vectors of texts; null where a text has none: it is longer than the context, has no token, or its vector is not finite. */
export async function vectorsOf(
  { model, lora, adapter }: Engine,
  pooling: Fit["pooling"],
  texts: readonly string[],
  signal?: AbortSignal,
): Promise<(Float32Array | null)[]> {
  const rows = texts.map((text) => encodePrompt(model.tokenizer, { pieces: [{ text, control: false }], answer: "" }));
  const places = [...rows.keys()].filter(
    (place) => rows[place]!.length >= 1 && rows[place]!.length <= model.info.contextLength,
  );
  const found: (Float32Array | null)[] = new Array(texts.length).fill(null);
  const fitting = places.map((place) => rows[place]!);
  for await (const { from, vectors } of embedBatches({ model, lora, adapter, pooling, signal }, fitting))
    for (const [at, vector] of vectors.entries()) if (typeof vector !== "string") found[places[from + at]!] = vector;
  return found;
}

export class Similar {
  readonly #index: NearIndex;
  readonly #space: Buffer;

  private constructor(
    readonly store: Store,
    readonly engine: Engine,
    readonly fit: Fit,
    readonly given: string | Model,
  ) {
    this.#space = spaceOf(engine.maker, fit.pooling);
    this.#index = new NearIndex(store, this.#space, engine.model.info.width);
  }

  /**
   * Of an open store, and the model that its similarity was fitted for.
   *
   * @throws StillroomError "usage" where none was fitted for this model
   *
   * @example
   * ```ts
   * import { openStore, Similar } from "stillroom";
   * const store = await openStore("answers", { readOnly: true });
   * const similar = await Similar.open(store, "model.gguf");
   * const [found] = await similar.lookup(["a plum, is it a drupe?"]);
   * console.log(found!.answer, found!.similarity, found!.similar_to);
   * await similar.close();
   * await store.close();
   * ```
   */
  static async open(store: Store, given: string | Model, options: OpenModelOptions = {}): Promise<Similar> {
    const model = given instanceof Model ? given : await openModel(given, options);
    try {
      const engine = await openEngine(model, undefined, "f32");
      const fit = fitOf(store, engine.maker);
      if (fit) return new Similar(store, engine, fit, given);
      throw new StillroomError(
        "usage",
        `no similarity was fitted in ${store.folder} for ${engine.maker.model}, as it computes here; run first: stillroom store similarity --store ${store.folder} --model ${model.info.path} --pairs FILE`,
        { options: ["similar"] },
      );
    } catch (error) {
      if (model !== given) await model.close();
      throw error;
    }
  }

  /** Texts that lead to answers by their vectors. */
  get size(): number {
    return this.#index.size;
  }

  /** What the store knows for texts, in their order; for those that it does not know, what it knows for the nearest text. */
  async lookup(texts: readonly string[]): Promise<SimilarLookup[]> {
    const found = texts.map(
      (text): SimilarLookup => ({ ...this.store.lookup(text), similarity: null, similar_to: null }),
    );
    const missing = [...found.keys()].filter((place) => !found[place]!.hit);
    const asked = missing.map((place) => texts[place]!);
    const vectors = await vectorsOf(this.engine, this.fit.pooling, asked);
    for (const [at, near] of (await this.#index.find(vectors, this.fit.threshold)).entries()) {
      if (!near) continue;
      const { answer, similarity, text: similar_to } = near;
      found[missing[at]!] = { key: asked[at]!, hit: true, ...told(answer, answer.made_by), similarity, similar_to };
    }
    return found;
  }

  /** Lets texts lead to their answers by their vectors; those that do already cost nothing. */
  async keep(leading: readonly Leading[], signal: AbortSignal): Promise<void> {
    // A text leads to one answer: the last.
    const once = [...new Map(leading.map((one) => [one.text, one])).values()];
    const wanted = once.filter(({ key, text }) => !leadsNear(this.store, this.#space, key, text));
    for (let at = 0; at < wanted.length; at += together) {
      const now = wanted.slice(at, at + together);
      const vectors = await vectorsOf(
        this.engine,
        this.fit.pooling,
        now.map(({ text }) => text),
        signal,
      );
      keepNear(
        this.store,
        this.#space,
        now.flatMap((one, place) => (vectors[place] ? [{ ...one, vector: vectors[place] }] : [])),
      );
    }
  }

  /** Closes what was opened for it; the store stays open. */
  async close(): Promise<void> {
    if (this.engine.model !== this.given) await this.engine.model.close();
  }
}

/** Vectors of one transaction: what is lost at most when the work is cut off. */
const together = 256;
