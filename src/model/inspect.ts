// What a GGUF is, from its header alone. Opens no model.
import { native, rethrow } from "../support/native.js";
import type { DownloadOptions } from "./download.js";
import { resolveModel } from "./resolve.js";

/** The facts of a GGUF's header, in the fields of `stillroom inspect --json`. */
export interface Inspection {
  /** Absolute path. */
  model: string;
  bytes: number;
  architecture: string;
  name: string | null;
  /** Number of weights. */
  parameters: number;
  layers: number;
  /** Values of a hidden state. */
  width: number;
  feed_forward: number;
  heads: number;
  key_value_heads: number;
  head_width: number;
  /** Tokens. */
  context_length: number;
  /** Tokens in the vocabulary. */
  vocabulary: number;
  tied_embeddings: boolean;
  /** Number of tensors of each weight type. */
  types: Record<string, number>;
  /** The Jinja template of a chat, if the file has one. */
  chat_template: string | null;
  /** Whether `tune` and `export` take it. */
  tunable: boolean;
  /** Why it is not tunable. */
  reason: string | null;
}

/**
 * Reads and checks the header of a GGUF.
 *
 * @param model - a path, or an hf: URI that is downloaded once; default: the model in the box
 * @throws StillroomError "missing" without a file, "input" for one that is no GGUF, "cancelled" on abort
 *
 * @example
 * ```ts
 * import { inspect } from "stillroom";
 * const { architecture, tunable, reason } = await inspect("SmolLM2-135M-Instruct.Q4_1.gguf");
 * console.log(architecture, tunable ? "can be tuned" : reason);
 * ```
 */
export async function inspect(model?: string, options: DownloadOptions = {}): Promise<Inspection> {
  const file = await resolveModel(model, options);
  const info = await native().inspect(file).catch(rethrow);
  return {
    model: file,
    bytes: info.fileBytes,
    architecture: info.architecture,
    name: info.name,
    parameters: info.parameters,
    layers: info.layers,
    width: info.width,
    feed_forward: info.feedForward,
    heads: info.heads,
    key_value_heads: info.keyValueHeads,
    head_width: info.headWidth,
    context_length: info.contextLength,
    vocabulary: info.vocabulary,
    tied_embeddings: info.tiedEmbeddings,
    types: info.types,
    chat_template: info.chatTemplate,
    tunable: info.tunable,
    reason: info.reason,
  };
}
