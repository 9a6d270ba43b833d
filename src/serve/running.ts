// What listens: the HTTP server over a store and a live model, from its start to a stop that leaves nothing open. Opens neither.
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import type { Duplex } from "node:stream";
import type { Engine, Similar } from "../batch/index.js";
import type { Store } from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import type { Tokens } from "./access.js";
import { Answers } from "./answers.js";
import { listenerOf } from "./app.js";
import { Batches } from "./batches.js";
import { ApiError } from "./errors.js";
import { Files } from "./files.js";
import { Live } from "./live.js";
import { silent } from "./log.js";
import { Metrics } from "./metrics.js";
import type { withDefaults } from "./options.js";
import type { Served } from "./predict.js";
import type { Server } from "./serve.js";

export class Running implements Server {
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
