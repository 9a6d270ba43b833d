// The options of a server: their names, defaults and limits.
import { isIP } from "node:net";
import { requireOnePrompt } from "../evaluate/index.js";
import type { DownloadProgress, Model } from "../model/index.js";
import type { OpenStoreOptions } from "../store/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import type { NativePrecision } from "../support/native.js";
import { requireKnown, requirePath, requirePort, requireWhole, type Task } from "../task/index.js";
import { isLoopback } from "./access.js";
import type { Log } from "./log.js";

/** What a server serves, and to whom. */
export interface ServeOptions extends Pick<OpenStoreOptions, "namespace" | "maxBytes" | "lifetime" | "normalise"> {
  /** The folder of the store that knows the answers; with a live model begun where there is none. */
  store: string;
  /** Path, hf: URI or an open model (which stays open); without one there are look-ups only, and the store is opened for reading. */
  model?: string | Model | undefined;
  /** The model whose vectors find what `/v1/lookup` does not know exactly, which the store's similarity was fitted for (default: none). */
  similar?: string | Model | undefined;
  /** A RUN folder, a PEFT folder or a GGUF LoRA. */
  adapter?: string | undefined;
  /** The task whose rows `/v1/predict` answers, with the adapter's head and calibration; a task that readTask gave (default: none). */
  task?: Task | undefined;
  /** Of the task: a prompt file in its prompt's place, or answered training rows before each prompt (default 0) and the seed that chooses them (default 0). */
  prompt?: string | undefined;
  shots?: number | undefined;
  seed?: number | undefined;
  /** Whether the model answers what the store does not know (default true); else that is 404, and the store is opened for reading. */
  live?: boolean | undefined;
  /** Where to listen (default "127.0.0.1"). Another than this machine's own needs `tokens` or `open`. */
  host?: string | undefined;
  /** Default 8080; 0: any that is free. */
  port?: number | undefined;
  /** A file of tokens, one a line with a name behind it where wanted: whoever shows none is refused. */
  tokens?: string | undefined;
  /** Listen beyond this machine without tokens (default false). */
  open?: boolean | undefined;
  /** Further names that the server may be called by. */
  allowHosts?: readonly string[] | undefined;
  /** The folder of uploaded files and batches (default: files in the store's folder). */
  files?: string | undefined;
  /** Most bytes of a body (default 1 MiB), and of an uploaded file (default 100 MiB). */
  maxBody?: number | undefined;
  maxUpload?: number | undefined;
  /** Answers that are written side by side (default 64), and requests that wait beyond them before others are sent away (default 256). */
  sequences?: number | undefined;
  waiting?: number | undefined;
  /** Most bytes of keys and values (default: 1 GiB). */
  memory?: number | undefined;
  /** Seconds in which a request must have come (default 60). */
  requestTimeout?: number | undefined;
  /** Seconds in which requests under way may end when the server stops, 0 to 9 (default 5). */
  grace?: number | undefined;
  threads?: number | undefined;
  precision?: NativePrecision | undefined;
  /** A pino logger, or what has its calls (default: nothing is told). */
  log?: Log | undefined;
  /** Whether the log has the texts that ask (default false). */
  logPrompts?: boolean | undefined;
  onDownload?: ((progress: DownloadProgress) => void) | undefined;
  /** Stops the server, as close() does. */
  signal?: AbortSignal | undefined;
}

const serveDefaults = {
  live: true,
  host: "127.0.0.1",
  port: 8080,
  maxBody: 2 ** 20,
  maxUpload: 100 * 2 ** 20,
  sequences: 64,
  waiting: 256,
  requestTimeout: 60,
  grace: 5,
};

const names = [
  ...Object.keys(serveDefaults),
  ..."store model similar adapter task prompt shots seed tokens open allowHosts files memory threads precision log logPrompts".split(
    " ",
  ),
  ..."namespace maxBytes lifetime normalise onDownload signal".split(" "),
];

/** Throws "usage" for a wrong option, and for a host that would open the server to others unasked. */
export function checkServeOptions(options: ServeOptions): void {
  requireKnown(options, names, "serve");
  requirePath("store", options.store);
  for (const name of ["maxBody", "maxUpload", "sequences", "memory", "threads"] as const)
    requireWhole(name, options[name], 1);
  requireWhole("waiting", options.waiting, 0);
  for (const name of ["shots", "seed"] as const) requireWhole(name, options[name], 0);
  requireOnePrompt(options);
  const { port = 0, host = serveDefaults.host, grace = 0, requestTimeout = 1, adapter, model, task } = options;
  requirePort(port);
  if (typeof host !== "string" || (host !== "localhost" && isIP(host) === 0))
    throw unexpected("localhost or an address of this machine", "host", host);
  if (!(grace >= 0 && grace <= 9)) throw unexpected("seconds from 0 to 9", "grace", grace);
  if (!(Number.isFinite(requestTimeout) && requestTimeout > 0))
    throw unexpected("a number of seconds above 0", "requestTimeout", requestTimeout);
  if (adapter !== undefined && model === undefined)
    throw new StillroomError("usage", "expected a model for adapter, received none", { options: ["adapter"] });
  if (task !== undefined && model === undefined)
    throw new StillroomError("usage", "expected a model for task, received none", { options: ["task"] });
  for (const name of ["prompt", "shots", "seed"] as const)
    if (options[name] !== undefined && task === undefined)
      throw new StillroomError("usage", `expected a task for ${name}, received none`, { options: [name] });
  if (!isLoopback(host) && options.tokens === undefined && !options.open)
    throw new StillroomError(
      "usage",
      `anyone who reaches ${host} could ask this server: give it tokens, or say open if that is what you want`,
      { options: ["tokens", "open"] },
    );
}

/** With the default of every option that was left out, or is undefined. */
export function withDefaults(options: ServeOptions): ServeOptions & typeof serveDefaults {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  return { ...serveDefaults, ...given } as ServeOptions & typeof serveDefaults;
}
