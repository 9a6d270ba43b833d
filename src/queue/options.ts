// The options of a batch through a queue and of a worker: their names, defaults and limits.
import type { BatchOptions, BatchProgress } from "../batch/index.js";
import { requireOnePrompt } from "../evaluate/index.js";
import type { DownloadProgress, Model } from "../model/index.js";
import { unexpected } from "../support/errors.js";
import type { NativePrecision } from "../support/native.js";
import { requireKnown, requirePath, requireWhole } from "../task/index.js";

/** Where the queue is, and what is said of it on the way. */
export interface QueuePlace {
  /** postgres://user@host:5432/database, with pg's parameters, such as sslmode. */
  queue: string;
  /** Seconds for which a PostgreSQL that went away is tried again (default 300). */
  patience?: number | undefined;
  onWarning?: ((message: string) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** How a batch goes through a queue. */
export interface QueueBatchOptions
  extends QueuePlace,
    Pick<
      BatchOptions,
      "out" | "errors" | "model" | "adapter" | "split" | "shots" | "prompt" | "seed" | "threads" | "precision"
    >,
    Pick<BatchOptions, "namespace" | "maxBytes" | "lifetime" | "normalise" | "onDownload"> {
  /** A store of this machine: what it knows is not asked of the queue, and it gets the answers, with the texts that ask for them (default: none). */
  store?: string | undefined;
  /** Requests that a worker takes at a time (default 64). */
  chunk?: number | undefined;
  /** Seconds after which a chunk that was not brought back is handed to another (default 120). */
  lease?: number | undefined;
  onProgress?: ((progress: BatchProgress) => void) | undefined;
  /** Called for every row that failed. */
  onBad?: ((bad: { file: string; line: number; reason: string }) => void) | undefined;
}

/** How far a worker is. */
export interface WorkerProgress {
  rows: number;
  computed: number;
  fromStore: number;
  errors: number;
  tokens: number;
  seconds: number;
}

/** How a worker works. */
export interface WorkerOptions extends QueuePlace {
  /** Path, hf: URI or an open model (which stays open); default: the model in the box. */
  model?: string | Model | undefined;
  /** A RUN folder, a PEFT folder or a GGUF LoRA. */
  adapter?: string | undefined;
  /** The folder of this worker's own store, its first level. */
  store: string;
  /** Largest size of that store (default: none). */
  maxBytes?: number | undefined;
  precision?: NativePrecision | undefined;
  threads?: number | undefined;
  /** End when nothing waits, instead of waiting for more (default false). */
  drain?: boolean | undefined;
  onProgress?: ((progress: WorkerProgress) => void) | undefined;
  onDownload?: ((progress: DownloadProgress) => void) | undefined;
}

export const usualPatience = 300;
export const usualChunk = 64;
export const usualLease = 120;

const placeNames = ["queue", "patience", "onWarning", "signal"];
const batchNames =
  "out errors model adapter split shots prompt seed threads precision namespace maxBytes lifetime normalise onDownload store chunk lease onProgress onBad";
const workerNames = "model adapter store maxBytes precision threads drain onProgress onDownload";

/** Throws "usage" for a wrong option. */
export function checkQueueBatchOptions(options: QueueBatchOptions): void {
  requireKnown(options, [...placeNames, ...batchNames.split(" ")], "queueBatch");
  requirePath("out", options.out);
  if (options.store !== undefined) requirePath("store", options.store);
  requireOnePrompt(options);
  requireWhole("chunk", options.chunk, 1);
  requireWhole("lease", options.lease, 1);
  requirePatience(options);
}

/** Throws "usage" for a wrong option. */
export function checkWorkerOptions(options: WorkerOptions): void {
  requireKnown(options, [...placeNames, ...workerNames.split(" ")], "work");
  requirePath("store", options.store);
  requirePatience(options);
}

export function requirePatience({ patience }: QueuePlace): void {
  if (patience !== undefined && !(Number.isFinite(patience) && patience >= 0))
    throw unexpected("a number of seconds", "patience", patience);
}
