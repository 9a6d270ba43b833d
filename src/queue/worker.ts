// A worker: takes chunks of its own model, looks their rows up here and in the shared store, computes the rest, and brings all back at once. Knows no input file.
import { hostname } from "node:os";
import { performance } from "node:perf_hooks";
import { answerAll, type Engine, type Outcome, openEngine } from "../batch/index.js";
import { type Answer, keyText, type Maker, type Request, requestKey, requestKeys, type Store } from "../store/index.js";
import { pause } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import { unpackChunk, unpackTokens } from "./chunk.js";
import { checkWorkerOptions, type WorkerOptions } from "./options.js";
import { attempts, type Chunk, type Done, type Lease, type Queue } from "./queue.js";
import { inSession } from "./session.js";

/** The fields of `stillroom worker --json`. */
export interface WorkerResult {
  chunks: number;
  rows: number;
  computed: number;
  from_store: number;
  errors: number;
  rows_per_second: number;
  tokens_per_second: number;
  peak_memory_bytes: number;
  /** From the first look at the queue; opening the model not counted. */
  seconds: number;
}

/** Milliseconds between looks at a queue where nothing waits. */
const shortestPause = 250;
const longestPause = 5000;
/** Of a lease, the share after which what is done is brought back and the rest handed on. */
const leaseShare = 0.75;
/** Milliseconds that a piece of choices is to take: it cannot be cut off. */
const pieceTime = 2000;
/** Milliseconds after which answers are kept in the local store though more are to come. */
const longestWait = 1000;
/** Chunks one behind the other whose failure is the machine's, and no row's. */
const mostFailures = 3;
/** Seconds between looks for leases that ran out, of all workers together. */
const superviseSeconds = 5;

/**
 * Answers what waits in a queue for this model, until the signal; then what is done is brought back, and the rest handed on, within seconds. Any number of workers
 * on any machines may come, go and die.
 *
 * @throws StillroomError "usage" for a wrong option, and where all that waits is for another model; "missing" where no PostgreSQL answers; "missing" or
 * "input" for the model and the adapter
 *
 * @example
 * ```ts
 * import { work } from "stillroom";
 * const { rows } = await work({ queue: "postgres://me@database.local/answers", model: "model.gguf", store: "local", drain: true });
 * console.log(`${rows} rows`);
 * ```
 */
export async function work(options: WorkerOptions): Promise<WorkerResult> {
  checkWorkerOptions(options);
  const how = { store: { maxBytes: options.maxBytes }, supervise: superviseSeconds };
  return inSession(options, how, async ({ queue, store, model }) => {
    const engine = await openEngine(model, options.adapter, options.precision ?? "f32");
    await refuseOthers(queue, engine.maker);
    const name = await queue.makeQueue(engine.maker);
    return new Worker(queue, name, store!, engine, options).run();
  });
}

/** Throws "usage" where jobs wait and none is for this maker. */
async function refuseOthers(queue: Queue, maker: Maker): Promise<void> {
  const jobs = await queue.unfinished();
  const others = jobs.map((job) => ({ ...job, differs: differences(job.maker, maker) }));
  const [first] = others;
  if (first === undefined || others.some(({ differs }) => differs.length === 0)) return;
  throw new StillroomError(
    "usage",
    `no job of the queue at ${queue.database.place} is for this worker: job ${first.id} (${first.input}) asks for ${first.differs.map(({ what, theirs, ours }) => `${what} ${theirs}, this worker has ${ours}`).join("; ")}`,
  );
}

function differences(theirs: Maker, ours: Maker): { what: string; theirs: string; ours: string }[] {
  const adapter = ({ adapter }: Maker) => (adapter === null ? "none" : `${adapter.sha256} × ${adapter.scale ?? 1}`);
  const found = [
    {
      what: "the weights",
      theirs: `${theirs.weights} (${theirs.model})`,
      ours: `${ours.weights} (${ours.model})`,
      same: theirs.weights === ours.weights,
    },
    { what: "the adapter", theirs: adapter(theirs), ours: adapter(ours), same: adapter(theirs) === adapter(ours) },
    ...(["engine", "precision", "variant"] as const).map((name) => ({
      what: `the ${name}`,
      theirs: theirs[name],
      ours: ours[name],
      same: theirs[name] === ours[name],
    })),
  ];
  return found.filter(({ same }) => !same);
}

class Worker {
  readonly #counts = { chunks: 0, rows: 0, computed: 0, known: 0, failed: 0, tokens: 0 };
  readonly #started = performance.now();
  readonly #id = `${hostname()}:${process.pid}`;
  #failures = 0;
  /** Rows of choices by millisecond. */
  #speed = 8 / pieceTime;

  constructor(
    readonly queue: Queue,
    readonly name: string,
    readonly store: Store,
    readonly engine: Engine,
    readonly options: WorkerOptions,
  ) {}

  async run(): Promise<WorkerResult> {
    const { signal, drain } = this.options;
    for (let wait = shortestPause; !signal?.aborted; ) {
      if (await this.#once()) {
        wait = shortestPause;
        continue;
      }
      if (drain && !(await this.#outstanding())) break;
      await pause(wait, signal);
      wait = Math.min(2 * wait, longestPause);
    }
    const { chunks, rows, computed, known, failed, tokens } = this.#counts;
    const seconds = (performance.now() - this.#started) / 1000;
    return {
      ...{ chunks, rows, computed, from_store: known, errors: failed },
      rows_per_second: rows / seconds,
      tokens_per_second: tokens / seconds,
      peak_memory_bytes: process.resourceUsage().maxRSS * 1024,
      seconds,
    };
  }

  /** Whether chunks of this maker are left, be they another's. */
  async #outstanding(): Promise<boolean> {
    const jobs = await this.queue.unfinished();
    return jobs.some(({ maker, waits }) => waits && differences(maker, this.engine.maker).length === 0);
  }

  /** One chunk, or one that brought trouble; false where there is none. */
  async #once(): Promise<boolean> {
    const suspect = await this.queue.takeSuspect(this.name);
    if (suspect) {
      await this.#judge(suspect.lease, suspect.reason);
      return true;
    }
    const lease = await this.queue.take(this.name);
    if (lease === null) return false;
    const chunk = await this.queue.read(lease);
    if (chunk === null) {
      await this.queue.drop(this.name, lease);
      return true;
    }
    let done: { result: Done; rest: Request[] };
    try {
      done = await this.#answer(chunk);
      this.#failures = 0;
    } catch (error) {
      await this.queue.fail(this.name, lease, error instanceof Error ? error.message : String(error));
      if (++this.#failures >= mostFailures) throw error;
      this.options.onWarning?.(`a chunk failed and is handed out again: ${(error as Error).message}`);
      return true;
    }
    await this.#bring(lease, chunk, done.result, done.rest);
    return true;
  }

  async #bring(lease: Lease, chunk: Chunk, done: Done, rest: readonly Request[]): Promise<void> {
    const counts = this.#counts;
    const whole = rest.length === 0;
    if (!(await this.queue.bring(this.name, lease, chunk, done, this.#id, rest))) return;
    counts.chunks++;
    counts.rows += done.computed + done.known + (whole ? done.failures.length : 0);
    counts.computed += done.computed;
    counts.known += done.known;
    counts.failed += whole ? done.failures.length : 0;
    counts.tokens += done.tokens;
    const { rows, computed, known, failed, tokens } = counts;
    const seconds = (performance.now() - this.#started) / 1000;
    this.options.onProgress?.({ rows, computed, fromStore: known, errors: failed, tokens, seconds });
  }

  async #judge(lease: Lease, reason: string): Promise<void> {
    const chunk = await this.queue.read(lease);
    if (chunk === null) return this.queue.drop(`${this.name}-suspects`, lease);
    const requests = unpackChunk(chunk.body);
    const why = `was given up after ${attempts} tries on its own: ${reason}`;
    const failures = requests.map((request) => ({
      key: requestKey(this.engine.maker, request),
      reason: why,
      atWork: true,
    }));
    await this.queue.judge(this.name, lease, chunk, requests, failures, this.#id);
  }

  /** Looks rows up and answers the rest, as far as the lease and the signal let it. */
  async #answer(chunk: Chunk): Promise<{ result: Done; rest: Request[] }> {
    const { maker } = this.engine;
    const requests = unpackChunk(chunk.body);
    const front = unpackTokens(chunk.front);
    const keyOf = requestKeys(maker);
    const asked = requests.map((request) => ({ request, key: keyOf(request) }));
    const result: Done = { answers: [], failures: [], computed: 0, known: 0, tokens: 0 };
    const elsewhere = asked.filter(({ key }) => {
      const answer = this.store.answer(key);
      if (answer === null) return true;
      result.answers.push({ key, answer });
      result.known++;
      return false;
    });
    const shared = await this.queue.answers(elsewhere.map(({ key }) => key));
    const missing = elsewhere.filter(({ key }) => !shared.has(keyText(key)));
    result.known += elsewhere.length - missing.length;
    const stop = new AbortController();
    const cancel = () => stop.abort();
    const { signal } = this.options;
    signal?.addEventListener("abort", cancel);
    if (signal?.aborted) cancel();
    let late = false;
    const timer = setTimeout(
      () => {
        late = true;
        if (result.computed > 0) stop.abort();
      },
      1000 * leaseShare * chunk.lease,
    );
    let waiting: { key: Uint8Array; answer: Answer }[] = [];
    let kept = performance.now();
    const keep = async () => {
      const now = waiting.map((entry) => ({ ...entry, maker }));
      waiting = [];
      kept = performance.now();
      if (now.length > 0) await this.store.put(now);
    };
    const tell = async (place: number, outcome: Outcome, tokens: number) => {
      const { key } = missing[place]!;
      // What was called off with the rest has no reason of its own.
      if ("reason" in outcome && stop.signal.aborted) return;
      if ("reason" in outcome) result.failures.push({ key, ...outcome });
      else {
        result.answers.push({ key, answer: outcome });
        waiting.push({ key, answer: outcome });
        result.computed++;
        result.tokens += tokens;
      }
      if (performance.now() - kept > longestWait) await keep();
      if (late) stop.abort();
    };
    try {
      await this.#compute(
        missing.map(({ request }) => request),
        front,
        tell,
        stop.signal,
      );
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
      await keep();
    }
    if (result.computed + result.failures.length === missing.length) return { result, rest: [] };
    const answered = new Set(result.answers.map(({ key }) => keyText(key)));
    const left = missing.filter(({ key }) => !answered.has(keyText(key)));
    return { result, rest: left.map(({ request }) => request) };
  }

  /** Words and vectors in one go, which can be cut off at any step; choices in pieces of some seconds. */
  async #compute(
    requests: Request[],
    front: Int32Array,
    tell: Parameters<typeof answerAll>[3],
    signal: AbortSignal,
  ): Promise<void> {
    const places = [...requests.keys()];
    const inPieces = async (kind: Request["kind"], size: () => number) => {
      const own = places.filter((place) => requests[place]!.kind === kind);
      for (let at = 0; at < own.length && !signal.aborted; ) {
        const now = own.slice(at, at + size());
        const began = performance.now();
        const asked = now.map((place) => requests[place]!);
        await answerAll(
          this.engine,
          asked,
          front,
          (place, outcome, tokens) => tell(now[place]!, outcome, tokens),
          signal,
        );
        at += now.length;
        if (kind === "labels") this.#speed = now.length / Math.max(1, performance.now() - began);
      }
    };
    await inPieces("labels", () => Math.max(1, Math.floor(this.#speed * pieceTime)));
    await inPieces("embedding", () => requests.length);
    await inPieces("text", () => requests.length);
  }
}
