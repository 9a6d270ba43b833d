// Which decoder works for a model: our engine's, or llama.cpp's for other architectures and for layers on a GPU. Owns the adapter's
// temporary file; knows no request.
import { existsSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { loadAdapter, requireNoHead } from "../adapter/index.js";
import type { DownloadProgress, Model } from "../model/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { type NativeDecoder, type NativeLora, type NativePrecision, native, rethrow } from "../support/native.js";
import { gpuBackends } from "./gpu.js";

/** How requests are worked on. */
export interface DecodeOptions {
  /** A RUN folder, a PEFT folder or a GGUF LoRA; for a model that only llama.cpp opens, a GGUF LoRA. */
  adapter?: string | undefined;
  /** Most bytes of keys and values; requests wait for it (default: 1 GiB). With llama.cpp it is taken at once. */
  memory?: number | undefined;
  /** Most requests that run side by side, 1 to 4096, with llama.cpp 256 (default 64). */
  sequences?: number | undefined;
  /** Layers that llama.cpp computes on a GPU, from the last (default 0: all on our engine where it takes the model). */
  gpuLayers?: number | undefined;
  /** As of openModel, where the model is not open yet. */
  threads?: number | undefined;
  /** Of our engine's products, with weights under training as well (default: as the model was opened, else f32). */
  precision?: NativePrecision | undefined;
  onProgress?: ((progress: DecodeProgress) => void) | undefined;
  onDownload?: ((progress: DownloadProgress) => void) | undefined;
  /** Calls everything off. */
  signal?: AbortSignal | undefined;
}

/** After each step. */
export interface DecodeProgress {
  /** Done. */
  rows: number;
  running: number;
  /** Taken from the requests, but not running yet. */
  waiting: number;
  /** Tokens of prompts that were computed, and tokens of answers, so far. */
  promptTokens: number;
  answerTokens: number;
  seconds: number;
}

/** What a batch is opened with, beside the model. */
export interface BatchOptions
  extends Pick<DecodeOptions, "adapter" | "memory" | "sequences" | "gpuLayers" | "precision"> {
  /** An adapter that is loaded already, instead of a place. */
  lora?: NativeLora | null | undefined;
  /** Whether a wrong request ends the work, or becomes a row that was refused (default "throw"). */
  wrong?: "throw" | "refuse" | undefined;
  /** Tokens of the longest request with its answer, where that is known: llama.cpp's memory is taken by it. */
  longest?: number | undefined;
}

/** Most tokens of prompts in a step: more would make running answers wait. A GPU is sooner done with them, and slow with few. */
const stepTokens = { cpu: 512, gpu: 1024 };

export const sequencesOf = ({ sequences = 64 }: Pick<DecodeOptions, "sequences">): number => sequences;

/** A decoder on an open model. Throws "usage" for wrong options, "missing" without the GPU asked for, "input" for an adapter that does not fit. */
export async function openBatch(model: Model, options: BatchOptions = {}): Promise<NativeDecoder> {
  const gpuLayers = whole("gpuLayers", options.gpuLayers ?? 0, 0, 2 ** 31 - 1);
  const limits = {
    memory: whole("memory", options.memory ?? 2 ** 30, 1, Number.MAX_SAFE_INTEGER),
    sequences: whole("sequences", sequencesOf(options), 1, 4096),
    stepTokens: gpuLayers > 0 ? stepTokens.gpu : stepTokens.cpu,
  };
  const backends = gpuLayers > 0 ? gpuBackends() : [];
  const lora = options.lora ?? (await adapterOf(model, options.adapter));
  requireNoHead(lora, "answers in no words: it is for eval, and for batch over its task");
  if (model.tunable && gpuLayers === 0) {
    const asked = { ...limits, precision: options.precision ?? null };
    return model.native.createDecoder(lora, model.tokenizer, asked).catch(rethrow);
  }
  const folder = await mkdtemp(path.join(os.tmpdir(), "stillroom-"));
  try {
    const adapter = lora ? await writeLora(model, lora, folder) : (options.adapter ?? null);
    const memory = Math.min(limits.memory, cacheBytes(model, limits.sequences, options.longest));
    const llama = { threads: model.threads, adapter, gpuLayers, backends, exact: false };
    return await native().openDecoder(model.info.path, model.tokenizer, { ...limits, memory, ...llama });
  } catch (error) {
    return rethrow(error);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The adapter in memory; null without one, and where only llama.cpp can read it. */
async function adapterOf(model: Model, adapter: string | undefined): Promise<NativeLora | null> {
  if (adapter === undefined) return null;
  if (model.tunable) return loadAdapter(model.native, adapter);
  if (existsSync(adapter) && statSync(adapter).isFile()) return null;
  throw new StillroomError(
    "input",
    `${model.info.path} is run by llama.cpp: expected a GGUF LoRA for adapter, received ${adapter}`,
  );
}

/** llama.cpp scales by alpha / rank: an rsLoRA adapter's alpha is written so that this is alpha / sqrt(rank). */
async function writeLora(model: Model, lora: NativeLora, folder: string): Promise<string> {
  const file = path.join(folder, "adapter.gguf");
  const { alpha, rank, rsLora } = lora.options;
  await native().writeAdapter(file, lora.tensors(), {
    architecture: model.info.architecture,
    alpha: rsLora ? alpha * Math.sqrt(rank) : alpha,
    name: path.basename(model.info.path, ".gguf"),
  });
  return file;
}

/** Keys and values in f16 of as many of the longest sequences, in pages of 32 tokens. */
function cacheBytes({ info }: Model, sequences: number, longest = info.contextLength): number {
  const { layers, keyValueHeads, width, heads } = info;
  return sequences * Math.ceil(longest / 32) * 32 * 4 * layers * keyValueHeads * Math.ceil(width / heads);
}

function whole(name: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw unexpected(`a whole number from ${least} to ${most}`, name, value);
}
