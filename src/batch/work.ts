// The work of a batch: what the store knows is not computed, what is computed is kept before it counts as done. Holds a window of rows at a time; opens nothing but
// its output.
import { performance } from "node:perf_hooks";
import { type Entry, type Found, keyText, requestKeys, type Store } from "../store/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import type { Engine, Outcome, Requests } from "./engine.js";
import type { Input, Item } from "./item.js";
import type { BatchOptions } from "./options.js";
import { Output } from "./output.js";
import type { BatchCalls, BatchResult } from "./result.js";
import { answering, usualRetries } from "./retry.js";
import type { Leading, Similar } from "./similar.js";
import { frontOfFirst, frontRows, usualWindow, windowsOf } from "./windows.js";

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

/** One batch over what is open. */
export class Work {
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
        await this.#settle(item, { reason: request });
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
    await this.#settle(item, answer);
    this.#tell(false);
  }

  async #done(missing: Missing, outcome: Outcome, tokens: number): Promise<void> {
    if ("reason" in outcome) {
      for (const item of missing.items) await this.#settle(item, outcome);
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
      for (const item of missing.items) await this.#settle(item, entry.answer);
    }
    this.#tell(false);
  }

  /** Writes a row's line at once, or keeps its outcome until those before it have theirs. */
  async #settle(item: Item, outcome: Outcome): Promise<void> {
    if (this.options.order === "finished") await this.#write(item, outcome);
    else this.#outcomes.set(item, outcome);
  }

  /** The line of a row; none where a limit came before its answer. */
  async #write(item: Item, outcome: Outcome | undefined): Promise<void> {
    if (outcome === undefined) return;
    if ("reason" in outcome) {
      this.#counts.rows += linesOf([item]);
      await this.#output!.failed(item, outcome);
    } else await this.#output!.answered(item, outcome);
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
