// From a file of requests to a file of answers, through a store: what is known is not computed, what is computed is kept before it counts as done. Holds a
// window of rows at a time.
import { performance } from "node:perf_hooks";
import { adapterFiles } from "../adapter/index.js";
import { Model, openModel } from "../model/index.js";
import { type Entry, type Found, keyText, openStore, requestKeys, type Store } from "../store/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import { requireNoInput } from "../support/inputs.js";
import { rethrow } from "../support/native.js";
import { type Task, taskFiles } from "../task/index.js";
import { type Engine, type Outcome, openEngine, type Requests } from "./engine.js";
import type { Input, Item } from "./item.js";
import { openRequests } from "./openai-input.js";
import { type BatchOptions, checkBatchOptions } from "./options.js";
import { errorsOf, Output } from "./output.js";
import { answering, usualRetries } from "./retry.js";
import { type Leading, Similar } from "./similar.js";
import { openTaskInput } from "./task-input.js";
import { frontOfFirst, frontRows, usualWindow, windowsOf } from "./windows.js";

/** How far a batch is. What it counts is on the disk. */
export interface BatchProgress {
  /** Done, of the rows of the input. */
  rows: number;
  totalRows: number;
  computed: number;
  fromStore: number;
  errors: number;
  tokens: number;
  seconds: number;
  /** At the speed so far. */
  secondsLeft: number;
}

/** The fields of `stillroom batch --json`. */
export interface BatchResult {
  /** Lines of `out`. */
  rows: number;
  /** Of these, answered by the model; equal requests count once, and of a list of texts to embed each text. */
  computed: number;
  /** Of these, known already, or equal to another of the batch. */
  from_store: number;
  /** Rows that failed. */
  errors: number;
  out: string;
  /** The file of the rows that failed; null where none did. */
  errors_file: string | null;
  /** Which limit ended the work before the end of the input; null where none did. */
  stopped: "max_rows" | "max_time" | "max_tokens" | null;
  rows_per_second: number;
  /** Tokens of the prompts that were computed, each as if it were alone, and of their answers, by second. */
  tokens_per_second: number;
  peak_memory_bytes: number;
  /** From the first row to the last; opening the model not counted. */
  seconds: number;
}

export interface BatchCalls {
  onProgress?: ((progress: BatchProgress) => void) | undefined;
  /** Called for every row that failed. */
  onBad?: ((bad: { file: string; line: number; reason: string }) => void) | undefined;
  /** Called for what failed and is tried again. */
  onWarning?: ((message: string) => void) | undefined;
}

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
  // First of all, so that a second start leaves at once.
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
      return await new Work(store, engine, rows, rest, { onProgress, onBad, onWarning }, began, similar).run();
    } finally {
      await similar?.close();
      if (model !== given) await model.close();
    }
  } catch (error) {
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

/** Answers that are written together, and how long they wait at most. */
const together = 256;
const longestWait = 250;

/** A request that the store does not know, and the rows that ask it. */
interface Missing {
  key: Uint8Array;
  request: Requests[number];
  items: Item[];
  /** Keys of what they are before their prompts are tokens. */
  laid: Uint8Array[];
}

const linesOf = (items: readonly Item[]): number => items.filter(({ part }) => !part).length;

class Work {
  readonly #counts = { rows: 0, computed: 0, fromStore: 0, tokens: 0 };
  readonly #started = performance.now();
  readonly #stop = new AbortController();
  /** Of the window, but of those that were written already. */
  readonly #outcomes = new Map<Item, Outcome>();
  readonly #keyOf: ReturnType<typeof requestKeys>;
  readonly #laidKeyOf: ReturnType<typeof requestKeys>;
  readonly #answer: ReturnType<typeof answering>;
  #stopped: BatchResult["stopped"] = null;
  #first: readonly Item[] | null = null;
  #front: Int32Array | null = null;
  #waiting: { entry: Entry; missing: Missing }[] = [];
  /** Of the window, where similarity counts. */
  #leading: Leading[] = [];
  #committed = performance.now();
  #told = 0;
  #output: Output | null = null;

  constructor(
    readonly store: Store,
    readonly engine: Engine,
    readonly input: Input,
    readonly options: BatchOptions,
    readonly calls: BatchCalls,
    readonly began: number,
    readonly similar: Similar | null = null,
  ) {
    this.#keyOf = requestKeys(engine.maker);
    this.#laidKeyOf = requestKeys({ ...engine.maker, engine: `${engine.maker.engine}, tokens by ${engine.tokens}` });
    this.#answer = answering(engine, options.retries ?? usualRetries, calls.onWarning);
  }

  async run(): Promise<BatchResult> {
    const { signal, maxTime, out, errors } = this.options;
    const cancel = () => this.#stop.abort();
    signal?.addEventListener("abort", cancel);
    const left = maxTime === undefined ? null : 1000 * maxTime - (performance.now() - this.began);
    const timer = left === null ? null : setTimeout(() => this.#end("max_time"), Math.max(1, left));
    try {
      throwIfCancelled(signal, "preparing a batch");
      this.#output = await Output.create({ out, errors, onBad: this.calls.onBad });
      for await (const items of windowsOf(this.input.items(), this.options.window ?? usualWindow)) {
        await this.#window(items);
        throwIfCancelled(
          signal,
          `answering, after ${this.#counts.rows} rows; what was done is kept in ${this.store.folder}`,
        );
        if (this.#stopped !== null) break;
      }
      return await this.#finish();
    } catch (error) {
      await this.#output?.discard();
      throw error;
    } finally {
      if (timer !== null) clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
    }
  }

  async #finish(): Promise<BatchResult> {
    const { computed, fromStore, tokens } = this.#counts;
    const { lines, errors } = this.#output!;
    const errors_file = await this.#output!.finish();
    this.#tell(true);
    const seconds = (performance.now() - this.#started) / 1000;
    return {
      rows: lines,
      computed,
      from_store: fromStore,
      errors,
      out: this.options.out,
      errors_file,
      stopped: this.#stopped,
      rows_per_second: lines / seconds,
      tokens_per_second: tokens / seconds,
      peak_memory_bytes: process.resourceUsage().maxRSS * 1024,
      seconds,
    };
  }

  #end(why: NonNullable<BatchResult["stopped"]>): void {
    this.#stopped ??= why;
    this.#stop.abort();
  }

  /** Looks rows up, answers those that are not known, and writes the lines of all. */
  async #window(items: readonly Item[]): Promise<void> {
    this.#first ??= items.slice(0, frontRows);
    this.#outcomes.clear();
    const missing = await this.#lookUp(items);
    const room = (this.options.maxRows ?? Number.POSITIVE_INFINITY) - this.#counts.computed;
    if (missing.length > room) this.#stopped = "max_rows";
    const now = missing.slice(0, room);
    if (now.length > 0) await this.#compute(now);
    await this.#keepSimilar();
    if (this.options.order !== "finished") for (const item of items) await this.#write(item, this.#outcomes.get(item));
    this.#tell(false);
  }

  async #compute(missing: readonly Missing[]): Promise<void> {
    this.#front ??= frontOfFirst(this.#first!);
    const requests = missing.map(({ request }) => request);
    const tell = (place: number, outcome: Outcome, tokens: number) => this.#done(missing[place]!, outcome, tokens);
    try {
      await this.#answer(requests, this.#front, tell, this.#stop.signal);
    } finally {
      await this.#commit();
    }
  }

  /** Lets texts lead to their answers by similarity. A batch that was cut off here does the rest when it is begun again. */
  async #keepSimilar(): Promise<void> {
    const leading = this.#leading;
    this.#leading = [];
    if (this.similar === null || this.#stop.signal.aborted) return;
    try {
      await this.similar.keep(leading, this.#stop.signal);
    } catch (error) {
      if (!(this.#stop.signal.aborted && error instanceof StillroomError && error.code === "cancelled")) throw error;
    }
  }

  /** What is known already, into the outcomes; and what is not, once each. */
  async #lookUp(items: readonly Item[]): Promise<Missing[]> {
    const missing = new Map<string, Missing>();
    const renamed: Entry[] = [];
    for (const item of items) {
      const laid = item.laid && this.#laidKeyOf(item.laid);
      const found = laid && this.store.laid(laid);
      if (found) {
        await this.#found(item, found, renamed);
        continue;
      }
      const request = item.request();
      if (typeof request === "string") {
        if (this.options.order === "finished") await this.#fail(item, request);
        else this.#outcomes.set(item, { reason: request });
        continue;
      }
      const key = this.#keyOf(request);
      const name = keyText(key);
      const other = missing.get(name);
      const known = other ? null : this.store.get(key);
      if (known) {
        await this.#found(item, { key, known }, renamed, laid);
        continue;
      }
      const asked = other ?? { key, request, items: [], laid: [] };
      missing.set(name, asked);
      asked.items.push(item);
      if (laid) asked.laid.push(laid);
    }
    if (renamed.length > 0) await this.store.put(renamed);
    return [...missing.values()];
  }

  /** Takes an answer that is kept; into renamed where not all leads to it that should. */
  async #found(
    item: Item,
    { key, known: { made_by: maker, ...answer } }: Found,
    renamed: Entry[],
    laid?: Uint8Array,
  ): Promise<void> {
    this.#counts.rows += linesOf([item]);
    this.#counts.fromStore++;
    const { texts } = item;
    if (this.similar) this.#leading.push(...texts.map((text) => ({ key, text })));
    if (laid || !this.store.leads(key, texts)) renamed.push({ key, answer, maker, texts, laid: laid ? [laid] : [] });
    if (this.options.order === "finished") await this.#write(item, answer);
    else this.#outcomes.set(item, answer);
    this.#tell(false);
  }

  async #done(missing: Missing, outcome: Outcome, tokens: number): Promise<void> {
    if ("reason" in outcome) {
      for (const item of missing.items) {
        if (this.options.order === "finished") await this.#fail(item, outcome.reason);
        else this.#outcomes.set(item, outcome);
      }
      return;
    }
    const texts = [...new Set(missing.items.flatMap((item) => item.texts))];
    const { key, laid } = missing;
    this.#waiting.push({ entry: { key, answer: outcome, maker: this.engine.maker, texts, laid }, missing });
    this.#counts.tokens += tokens;
    const { maxTokens = Number.POSITIVE_INFINITY } = this.options;
    if (this.#counts.tokens >= maxTokens) this.#end("max_tokens");
    if (this.#waiting.length >= together || performance.now() - this.#committed >= longestWait) await this.#commit();
  }

  /** Keeps what was answered; from here on it counts. */
  async #commit(): Promise<void> {
    const now = this.#waiting;
    this.#waiting = [];
    if (now.length > 0) await this.store.put(now.map(({ entry }) => entry));
    this.#committed = performance.now();
    for (const { entry, missing } of now) {
      this.#counts.rows += linesOf(missing.items);
      this.#counts.computed++;
      this.#counts.fromStore += missing.items.length - 1;
      const { key, texts = [] } = entry;
      if (this.similar) this.#leading.push(...texts.map((text) => ({ key, text })));
      for (const item of missing.items) {
        if (this.options.order === "finished") await this.#write(item, entry.answer);
        else this.#outcomes.set(item, entry.answer);
      }
    }
    this.#tell(false);
  }

  /** The line of a row; none where a limit came before its answer. */
  async #write(item: Item, outcome: Outcome | undefined): Promise<void> {
    if (outcome === undefined) return;
    if ("reason" in outcome) return this.#fail(item, outcome.reason);
    await this.#output!.answered(item, outcome);
  }

  async #fail(item: Item, reason: string): Promise<void> {
    this.#counts.rows += linesOf([item]);
    await this.#output!.failed(item, reason);
  }

  #tell(last: boolean): void {
    const now = performance.now();
    if (!this.calls.onProgress || (!last && now - this.#told < 100)) return;
    this.#told = now;
    const { rows, computed, fromStore, tokens } = this.#counts;
    const { errors } = this.#output!;
    const seconds = (now - this.#started) / 1000;
    const totalRows = Math.max(rows, this.input.total);
    const secondsLeft = rows === 0 ? 0 : ((totalRows - rows) * seconds) / rows;
    this.calls.onProgress({ rows, totalRows, computed, fromStore, errors, tokens, seconds, secondsLeft });
  }
}
