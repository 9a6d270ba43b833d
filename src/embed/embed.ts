// Texts to vectors: what the model's last layer says of a whole text, pooled over its tokens. Knows no store and no similarity.
import { existsSync, statSync } from "node:fs";
import { loadAdapter } from "../adapter/index.js";
import { type DownloadProgress, Model, openModel } from "../model/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError, unexpected } from "../support/errors.js";
import {
  type NativeBatch,
  type NativeLora,
  type NativePooling,
  type NativePrecision,
  native,
  rethrow,
} from "../support/native.js";
import { requireKnown } from "../task/index.js";
import { encodePrompt, packTexts } from "../tokens/index.js";

/** Which states behind the model's final norm become the vector: the mean of those of all tokens, or the last token's. */
export type Pooling = NativePooling;
export const poolings = ["mean", "last"] as const satisfies readonly Pooling[];

/** How texts are embedded. */
export interface EmbedOptions {
  /** Default "mean". */
  pooling?: Pooling | undefined;
  /** A RUN folder, a PEFT folder or a GGUF LoRA. */
  adapter?: string | undefined;
  /** Where the model is not open yet. */
  threads?: number | undefined;
  precision?: NativePrecision | undefined;
  /** After each batch: texts that are done. */
  onProgress?: ((progress: { rows: number; totalRows: number; tokens: number }) => void) | undefined;
  onDownload?: ((progress: DownloadProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

const knownOptions = ["pooling", "adapter", "threads", "precision", "onProgress", "onDownload", "signal"];
/** Tokens of a batch; a longer text goes alone. */
const batchTokens = 2048;

/**
 * One vector of length 1 a text, by which texts are compared: their inner product is the cosine. A text's vector is the same, bit for bit, alone and among
 * any others. The models that the native engine does not take are run by llama.cpp, one text at a time.
 *
 * How good they are is the model's affair: most decoders were not trained for it.
 *
 * @param model - a path, an hf: URI or an open model (which stays open); default: the model in the box
 * @param texts - each of at least one token, and no longer than the model's context
 * @returns for each text the model's width in numbers
 * @throws StillroomError "usage" for a wrong option, "input" for a text that does not fit or a model that is no decoder, "cancelled" on abort
 *
 * @example
 * ```ts
 * import { embed } from "stillroom";
 * const [plum, peach] = await embed("model.gguf", ["Is a plum a drupe?", "Is a peach a drupe?"]);
 * const cosine = plum!.reduce((sum, value, i) => sum + value * peach![i]!, 0);
 * console.log(cosine);
 * ```
 */
export async function embed(
  model: string | Model | undefined,
  texts: readonly string[],
  options: EmbedOptions = {},
): Promise<Float32Array[]> {
  requireKnown(options, knownOptions, "embed");
  if (!Array.isArray(texts)) throw unexpected("an array of texts", "texts", texts);
  for (const [index, text] of texts.entries())
    if (typeof text !== "string") throw unexpected("a text", `texts[${index}]`, text);
  const { pooling = "mean", adapter, signal, onProgress } = options;
  requirePooling(pooling);
  const opened = model instanceof Model ? model : await openModel(model, options);
  try {
    const lora = adapter !== undefined && opened.tunable ? await loadAdapter(opened.native, adapter) : null;
    const rows = texts.map((text) =>
      encodePrompt(opened.tokenizer, { pieces: [{ text, control: false }], answer: "" }),
    );
    const tell = (done: number, tokens: number) => onProgress?.({ rows: done, totalRows: rows.length, tokens });
    return await embedRows({ model: opened, lora, adapter, pooling, signal }, rows, tell);
  } catch (error) {
    return rethrow(error);
  } finally {
    if (opened !== model) await opened.close();
  }
}

/** Throws "usage" for another name. */
export function requirePooling(pooling: unknown): asserts pooling is Pooling {
  if (!(poolings as readonly unknown[]).includes(pooling)) throw unexpected(poolings.join(" or "), "pooling", pooling);
}

interface EmbedJob {
  model: Model;
  lora: NativeLora | null;
  /** Where llama.cpp runs the model: the GGUF LoRA. */
  adapter?: string | undefined;
  pooling: Pooling;
  /** As of packTexts. */
  front?: Int32Array | undefined;
  signal?: AbortSignal | undefined;
}

/** Embeddings of token sequences, in their order; step hears of rows and tokens that are done. */
export async function embedRows(
  { signal, ...job }: EmbedJob,
  rows: readonly Int32Array[],
  step?: (rows: number, tokens: number) => void,
): Promise<Float32Array[]> {
  for (const [index, { length }] of rows.entries()) {
    if (length >= 1 && length <= job.model.info.contextLength) continue;
    const context = `the model's context is ${job.model.info.contextLength}`;
    throw new StillroomError("input", `text ${index} has ${length} tokens: expected at least one, and ${context}`);
  }
  const result: Float32Array[] = [];
  let tokens = 0;
  for await (const { from, vectors } of embedBatches({ ...job, signal }, rows)) {
    for (const [at, vector] of vectors.entries()) {
      if (typeof vector === "string") throw new StillroomError("input", `text ${from + at}: ${vector}`);
      tokens += rows[from + at]!.length;
      result.push(vector);
    }
    step?.(result.length, tokens);
  }
  return result;
}

/** Some texts' vectors, in their order, beginning with text `from`; in the place of one that is not finite, the reason. */
interface EmbeddedBatch {
  from: number;
  vectors: (Float32Array | string)[];
}

/** embedRows batch by batch, for rows that fit the context: a text without a finite embedding costs that text. */
export async function* embedBatches(
  { model, lora, adapter, pooling, front, signal }: EmbedJob,
  rows: readonly Int32Array[],
): AsyncGenerator<EmbeddedBatch> {
  if (rows.length === 0) return;
  const longest = rows.reduce((most, { length }) => Math.max(most, length), 1);
  const { run, close } = await embedder(model, lora, adapter, longest);
  const vectorsOf = async (texts: readonly Int32Array[]): Promise<EmbeddedBatch["vectors"]> => {
    try {
      const flat = await run(packTexts(texts, front), pooling).catch(rethrow);
      const width = flat.length / texts.length;
      return texts.map((_, at) => flat.slice(at * width, (at + 1) * width));
    } catch (error) {
      if (!(error instanceof StillroomError && error.code === "input")) throw error;
      if (texts.length === 1) return [error.message];
      const alone: EmbeddedBatch["vectors"] = [];
      for (const text of texts) alone.push(...(await vectorsOf([text])));
      return alone;
    }
  };
  try {
    for (let at = 0; at < rows.length; ) {
      throwIfCancelled(signal, `embedding, after ${at} texts`);
      let [end, used] = [at + 1, rows[at]!.length];
      for (; end < rows.length && used + rows[end]!.length <= batchTokens; end++) used += rows[end]!.length;
      yield { from: at, vectors: await vectorsOf(rows.slice(at, end)) };
      at = end;
    }
  } finally {
    await close();
  }
}

type Run = (batch: NativeBatch, pooling: Pooling) => Promise<Float32Array>;

/** Our engine where it takes the model; else llama.cpp. */
async function embedder(
  model: Model,
  lora: NativeLora | null,
  adapter: string | undefined,
  longest: number,
): Promise<{ run: Run; close: () => Promise<void> }> {
  if (model.tunable)
    return { run: (batch, pooling) => model.native.embed(batch, lora, pooling), close: async () => undefined };
  if (adapter !== undefined && !(existsSync(adapter) && statSync(adapter).isFile()))
    throw new StillroomError(
      "input",
      `${model.info.path} is run by llama.cpp: expected a GGUF LoRA for adapter, received ${adapter}`,
    );
  const options = { threads: model.threads, adapter: adapter ?? null, contextTokens: longest, sequences: 1 };
  const runner = await native().openRunner(model.info.path, options).catch(rethrow);
  return { run: (batch, pooling) => runner.embed(batch, pooling), close: () => runner.close() };
}
