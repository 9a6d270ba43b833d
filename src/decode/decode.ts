// The loop over steps: feeds requests in, hands finished rows out, and calls off what is called off. Knows no sampling and no memory.
import { performance } from "node:perf_hooks";
import { Model, openModel } from "../model/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import { type NativeDecodeRequest, type NativeDecoder, rethrow } from "../support/native.js";
import { requireKnown } from "../task/index.js";
import { requireCallback, requireIterable, requireObject, requireSignal } from "./check.js";
import { Feed } from "./feed.js";
import { type BatchOptions, type DecodeOptions, openBatch, sequencesOf } from "./open.js";
import { type DecodedRow, type DecodeRequest, nativeRequest, refusedRow, rowOf } from "./request.js";

/**
 * Answers many prompts side by side: requests join as soon as their memory is free, what prompts have in common at their
 * beginning is computed once, and each row comes out when it is finished. An answer does not depend on what runs beside it.
 *
 * @param model - path, hf: URI or an open model (which stays open); undefined: the model in the box
 * @param requests - taken as there is room for them, so that they may be many, or come over time
 * @returns the finished rows, in the order in which they finish; leaving the loop calls off the rest
 * @throws StillroomError "usage" for a wrong request or option, "missing" for a model, adapter or GPU that is not there, "input" for one
 * that does not fit, "cancelled" on abort. A request that can never fit is a row with `ended: "refused"`; a
 * wrong one ends the call with an error that names its index, from 0.
 *
 * @example
 * ```ts
 * import { decode } from "stillroom";
 * const requests = ["Plum:", "Cherry:"].map((prompt) => ({ prompt, maxTokens: 20, stop: ["\n"] }));
 * for await (const { index, text } of decode("SmolLM2-135M-Instruct.Q4_1.gguf", requests)) console.log(index, text);
 * ```
 */
export async function* decode(
  model: string | Model | undefined,
  requests: Iterable<DecodeRequest> | AsyncIterable<DecodeRequest>,
  options: DecodeOptions = {},
): AsyncGenerator<DecodedRow, void, void> {
  requireWork(requests, options);
  const open = model instanceof Model ? model : await openModel(model, options);
  try {
    yield* decodeRows(open, requests, options);
  } finally {
    if (open !== model) await open.close();
  }
}

/** decode() on an open model, with an adapter that may be open too. */
export async function* decodeRows(
  model: Model,
  requests: Iterable<DecodeRequest> | AsyncIterable<DecodeRequest>,
  options: BatchOptions & Pick<DecodeOptions, "onProgress" | "signal"> = {},
): AsyncGenerator<DecodedRow, void, void> {
  requireWork(requests, options);
  throwIfCancelled(options.signal, "decoding");
  const started = performance.now();
  const decoder = await openBatch(model, options);
  const batch = new Batch(model, decoder, options.wrong ?? "throw");
  const feed = new Feed(requests);
  const done = { rows: 0, promptTokens: 0, answerTokens: 0 };
  const lookahead = sequencesOf(options);
  let [running, waiting] = [0, 0];
  try {
    for (;;) {
      for (; waiting < lookahead; waiting++) {
        const request = await feed.next(running + waiting === 0);
        if (request === undefined) break;
        const refused = batch.add(request);
        if (!refused) continue;
        waiting--;
        done.rows++;
        yield refused;
      }
      if (running + waiting === 0 && feed.ended) return;
      throwIfCancelled(options.signal, `decoding, after ${done.rows} rows`);
      const step = await decoder.step().catch(rethrow);
      ({ running, waiting } = step);
      done.rows += step.finished.length;
      done.promptTokens += step.promptTokens;
      done.answerTokens += step.answerTokens;
      options.onProgress?.({ ...done, running, waiting, seconds: (performance.now() - started) / 1000 });
      for (const { id, text } of step.pieces) batch.tell(id, text);
      for (const finished of step.finished) yield batch.take(finished);
    }
  } finally {
    batch.leave();
    feed.close();
    await decoder.close();
  }
}

/** Throws "usage" for what is wrong with a call before there is a model. */
function requireWork(requests: unknown, options: BatchOptions & DecodeOptions): void {
  requireIterable(requests);
  requireObject(options, "an object", "options");
  requireKnown(options, knownOptions, "decode");
  for (const name of ["onProgress", "onDownload"] as const) requireCallback(name, options[name]);
  requireSignal(options.signal);
}

const knownOptions = [
  ...["adapter", "lora", "longest", "memory", "sequences", "gpuLayers", "threads", "precision", "wrong"],
  ...["onProgress", "onDownload", "signal"],
];

/** The error with the request that it is about: a batch of many is no use to search. */
function ofRequest(index: number, error: unknown): StillroomError {
  try {
    return rethrow(error);
  } catch (known) {
    const { code, message, options } = known as StillroomError;
    return new StillroomError(code, `request ${index}: ${message}`, { cause: error, options });
  }
}

interface Alive {
  index: number;
  request: NativeDecodeRequest;
  onText: ((piece: string) => void) | undefined;
  /** Of its text, what was told. */
  told: number;
  leave: () => void;
}

/** The requests that are under way. */
class Batch {
  #next = 0;
  #alive = new Map<number, Alive>();

  constructor(
    readonly model: Model,
    readonly decoder: NativeDecoder,
    readonly wrong: "throw" | "refuse",
  ) {}

  /** The row of a request that can never run. */
  add(given: DecodeRequest): DecodedRow | null {
    const index = this.#next++;
    try {
      const request = nativeRequest(given, this.model.tokenizer);
      const refused = this.decoder.refuses(request.prompt.length, request.maxTokens);
      if (refused !== null) return refusedRow(index, request.prompt.length, refused);
      const id = this.decoder.add(request);
      const cancel = () => void this.decoder.cancel(id);
      given.signal?.addEventListener("abort", cancel);
      if (given.signal?.aborted) cancel();
      const leave = () => given.signal?.removeEventListener("abort", cancel);
      this.#alive.set(id, { index, request, onText: given.onText, told: 0, leave });
      return null;
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      if (this.wrong === "refuse" && (code === "usage" || code === "input")) return refusedRow(index, 0, message);
      throw ofRequest(index, error);
    }
  }

  tell(id: number, text: string): void {
    const alive = this.#alive.get(id)!;
    alive.told += text.length;
    alive.onText!(text);
  }

  take(finished: Parameters<typeof rowOf>[2]): DecodedRow {
    const { index, request, onText, told, leave } = this.#alive.get(finished.id)!;
    this.#alive.delete(finished.id);
    leave();
    if (finished.text.length > told) onText?.(finished.text.slice(told));
    return rowOf(index, request, finished);
  }

  leave(): void {
    for (const { leave } of this.#alive.values()) leave();
  }
}
