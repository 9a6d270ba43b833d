// What answers a request: who may ask, which route, and an error in OpenAI's shape for everything else. Owns the list of routes.
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { getRequestListener, type HttpBindings } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type Context, Hono } from "hono";
import { embeddingsPath, type RequestPath, type Similar } from "../batch/index.js";
import type { Store } from "../store/index.js";
import { requireHost, type Tokens } from "./access.js";
import type { Answers } from "./answers.js";
import type { Batches } from "./batches.js";
import { completionsHandler, namesOf } from "./completions.js";
import { embeddingsHandler } from "./embeddings.js";
import { ApiError, apiErrorOf } from "./errors.js";
import type { Files } from "./files.js";
import { leavingOf, readObject, sendError } from "./http.js";
import type { Log } from "./log.js";
import { lookupHandler } from "./lookup.js";
import type { Metrics } from "./metrics.js";
import { predictHandler, type Served } from "./predict.js";
import { readUpload } from "./upload.js";

/** What the routes stand on. */
export interface Parts {
  store: Store;
  similar: Similar | null;
  answers: Answers | null;
  /** The task whose rows are answered. */
  served: Served | null;
  files: Files | null;
  batches: Batches | null;
  metrics: Metrics;
  log: Log;
  logPrompts: boolean;
  tokens: Tokens | null;
  allowed: ReadonlySet<string>;
  maxBody: number;
  maxUpload: number;
  waiting: number;
  stopping: () => boolean;
}

type Env = { Bindings: HttpBindings };

export function listenerOf(parts: Parts): RequestListener {
  const { metrics, log } = parts;
  const hono = getRequestListener(appOf(parts).fetch, { overrideGlobalObjects: false });
  const lookup = lookupHandler(parts.store, parts.similar, metrics, parts);
  return (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const began = performance.now();
    const route = routeOf(incoming);
    metrics.inFlight.inc();
    let by: string | null = null;
    outgoing.once("close", () => {
      const seconds = (performance.now() - began) / 1000;
      const status = outgoing.writableFinished ? outgoing.statusCode : 499;
      metrics.inFlight.dec();
      metrics.requests.inc({ route, status });
      metrics.seconds.observe({ route }, seconds);
      const quiet = route === "/v1/lookup" || route === "/healthz" || route === "/metrics";
      log[quiet ? "debug" : "info"]({ route, status, seconds, by }, "request");
    });
    const fail = (error: unknown) => refuse(error, { incoming, outgoing }, log);
    try {
      requireHost(incoming.headers.host, incoming.headers.origin, parts.allowed);
      if (parts.tokens && route !== "/healthz") by = parts.tokens.require(incoming.headers.authorization);
      if (parts.stopping())
        throw new ApiError(503, "the server is stopping", { code: "stopping", headers: { connection: "close" } });
    } catch (error) {
      fail(error);
      return;
    }
    if (incoming.method === "POST" && route === "/v1/lookup") lookup(incoming, outgoing).catch(fail);
    else void hono(incoming, outgoing);
  };
}

/** Answers with an error; a fault of ours is told to the log. */
function refuse(error: unknown, { incoming, outgoing }: HttpBindings, log: Log): void {
  const known = apiErrorOf(error);
  if (known.status >= 500 && known.status !== 503)
    log.error({ err: error, route: routeOf(incoming) }, "a request failed");
  sendError(incoming, outgoing, known);
}

const idRoute = /^\/v1\/(files|batches)\/[^/]+(\/content|\/cancel)?$/;
const routes = [
  ...["/healthz", "/metrics", "/v1/lookup", "/v1/models", "/v1/files", "/v1/batches"],
  ...["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/predict"],
];

/** For metrics and logs: a route of ours, never what a client made up. */
function routeOf({ url = "" }: IncomingMessage): string {
  const end = url.indexOf("?");
  const at = end < 0 ? url : url.slice(0, end);
  if (routes.includes(at)) return at;
  const match = idRoute.exec(at);
  return match ? `/v1/${match[1]}/:id${match[2] ?? ""}` : "other";
}

function appOf(parts: Parts): Hono<Env> {
  const { answers, metrics, log } = parts;
  const app = new Hono<Env>();
  app.onError((error, { env }) => {
    refuse(error, env, log);
    return RESPONSE_ALREADY_SENT;
  });
  app.notFound(({ req, env: { incoming } }) => {
    if (routeOf(incoming) !== "other")
      throw new ApiError(405, `this route does not take ${req.method}; docs/cli.md of stillroom lists what it takes`);
    throw new ApiError(404, "there is no such route; docs/cli.md of stillroom lists them", { code: "unknown_url" });
  });
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.get("/metrics", async (c) => c.text(await metrics.text(), 200, { "content-type": metrics.contentType }));
  app.get("/v1/models", (c) => c.json({ object: "list", data: answers ? [modelOf(answers)] : [] }));
  app.get("/v1/models/:model", (c) => {
    if (!answers || !namesOf(answers.engine).includes(c.req.param("model")))
      throw new ApiError(404, "there is no such model; /v1/models lists what there is", { code: "model_not_found" });
    return c.json(modelOf(answers));
  });
  const complete = answers && completionsHandler(answers, parts.maxBody, log, parts.logPrompts);
  for (const path of ["/v1/chat/completions", "/v1/completions"] satisfies RequestPath[]) {
    app.post(path, async ({ env: { incoming, outgoing } }) => {
      if (!complete) throw noModel("completions");
      await complete(path, incoming, outgoing);
      return RESPONSE_ALREADY_SENT;
    });
  }
  const embed = answers && embeddingsHandler(answers, parts.maxBody, log, parts.logPrompts);
  app.post(embeddingsPath, async ({ env: { incoming, outgoing } }) => {
    if (!embed) throw noModel("embeddings");
    await embed(incoming, outgoing);
    return RESPONSE_ALREADY_SENT;
  });
  const { served } = parts;
  const predict = answers && served && predictHandler(served, answers, parts.maxBody, log, parts.logPrompts);
  app.post("/v1/predict", async ({ env: { incoming, outgoing } }) => {
    if (!predict)
      throw new ApiError(404, "predictions need a task, and this server has none: stillroom serve --model --task", {
        code: "no_task",
      });
    await predict(incoming, outgoing);
    return RESPONSE_ALREADY_SENT;
  });
  fileRoutes(app, parts);
  batchRoutes(app, parts);
  return app;
}

const noModel = (what: string) =>
  new ApiError(404, `${what} need a model, and this server has none: stillroom serve --model; /v1/lookup needs none`, {
    code: "no_model",
  });

/** What only a server with a live model has. */
function needed<Part>(part: Part | null): Part {
  if (part !== null) return part;
  throw noModel("files and batches");
}

const modelOf = ({ engine: { maker } }: Answers) => ({
  id: maker.model,
  object: "model",
  created: 0,
  owned_by: "stillroom",
});

const pageOf = (c: Context<Env>): { limit: number; after: string | undefined } => {
  const limit = Number(c.req.query("limit") ?? 20);
  if (!(Number.isInteger(limit) && limit >= 1 && limit <= 10_000))
    throw new ApiError(400, "expected a whole number from 1 to 10000 for limit", { param: "limit" });
  return { limit, after: c.req.query("after") };
};

function fileRoutes(app: Hono<Env>, { files, maxUpload }: Parts): void {
  app.post("/v1/files", async (c) => {
    return c.json(await needed(files).add((file) => readUpload(c.env.incoming, file, maxUpload)));
  });
  app.get("/v1/files", async (c) => c.json(await needed(files).list(pageOf(c))));
  app.get("/v1/files/:id", async (c) => c.json(await needed(files).get(c.req.param("id"))));
  app.delete("/v1/files/:id", async (c) => c.json(await needed(files).remove(c.req.param("id"))));
  app.get("/v1/files/:id/content", async (c) => {
    await needed(files).send(c.req.param("id"), c.env.outgoing, leavingOf(c.env.outgoing));
    return RESPONSE_ALREADY_SENT;
  });
}

function batchRoutes(app: Hono<Env>, { batches, maxBody }: Parts): void {
  app.post("/v1/batches", async (c) => c.json(await needed(batches).create(await readObject(c.env.incoming, maxBody))));
  app.get("/v1/batches", (c) => c.json(needed(batches).list(pageOf(c))));
  app.get("/v1/batches/:id", (c) => c.json(needed(batches).get(c.req.param("id"))));
  app.post("/v1/batches/:id/cancel", async (c) => c.json(await needed(batches).cancel(c.req.param("id"))));
}
