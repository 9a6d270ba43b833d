// A batch from its options to its result: what is opened for it, and closed behind it. The work itself is in work.ts.
import { stat } from "node:fs/promises";
import { performance } from "node:perf_hooks";
import { adapterFiles } from "../adapter/index.js";
import { Model, openModel } from "../model/index.js";
import { openStore, type Store } from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import { cannotRead, requireWritable } from "../support/files.js";
import { requireNoInput } from "../support/inputs.js";
import { rethrow } from "../support/native.js";
import { type Task, taskFiles } from "../task/index.js";
import { type Engine, openEngine } from "./engine.js";
import { openRequests } from "./openai-input.js";
import { type BatchOptions, checkBatchOptions } from "./options.js";
import { errorsOf } from "./output.js";
import { ProgressFile, progressFile } from "./progress-file.js";
import type { BatchCalls, BatchProgress, BatchResult } from "./result.js";
import { Similar } from "./similar.js";
import { openTaskInput } from "./task-input.js";
import { Work } from "./work.js";

/**
 * Answers all rows of a task's split, or of a file of requests in OpenAI's batch format, and keeps the answers in a store, where `lookup` finds them. A batch that
 * was cut off, however it ended, is begun again and does the rest; its file is then that of a batch that was never cut off.
 *
 * @param input - a task, or the path of a JSONL file of requests
 * @throws StillroomError "usage" for a wrong option, and at once where another process writes to the store; "missing" or "input" for the model, the adapter and
 * the input; "io" for the disk; "cancelled" on abort; "internal" where 64 rows fail one behind the other: what was done is kept. A row that fails is tried again
 * (see `retries`), then it is an error row with its reason, and the others go on.
 *
 * @example
 * ```ts
 * import { batch, readTask } from "stillroom";
 * const task = await readTask("sst2/task.yaml");
 * const { rows, computed, from_store } = await batch(task, { model: "model.gguf", store: "answers", out: "answers.jsonl" });
 * console.log(rows, computed, from_store);
 * ```
 */
export async function batch(input: Task | string, options: BatchOptions & BatchCalls): Promise<BatchResult> {
  const { onProgress, onBad, onWarning, ...rest } = options;
  checkBatchOptions(rest);
  const began = performance.now();
  const { namespace, maxBytes, lifetime, normalise } = rest;
  await requireFiles(input, rest);
  // Before the model, so that a second start leaves at once.
  const store = await openStore(rest.store, { namespace, maxBytes, lifetime, normalise });
  try {
    let similar: Similar | null = null;
    const { model: given, threads, signal } = rest;
    const model = given instanceof Model ? given : await openModel(given, rest);
    try {
      await requireNoInputs(input, model, rest);
      similar = rest.similar === undefined ? null : await Similar.open(store, rest.similar, { threads, signal });
      const engine = await openEngine(model, rest.adapter, rest.precision ?? "f32");
      const rows =
        typeof input === "string"
          ? await openRequests(input, model, engine.maker.model, rest.signal)
          : await openTaskInput(input, engine, rest);
      const file = new ProgressFile(progressFile(store.folder));
      const told = (progress: BatchProgress) => {
        file.tell(progress);
        onProgress?.(progress);
      };
      const calls = { onProgress: told, onBad, onWarning };
      try {
        const result = await new Work(store, engine, rows, rest, calls, began, similar).run();
        file.end();
        return result;
      } finally {
        file.flush();
      }
    } finally {
      await similar?.close();
      if (model !== given) await model.close();
    }
  } catch (error) {
    await store.abandon();
    return rethrow(error);
  } finally {
    await store.close();
  }
}

/** A batch over a file of requests through what is open already; messages name the file as `shown`. */
export async function batchRequests(
  file: string,
  shown: string,
  store: Store,
  engine: Engine,
  options: Pick<BatchOptions, "out" | "errors" | "signal">,
  onProgress: (progress: BatchProgress) => void,
): Promise<BatchResult> {
  const rows = await openRequests(file, engine.model, engine.maker.model, options.signal, shown);
  const whole = { ...options, store: store.folder };
  return new Work(store, engine, rows, whole, { onProgress }, performance.now()).run();
}

/** The files that a batch's rows and their layout come from, once each. */
export function filesOf(input: Task | string, prompt: string | undefined): string[] {
  if (typeof input === "string") return [input];
  return [...new Set([...taskFiles(input).map(({ file }) => file), ...(prompt === undefined ? [] : [prompt])])];
}

/** Throws "missing", "usage" or "io" where a file that a batch reads is none, or its own cannot be written: before anything costs time or leaves a trace. */
export async function requireFiles(
  input: Task | string,
  { out, errors, prompt }: Pick<BatchOptions, "out" | "errors" | "prompt">,
): Promise<void> {
  for (const file of filesOf(input, prompt)) {
    const found = await stat(file).catch((error) => cannotRead(file, error));
    if (found.isFile()) continue;
    const what = found.isDirectory() ? "a folder" : "no plain file, and is read more than once";
    throw new StillroomError("usage", `cannot read ${file}: it is ${what}`);
  }
  for (const file of [out, errorsOf({ out, errors })]) await requireWritable(file);
}

/** Throws "usage" where a batch would write over what it reads. */
export async function requireNoInputs(
  input: Task | string,
  model: Model,
  options: Pick<BatchOptions, "out" | "errors" | "adapter" | "prompt">,
): Promise<void> {
  const inputs = [
    ...(typeof input === "string" ? [{ what: "the input of the batch", file: input }] : taskFiles(input)),
    { what: "the model that answers", file: model.info.path },
    ...(options.adapter === undefined ? [] : adapterFiles(options.adapter)),
    ...(options.prompt === undefined ? [] : [{ what: "the prompt file", file: options.prompt }]),
  ];
  await requireNoInput(options.out, inputs);
  await requireNoInput(errorsOf(options), [...inputs, { what: "the file of answers", file: options.out }]);
}
