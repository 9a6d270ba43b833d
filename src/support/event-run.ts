// A long job as one object: an async iterator of its events, and a promise of its result. Knows neither.

/**
 * Runs a generator to its end, whether or not anyone listens. Iterating gives every event from the first on, and throws what
 * the job threw; result settles with what the job returned or threw.
 */
export class EventRun<Event, Result> implements AsyncIterable<Event> {
  readonly result: Promise<Result>;
  readonly #events: Event[] = [];
  #ended = false;
  #wake: () => void = () => undefined;
  #news: Promise<void> = this.#nextNews();

  constructor(job: AsyncGenerator<Event, Result>) {
    this.result = this.#drive(job);
    // Whoever iterates gets the error from the iterator; an unobserved result must not end the process.
    this.result.catch(() => undefined);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, void> {
    for (let next = 0; ; next++) {
      while (next >= this.#events.length && !this.#ended) await this.#news;
      if (next >= this.#events.length) break;
      yield this.#events[next]!;
    }
    await this.result;
  }

  async #drive(job: AsyncGenerator<Event, Result>): Promise<Result> {
    try {
      for (;;) {
        const { done, value } = await job.next();
        if (done) return value;
        this.#events.push(value);
        this.#tell();
      }
    } finally {
      this.#ended = true;
      this.#tell();
    }
  }

  #nextNews(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #tell(): void {
    const wake = this.#wake;
    this.#news = this.#nextNews();
    wake();
  }
}
