// The options of a batch: their names, defaults and limits.

import type { SplitName } from "../dataset/index.js";
import { requireOnePrompt } from "../evaluate/index.js";
import type { DownloadProgress, Model } from "../model/index.js";
import type { OpenStoreOptions } from "../store/index.js";
import { unexpected } from "../support/errors.js";
import type { NativePrecision } from "../support/native.js";
import { requireKnown, requirePath, requireWhole } from "../task/index.js";

/** How a batch is worked on. */
export interface BatchOptions extends Pick<OpenStoreOptions, "namespace" | "maxBytes" | "lifetime" | "normalise"> {
  /** The folder of the store that keeps the answers; begun where there is none. */
  store: string;
  /** The file of answers, one line a row. */
  out: string;
  /** The file of rows that failed, written where there are any (default: out with ".errors.jsonl" behind it). */
  errors?: string | undefined;
  /** Path, hf: URI or an open model (which stays open); default: the model in the box. */
  model?: string | Model | undefined;
  /** A RUN folder, a PEFT folder or a GGUF LoRA. */
  adapter?: string | undefined;
  /** Of a task: which rows (default "test"). */
  split?: SplitName | undefined;
  /** Of a task: answered training rows before each prompt (default 0). */
  shots?: number | undefined;
  /** Of a task: a prompt file, in place of its own prompt and of shots. */
  prompt?: string | undefined;
  /** Of the choice of examples (default 0). */
  seed?: number | undefined;
  /** Lines as in the input, or as they are finished (default "input"). */
  order?: "input" | "finished" | undefined;
  /** Stop after so many rows, seconds or tokens of work; what the store knows costs none. */
  maxRows?: number | undefined;
  maxTime?: number | undefined;
  maxTokens?: number | undefined;
  /** Further tries of a row that failed, alone, before it is an error row (default 2). */
  retries?: number | undefined;
  /** Rows that are looked at together, for their order of work (default 2048). */
  window?: number | undefined;
  /** The model whose vectors let `lookup` find the answers by similarity, which was fitted for it in this store: path, hf: URI or an open model (default: none). */
  similar?: string | Model | undefined;
  threads?: number | undefined;
  precision?: NativePrecision | undefined;
  onDownload?: ((progress: DownloadProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

const names = [
  ..."store out errors model adapter split shots prompt seed order maxRows maxTime maxTokens retries window similar threads precision".split(
    " ",
  ),
  ..."namespace maxBytes lifetime normalise onDownload signal".split(" "),
];

/** Throws "usage" for a wrong option. */
export function checkBatchOptions(options: BatchOptions): void {
  requireKnown(options, names, "batch");
  for (const name of ["store", "out"] as const) requirePath(name, options[name]);
  if (options.order !== undefined && !["input", "finished"].includes(options.order))
    throw unexpected("input or finished", "order", options.order);
  if (options.split !== undefined && !["train", "validation", "test"].includes(options.split))
    throw unexpected("train, validation or test", "split", options.split);
  for (const name of ["maxRows", "maxTokens", "window"] as const) requireWhole(name, options[name], 1);
  for (const name of ["shots", "seed", "retries"] as const) requireWhole(name, options[name], 0);
  requireOnePrompt(options);
  if (options.maxTime !== undefined && !(Number.isFinite(options.maxTime) && options.maxTime > 0))
    throw unexpected("a number of seconds above 0", "maxTime", options.maxTime);
}
