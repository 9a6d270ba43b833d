// The options of an export: their names, defaults and limits. Opens nothing.
import { stat } from "node:fs/promises";
import type { BadRow } from "../dataset/index.js";
import { type GivenPrompt, readPrompt } from "../evaluate/index.js";
import type { DownloadProgress, Model } from "../model/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { native } from "../support/native.js";
import { nearestName, requireKnown, requirePath, requireWhole, type Task } from "../task/index.js";

/** What each step of an export may lose on the held-out rows. */
export interface GateBounds {
  /** Mean KL(run-time adapter || merged) in nats a position (default 0.001: rounding alone). */
  adapterMergedKl?: number | undefined;
  /** Mean KL(merged || quantised) in nats a position (default 0.1); null: none. */
  mergedQuantizedKl?: number | null | undefined;
  /** Drop of the task's metric in one step (default 0.02), where it is also no chance; of mae and rmse in standard deviations of the answers. */
  metricDrop?: number | undefined;
}

/** What a progress of an export tells: how much of one phase is done. */
export interface ExportProgress {
  phase: "merge" | "importance" | "measure" | "quantize" | "check";
  /** From 0 to 1. */
  done: number;
}

/** What is exported, and how. */
export interface ExportOptions {
  /** Path, hf: URI or an open model (which stays open); default: the model in the box. */
  model?: string | Model | undefined;
  /** A RUN folder, a PEFT folder or a GGUF LoRA; without one the model is only quantised. */
  adapter?: string | undefined;
  /** An adapter that the quantised model is to be run under, with its head where it has one: the gate measures under it, and it is not merged. */
  under?: string | undefined;
  /** One of llama.cpp's types (default "Q4_K_M"). */
  quantize?: string | undefined;
  /**
   * In place of quantize: most bytes of the file. Every matrix gets a type of its own, chosen by what it was measured to do to the model's answers to
   * validation rows of imatrix, or of check where that is not given; to training rows where the task has no validation rows.
   */
  size?: number | undefined;
  /** The GGUF to write. Appears whole, after the gate, or not at all. */
  out: string;
  /** A task whose training rows give the quantiser its importance matrix. */
  imatrix?: Task | undefined;
  /** A task whose held-out rows (validation if it has them, else test) are the gate. */
  check?: Task | undefined;
  /** A prompt file of `prompt`, in place of the prompts of imatrix and check: what answers behind examples is measured behind them. */
  prompt?: string | undefined;
  /** Most rows of the gate, of the importance matrix, and of what size measures, which are drawn by the seed (default 200). */
  limit?: number | undefined;
  bounds?: GateBounds | undefined;
  /** Where to keep the merged model in f32, before quantisation. */
  keepMerged?: string | undefined;
  /** Of the intervals, and of the rows that size measures (default 0). */
  seed?: number | undefined;
  /** Throw at the first bad row instead of leaving it out (default false). */
  strict?: boolean | undefined;
  /** Threads (default: physical cores). */
  threads?: number | undefined;
  onProgress?: ((progress: ExportProgress) => void) | undefined;
  onDownload?: ((progress: DownloadProgress) => void) | undefined;
  /** Called once for every bad row. */
  onBad?: ((bad: BadRow) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** {@link ExportOptions} with the defaults filled in. */
export interface ExportSettings extends Omit<ExportOptions, "prompt"> {
  /** The prompt file; the tasks have its texts. */
  prompt: GivenPrompt;
  quantize: string;
  limit: number;
  seed: number;
  bounds: { adapterMergedKl: number; mergedQuantizedKl: number | null; metricDrop: number };
}

const optionNames = [
  ..."model adapter under quantize size out imatrix check prompt limit bounds keepMerged seed strict threads".split(
    " ",
  ),
  ..."onProgress onDownload onBad signal".split(" "),
];

/** Checks every option. Throws "usage". */
export async function exportSettings(options: ExportOptions): Promise<ExportSettings> {
  requireKnown(options, optionNames, "exportModel");
  requireWhole("limit", options.limit, 1);
  requireWhole("seed", options.seed, 0);
  requireWhole("size", options.size, 1);
  if (options.size !== undefined) requireMeasurable(options);
  if (options.under !== undefined) requireGated(options);
  else if (options.check?.kind === "multilabel") {
    const why = `${options.check.name} is of kind multilabel, whose sets a head gives, and a GGUF holds none`;
    const message = `expected a task that is answered in words for check: ${why}; under takes the run of the head`;
    throw new StillroomError("usage", message, { options: ["check", "under"] });
  }
  const { adapterMergedKl = 1e-3, mergedQuantizedKl = 0.1, metricDrop = 0.02, ...others } = options.bounds ?? {};
  const bounds = { adapterMergedKl, mergedQuantizedKl, metricDrop };
  requireKnown(others, Object.keys(bounds), "bounds");
  for (const [name, value] of Object.entries(bounds)) {
    if (name === "mergedQuantizedKl" && value === null) continue;
    if (typeof value !== "number" || !(value >= 0)) throw unexpected("a number of at least 0", `bounds.${name}`, value);
  }
  if (options.adapter === undefined) requireUnmerged(options);
  for (const name of ["out", "keepMerged"] as const) await requireFile(name, options[name]);
  const quantize = requireType(options.quantize ?? "Q4_K_M", "quantize");
  const asked = await promptedTasks(options);
  return { ...options, ...asked, quantize, bounds, limit: options.limit ?? 200, seed: options.seed ?? 0 };
}

/** The tasks with the texts of the prompt file, and that file. Throws "usage" where there is no task, and what readPrompt throws. */
async function promptedTasks({ prompt: file, imatrix, check }: ExportOptions) {
  if (file === undefined) return { prompt: undefined };
  const [first, second] = [imatrix && (await readPrompt(imatrix, file)), check && (await readPrompt(check, file))];
  const { prompt } = first ?? second ?? {};
  if (prompt) return { prompt, imatrix: first?.task, check: second?.task };
  const options = ["prompt", "imatrix", "check"];
  throw new StillroomError("usage", "prompt is how the tasks of imatrix and check are asked: give one of them", {
    options,
  });
}

/** What stays beside the file is known to the gate alone. */
function requireGated({ adapter, size, check }: ExportOptions): void {
  const refuse = (message: string, ...options: string[]) =>
    new StillroomError("usage", message, { options: ["under", ...options] });
  if (adapter !== undefined) throw refuse("adapter is merged and under is not: give one of them", "adapter");
  if (size !== undefined) throw refuse("size measures a model without under: give quantize", "size", "quantize");
  if (!check) throw refuse("under needs check, whose rows are answered with it: give one", "check");
}

/** Of an export that merges nothing. */
function requireUnmerged({ keepMerged, bounds }: Pick<ExportOptions, "keepMerged" | "bounds">): void {
  const refuse = (option: string, why: string) =>
    new StillroomError("usage", `${option} ${why}, and without adapter nothing is merged: leave it out`, {
      options: [option, "adapter"],
    });
  if (keepMerged !== undefined) throw refuse("keepMerged", "keeps what merging makes");
  if (bounds?.adapterMergedKl !== undefined) throw refuse("bounds.adapterMergedKl", "bounds what merging moves");
}

function requireMeasurable({ quantize, imatrix, check }: ExportOptions): void {
  const refuse = (message: string) =>
    new StillroomError("usage", message, { options: ["size", "quantize", "imatrix", "check"] });
  if (quantize !== undefined) throw refuse("size chooses the types itself: leave out quantize");
  if (!imatrix && !check) throw refuse("size needs a task on whose rows it can measure: give imatrix or check");
}

async function requireFile(name: "out" | "keepMerged", file: string | undefined): Promise<void> {
  if (file === undefined && name === "keepMerged") return;
  requirePath(name, file);
  const found = await stat(file).catch(() => null);
  if (found && !found.isFile()) throw unexpected("the path of a file", name, file);
}

/** A type that the quantiser takes, as it spells it. Throws "usage", by the option's name. */
export function requireType(type: string, option: string): string {
  const types = native().quantizationTypes;
  const known = types.find((name) => name.toLowerCase() === String(type).toLowerCase());
  if (known) return known;
  const near = nearestName(String(type), types);
  const hint = near ? `; did you mean ${near}?` : `; it takes ${types.join(", ")}`;
  const { message, options } = unexpected("a quantisation type", option, type);
  throw new StillroomError("usage", `${message}${hint}`, { options });
}
