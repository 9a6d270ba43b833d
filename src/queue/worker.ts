// A worker: takes chunks of its own model, looks their rows up here and in the shared store, computes the rest, and brings all back at once. Knows no input file.
import { hostname } from "node:os";
import { performance } from "node:perf_hooks";
import { answerAll, type Engine, type Outcome, openEngine } from "../batch/index.js";
import { Model, openModel } from "../model/index.js";
import { type Answer, type Maker, openStore, requestKey, type Store } from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import { rethrow } from "../support/native.js";
import { pauseFor } from "./batch.js";
import { type Request, unpackChunk, unpackTokens } from "./chunk.js";
import { checkWorkerOptions, usualPatience, type WorkerOptions } from "./options.js";
import { attempts, type Chunk, type Done, type Lease, Queue } from "./queue.js";
import { schema } from "./schema.js";

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
  const { patience = usualPatience, signal, onWarning, maxBytes } = options;
  const queue = await Queue.open(options.queue, { patience, signal, onWarning, supervise: superviseSeconds });
  let store: Store | null = null;
  try {
    store = await openStore(options.store, { maxBytes });
    const given = options.model;
    const model = given instanceof Model ? given : await openModel(given, options);
    try {
      const engine = await openEngine(model, options.adapter, options.precision ?? "f32");
      await refuseOthers(queue, engine.maker);
      const name = await queue.makeQueue(engine.maker);
      return await new Worker(queue, name, store, engine, options).run();
    } finally {
      if (model !== given) await model.close();
    }
  } catch (error) {
    return rethrow(error);
  } finally {
    await store?.close();
    await queue.close();
  }
}

/** Throws "usage" where jobs wait and none is for this maker. */
async function refuseOthers({ database }: Queue, maker: Maker): Promise<void> {
  const { rows } = await database.executeSql(
    `SELECT id, input, maker FROM ${schema}.jobs WHERE finished IS NULL ORDER BY id`,
  );
  const others = (rows as { id: number; input: string; maker: Maker }[]).map((job) => ({
    ...job,
    differs: differences(job.maker, maker),
  }));
  const [first] = others;
  if (first === undefined || others.some(({ differs }) => differs.length === 0)) return;
  throw new StillroomError(
    "usage",
    `no job of the queue at ${database.place} is for this worker: job ${first.id} (${first.input}) asks for ${first.differs.map(({ what, theirs, ours }) => `${what} ${theirs}, this worker has ${ours}`).join("; ")}`,
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
    for (let pause = shortestPause; !signal?.aborted; ) {
      if (await this.#once()) {
        pause = shortestPause;
        continue;
      }
      if (drain && !(await this.#outstanding())) break;
      await pauseFor(pause, signal);
      pause = Math.min(2 * pause, longestPause);
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
    const { rows } = await this.queue.database.executeSql(
      `SELECT maker, (NOT complete OR EXISTS (SELECT FROM ${schema}.chunks WHERE job = j.id)) AS waits FROM ${schema}.jobs j WHERE finished IS NULL`,
    );
    return rows.some(({ maker, waits }) => waits && differences(maker, this.engine.maker).length === 0);
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
    let done: { result: Done; whole: boolean };
    try {
      done = await this.#answer(chunk);
      this.#failures = 0;
    } catch (error) {
      await this.queue.fail(this.name, lease, error instanceof Error ? error.message : String(error));
      if (++this.#failures >= mostFailures) throw error;
      this.options.onWarning?.(`a chunk failed and is handed out again: ${(error as Error).message}`);
      return true;
    }
    await this.#bring(lease, chunk, done.result, done.whole);
    return true;
  }

  async #bring(lease: Lease, chunk: Chunk, done: Done, whole: boolean): Promise<void> {
    const counts = this.#counts;
    if (!(await this.queue.bring(this.name, lease, chunk, done, this.#id, whole))) return;
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
    const failures = requests.map((request) => ({ key: requestKey(this.engine.maker, request), reason: why }));
    await this.queue.judge(this.name, lease, chunk, requests, failures, this.#id);
  }

  /** Looks rows up and answers the rest, as far as the lease and the signal let it. */
  async #answer(chunk: Chunk): Promise<{ result: Done; whole: boolean }> {
    const { maker } = this.engine;
    const requests = unpackChunk(chunk.body);
    const front = unpackTokens(chunk.front);
    const asked = requests.map((request) => ({ request, key: requestKey(maker, request) }));
    const result: Done = { answers: [], failures: [], computed: 0, known: 0, tokens: 0 };
    const elsewhere = asked.filter(({ key }) => {
      const known = this.store.get(key);
      if (known === null) return true;
      const { made_by: _, written: __, ...answer } = known;
      result.answers.push({ key, answer });
      result.known++;
      return false;
    });
    const shared = await this.queue.answers(elsewhere.map(({ key }) => key));
    const missing = elsewhere.filter(({ key }) => !shared.has(hex(key)));
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
      if ("reason" in outcome) result.failures.push({ key, reason: outcome.reason });
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
    return { result, whole: result.computed + result.failures.length === missing.length };
  }

  /** Words in one go, which can be cut off at any step; choices in pieces of some seconds. */
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
    await inPieces("text", () => requests.length);
  }
}

const hex = (key: Uint8Array): string => Buffer.from(key).toString("hex");
