// A model that is open: its facts, its tokenizer and our engine on one GGUF. Owns both handles; knows no task.
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError, unexpected } from "../support/errors.js";
import {
  type NativeModel,
  type NativeModelInfo,
  type NativePrecision,
  type NativeTokenizer,
  native,
  rethrow,
} from "../support/native.js";
import type { DownloadOptions } from "./download.js";
import { firstOpen } from "./first-open.js";
import { resolveModel } from "./resolve.js";

/** How a model is opened. */
export interface OpenModelOptions extends DownloadOptions {
  /** Threads of the native engine (default: physical cores). */
  threads?: number | undefined;
  /** Kernel variant of the native engine (default: the best that this machine runs). */
  variant?: string | undefined;
  /** What products with frozen weights multiply: "f32" exactly (default), or rounded to "bf16", "int16" or "int8", where the processor can. */
  precision?: NativePrecision | undefined;
}

/** What is said where our engine is needed for a model that only llama.cpp opens. */
export function notTunable({ path, reason }: Pick<NativeModelInfo, "path" | "reason">): StillroomError {
  return new StillroomError("input", `the native engine cannot open ${path}: ${reason}`);
}

/** An open GGUF. Close it when it is not needed any more; what was not closed goes with the process. */
export class Model {
  #engine: NativeModel | null;
  #tokenizer: NativeTokenizer;
  #closing: Promise<void> | null = null;

  /** @internal openModel makes models. */
  constructor(
    /** Facts from the file's header. */
    readonly info: NativeModelInfo,
    engine: NativeModel | null,
    tokenizer: NativeTokenizer,
    /** Threads that work on it. */
    readonly threads: number,
  ) {
    this.#engine = engine;
    this.#tokenizer = tokenizer;
  }

  /** Whether the native engine opens it, so that it can be tuned and exported; `info.reason` says why not. */
  get tunable(): boolean {
    return this.#engine !== null;
  }

  /** The native engine's model. Throws "input" where `tunable` is false, "usage" after close. */
  get native(): NativeModel {
    this.requireOpen();
    if (this.#engine) return this.#engine;
    throw notTunable(this.info);
  }

  /** The model's own tokenizer. Throws "usage" after close. */
  get tokenizer(): NativeTokenizer {
    this.requireOpen();
    return this.#tokenizer;
  }

  /** What the layout of prompts takes from the model: its chat template and the texts of its BOS and EOS tokens ("" without one). */
  get template(): { chatTemplate: string | null; bosToken: string; eosToken: string } {
    const { bos, eos } = this.tokenizer;
    const text = (token: number) => (token < 0 ? "" : this.tokenizer.detokenize(Int32Array.of(token), true));
    return { chatTemplate: this.info.chatTemplate, bosToken: text(bos), eosToken: text(eos) };
  }

  /** Waits for work in flight, then frees everything. Any further call gives the same promise. */
  close(): Promise<void> {
    this.#closing ??= Promise.all([this.#engine?.close(), this.#tokenizer.close()]).then(() => undefined);
    return this.#closing;
  }

  /** @internal Throws "usage" after close. */
  requireOpen(): void {
    if (this.#closing) throw new StillroomError("usage", `the model ${this.info.path} is closed`);
  }
}

/**
 * Opens a GGUF. A file that was not opened on this machine before is first opened in a child process (once a file), so that
 * a malformed one costs an error and not the process.
 *
 * @param model - a path, or an hf: URI that is downloaded once; default: the model in the box
 * @throws StillroomError "missing" without a file, "input" for one that is no GGUF or that llama.cpp cannot open, "usage" for
 * a wrong option, "cancelled" on abort
 *
 * @example
 * ```ts
 * import { openModel } from "stillroom";
 * const model = await openModel("SmolLM2-135M-Instruct.Q4_1.gguf", { threads: 2 });
 * console.log(model.info.architecture, model.tunable); // llama true
 * await model.close();
 * ```
 */
export async function openModel(model?: string, options: OpenModelOptions = {}): Promise<Model> {
  const threads = requireThreads(options.threads);
  if (options.variant !== undefined && !native().variants.includes(options.variant)) {
    throw unexpected(`one of ${native().variants.join(", ")}`, "variant", options.variant);
  }
  throwIfCancelled(options.signal, "opening a model");
  const file = await resolveModel(model, options);
  try {
    const info = await native().inspect(file);
    await firstOpen(file, options.signal);
    throwIfCancelled(options.signal, "opening a model");
    const tokenizer = await native().openTokenizer(file);
    try {
      const engine = info.tunable
        ? await native().openModel(file, {
            threads,
            variant: options.variant ?? null,
            precision: options.precision ?? "f32",
          })
        : null;
      return new Model(info, engine, tokenizer, threads);
    } catch (error) {
      await tokenizer.close();
      throw error;
    }
  } catch (error) {
    return rethrow(error);
  }
}

/** The number of threads that an option asks for; physical cores by default. */
export function requireThreads(threads: number | undefined): number {
  if (threads === undefined) return native().cores;
  if (!Number.isInteger(threads) || threads < 1 || threads > 512) {
    throw unexpected("a whole number from 1 to 512", "threads", threads);
  }
  return threads;
}
