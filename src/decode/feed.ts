// Requests one by one, from what gives them at once or over time. Knows nothing of them.

/** Takes items from an iterable without letting a slow one hold up other work. */
export class Feed<Item> {
  #iterator: Iterator<Item> | AsyncIterator<Item>;
  #pending: Promise<IteratorResult<Item>> | null = null;
  #ended = false;

  constructor(items: Iterable<Item> | AsyncIterable<Item>) {
    this.#iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  }

  /** Whether there are no more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** The next item; undefined at the end, and, unless wait is true, where it is not there yet. */
  async next(wait: boolean): Promise<Item | undefined> {
    if (this.#ended) return undefined;
    this.#pending ??= Promise.resolve(this.#iterator.next());
    // A promise that is settled wins over one that settles a turn later.
    const later = new Promise<null>((resolve) => setImmediate(resolve, null));
    const result = wait ? await this.#pending : await Promise.race([this.#pending, later]);
    if (result === null) return undefined;
    this.#pending = null;
    this.#ended = result.done === true;
    return this.#ended ? undefined : result.value;
  }

  /** Tells the source that no more is wanted, and does not wait for what it is doing. */
  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#pending?.catch(() => undefined);
    Promise.resolve(this.#iterator.return?.()).catch(() => undefined);
  }
}
