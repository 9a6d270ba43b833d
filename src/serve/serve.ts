// A server from its start to its end: store, model, listening, and a stop that leaves nothing open.
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import type { Duplex } from "node:stream";
import { type Engine, openEngine, Similar } from "../batch/index.js";
import { Model, openModel } from "../model/index.js";
import { openStore, type Store } from "../store/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import { rethrow } from "../support/native.js";
import { Tokens } from "./access.js";
import { Answers } from "./answers.js";
import { listenerOf } from "./app.js";
import { Batches } from "./batches.js";
import { ApiError } from "./errors.js";
import { Files } from "./files.js";
import { Live } from "./live.js";
import { silent } from "./log.js";
import { Metrics } from "./metrics.js";
import { checkServeOptions, type ServeOptions, withDefaults } from "./options.js";
import { openServed, type Served } from "./predict.js";

/** A server that listens. */
export interface Server {
  /** Such as http://127.0.0.1:8080. */
  url: string;
  /** Of the model as requests name it; null without one. */
  model: string | null;
  /** Stops it: no new requests, those under way end within the grace, the store is closed. Any further call gives the same promise. */
  close(): Promise<void>;
  /** Settles when it has stopped, by close() or by the signal. */
  closed: Promise<void>;
}

/**
 * Serves a store's answers by HTTP: `/v1/lookup`, and OpenAI's `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/models`, `/v1/files` and `/v1/batches`; what the
 * store does not know is answered by the live model and kept.
 *
 * @returns when it listens
 * @throws StillroomError "usage" for a wrong option, a port in use, or a store that another process writes to; "missing" or "input" for store, model, adapter and
 * tokens; "io" for the disk; "cancelled" on abort before it listens
 *
 * @example
 * ```ts
 * import { serve } from "stillroom";
 * const server = await serve({ store: "answers", model: "model.gguf", port: 0 });
 * const body = JSON.stringify({ key: "Is a plum a drupe?" });
 * console.log(await (await fetch(`${server.url}/v1/lookup`, { method: "POST", body })).json());
 * await server.close();
 * ```
 */
export async function serve(options: ServeOptions): Promise<Server> {
  checkServeOptions(options);
  const { namespace, maxBytes, lifetime, normalise, signal } = options;
  throwIfCancelled(signal, "starting a server");
  const tokens = options.tokens === undefined ? null : new Tokens(options.tokens);
  const writes = options.model !== undefined && options.live !== false;
  const store = await openStore(options.store, { namespace, maxBytes, lifetime, normalise, readOnly: !writes });
  let model: Model | null = null;
  let similar: Similar | null = null;
  try {
    const given = options.model;
    if (given !== undefined) model = given instanceof Model ? given : await openModel(given, options);
    const engine = model && (await openEngine(model, options.adapter, options.precision ?? "f32"));
    if (options.similar !== undefined)
      similar = await Similar.open(store, options.similar, { threads: options.threads });
    const served = engine && options.task ? await openServed(engine, options.task, options) : null;
    const running = new Running(withDefaults(options), store, engine, tokens, similar, served);
    await running.start();
    return running;
  } catch (error) {
    await similar?.close();
    if (model && model !== options.model) await model.close();
    await store.abandon();
    return rethrow(error);
  }
}

class Running implements Server {
  url = "";
  readonly model: string | null;
  readonly closed: Promise<void>;
  readonly #http: HttpServer;
  readonly #live: Live | null;
  readonly #batches: Batches | null;
  #settle!: () => void;
  #closing: Promise<void> | null = null;
  #stopping = false;

  constructor(
    readonly options: ReturnType<typeof withDefaults>,
    readonly store: Store,
    readonly engine: Engine | null,
    tokens: Tokens | null,
    readonly similar: Similar | null,
    served: Served | null,
  ) {
    const { live: isLive, sequences, waiting, maxBody, maxUpload, requestTimeout, host } = options;
    const { log = silent, logPrompts = false, memory, allowHosts = [], files } = options;
    this.model = engine?.maker.model ?? null;
    this.closed = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#live = engine && isLive ? new Live(engine, { sequences, waiting, memory }, served?.front) : null;
    const metrics = new Metrics(() => this.#live?.depth() ?? { running: 0, waiting: 0 });
    const answers = engine && new Answers(store, engine, this.#live, metrics, log);
    const kept = this.#live && new Files(files ?? path.join(store.folder, "files"));
    this.#batches = kept && engine ? new Batches(kept, store, engine, log) : null;
    this.#http = createServer(
      {
        requestTimeout: 1000 * requestTimeout,
        headersTimeout: 1000 * Math.min(requestTimeout, 15),
        connectionsCheckingInterval: 1000,
      },
      listenerOf({
        ...{ store, similar, answers, served, metrics, log, logPrompts, tokens, maxBody, maxUpload, waiting },
        ...{ files: kept, batches: this.#batches },
        allowed: new Set([host, ...allowHosts].map((name) => name.toLowerCase())),
        stopping: () => this.#stopping,
      }),
    );
  }

  /** Listens; where it cannot, nothing of it works on. */
  async start(): Promise<void> {
    this.#http.on("clientError", refuseClient);
    const { host, port } = this.options;
    try {
      await this.#batches?.start();
      await new Promise<void>((resolve, reject) => {
        this.#http.once("error", (error: NodeJS.ErrnoException) => reject(cannotListen(host, port, error)));
        this.#http.listen(port, host, resolve);
      });
    } catch (error) {
      await this.#batches?.stop();
      await this.#batches?.files.leave();
      await this.#live?.close();
      throw error;
    }
    const { port: taken } = this.#http.address() as AddressInfo;
    this.url = `http://${host.includes(":") ? `[${host}]` : host}:${taken}`;
    const stop = () => void this.close();
    this.options.signal?.addEventListener("abort", stop);
    void this.closed.then(() => this.options.signal?.removeEventListener("abort", stop));
    if (this.options.signal?.aborted) stop();
    this.options.log?.info({ url: this.url, store: this.store.folder, model: this.model }, "listening");
  }

  close(): Promise<void> {
    this.#closing ??= this.#stop().finally(this.#settle);
    return this.#closing;
  }

  async #stop(): Promise<void> {
    this.#stopping = true;
    const { grace } = this.options;
    const ended = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    this.#http.closeIdleConnections();
    const batches = this.#batches?.stop();
    const timer = setTimeout(() => this.#http.closeAllConnections(), 1000 * grace);
    await ended;
    clearTimeout(timer);
    // Requests whose clients are gone are called off by now.
    await batches;
    await this.#live?.close();
    await this.similar?.close();
    if (this.engine && this.engine.model !== this.options.model) await this.engine.model.close();
    await this.store.close();
    this.options.log?.info({ url: this.url }, "stopped");
  }
}

/** What is no HTTP, or does not come in time, has no response to write to. */
function refuseClient(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const late = error.code === "ERR_HTTP_REQUEST_TIMEOUT";
  const [status, words] = late ? [408, "Request Timeout"] : [400, "Bad Request"];
  const body = new ApiError(status, late ? "the request did not come in time" : "the request is not HTTP").body();
  const head = `HTTP/1.1 ${status} ${words}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`;
  socket.end(`${head}\r\nconnection: close\r\n\r\n${body}`);
}

function cannotListen(host: string, port: number, error: NodeJS.ErrnoException): StillroomError {
  const why = error.code === "EADDRINUSE" ? "another process listens there; choose another port" : error.message;
  return new StillroomError("usage", `cannot listen on ${host}:${port}: ${why}`, { cause: error, options: ["port"] });
}
