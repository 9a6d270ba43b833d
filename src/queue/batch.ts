// A batch whose rows other processes answer: handed in, waited for, and written down. Computes nothing.
import { performance } from "node:perf_hooks";
import {
  type BatchResult,
  openEngine,
  openRequests,
  openTaskInput,
  requireFiles,
  requireNoInputs,
} from "../batch/index.js";
import type { Store } from "../store/index.js";
import { pause, throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import type { Task } from "../task/index.js";
import { collect } from "./collect.js";
import { checkQueueBatchOptions, type QueueBatchOptions } from "./options.js";
import type { Queue } from "./queue.js";
import { inSession } from "./session.js";
import { jobStatus } from "./status.js";
import { type Asked, identityOf, submit } from "./submit.js";

/** Milliseconds between looks at how far the job is. */
const longestPause = 2000;
/** Times that a job whose answers are not all there is begun anew. */
const rounds = 3;

/**
 * Answers all rows of a task's split, or of a file of requests, by workers anywhere (see work): hands the rows in, waits until all are done, and writes the
 * file that batch would write. Called off and begun again, or begun twice, it joins what is in the queue.
 *
 * @param input - a task, or the path of a JSONL file of requests
 * @throws StillroomError as batch does, and "missing" where no PostgreSQL answers
 *
 * @example
 * ```ts
 * import { queueBatch, readTask } from "stillroom";
 * const task = await readTask("sst2/task.yaml");
 * const queue = "postgres://me@database.local/answers";
 * const { rows, computed, from_store } = await queueBatch(task, { queue, model: "model.gguf", out: "answers.jsonl" });
 * console.log(rows, computed, from_store);
 * ```
 */
export async function queueBatch(input: Task | string, options: QueueBatchOptions): Promise<BatchResult> {
  checkQueueBatchOptions(options);
  const { signal, namespace, maxBytes, lifetime, normalise } = options;
  await requireFiles(input, options);
  const how = { store: { namespace, maxBytes, lifetime, normalise } };
  return inSession(options, how, async ({ queue, store, model }) => {
    await requireNoInputs(input, model, options);
    const engine = await openEngine(model, options.adapter, options.precision ?? "f32");
    const rows =
      typeof input === "string"
        ? await openRequests(input, model, engine.maker.model, signal)
        : await openTaskInput(input, engine, options);
    const { maker } = engine;
    const identity = await identityOf(input, engine, options);
    const name = typeof input === "string" ? input : input.name;
    const asked: Asked = { input: rows, maker, identity, name, queue: await queue.makeQueue(maker) };
    return answered(queue, asked, store, options);
  });
}

async function answered(
  queue: Queue,
  asked: Asked,
  store: Store | null,
  options: QueueBatchOptions,
): Promise<BatchResult> {
  const began = performance.now();
  for (let round = 0; round < rounds; round++) {
    const job = await submit(queue, asked, store, options, (rows) => {
      const seconds = (performance.now() - began) / 1000;
      const total = Math.max(rows, asked.input.total);
      options.onProgress?.({
        rows: 0,
        totalRows: total,
        computed: 0,
        fromStore: 0,
        errors: 0,
        tokens: 0,
        seconds,
        secondsLeft: 0,
      });
    });
    if (job === null) continue;
    await waitFor(queue, job, options, began);
    const status = (await jobStatus(queue.database, job))!;
    const collected = await collect(queue, job, asked, store, options);
    await queue.finish(job);
    if (collected === null) continue;
    const { lines, answered, errors, errorsFile } = collected;
    const seconds = (performance.now() - began) / 1000;
    return {
      rows: lines,
      computed: status.computed,
      // What was cut off at a lease's end may have been computed twice.
      from_store: Math.max(0, answered - status.computed),
      errors,
      out: options.out,
      errors_file: errorsFile,
      stopped: null,
      rows_per_second: lines / seconds,
      tokens_per_second: status.tokens / seconds,
      peak_memory_bytes: process.resourceUsage().maxRSS * 1024,
      seconds,
    };
  }
  throw new StillroomError(
    "internal",
    `answers of the queue at ${queue.database.place} went missing ${rounds} times; does another process remove them?`,
  );
}

/** Until no chunk of the job is left. */
async function waitFor(queue: Queue, job: number, options: QueueBatchOptions, began: number): Promise<void> {
  for (let wait = 50; ; wait = Math.min(2 * wait, longestPause)) {
    throwIfCancelled(options.signal, "waiting for workers; the job stays in the queue, and the same command goes on");
    const status = await jobStatus(queue.database, job);
    if (status === null)
      throw new StillroomError(
        "missing",
        `the job is gone from the queue at ${queue.database.place}; run the same command again`,
      );
    const { done, rows, computed, errors, tokens } = status;
    const seconds = (performance.now() - began) / 1000;
    const secondsLeft = done === 0 ? 0 : ((rows - done) * seconds) / done;
    const fromStore = Math.max(0, done - computed - errors);
    options.onProgress?.({ rows: done, totalRows: rows, computed, fromStore, errors, tokens, seconds, secondsLeft });
    if (status.state === "answered" || status.state === "done") return;
    await pause(wait, options.signal);
  }
}
