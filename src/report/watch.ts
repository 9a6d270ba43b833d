// A live page of a run or a batch on this machine: an HTTP server on 127.0.0.1 that reads its folder and writes nothing.
import type { AddressInfo } from "node:net";
import path from "node:path";
import type { ServerType } from "@hono/node-server";
import type { Hono } from "hono";
import { lossUnit } from "../adapter/index.js";
import { requireHost } from "../serve/index.js";
import { StillroomError } from "../support/errors.js";
import { requireKnown, requirePort } from "../task/index.js";
import { type RunFacts, RunLines, readRun, type StepLine } from "./run-files.js";
import { watchPage } from "./watch-page.js";
import { isBatch, WatchedBatch } from "./watched-batch.js";

export interface WatchOptions {
  /** Default 8090; 0: any that is free. */
  port?: number | undefined;
  /** Ends the server. */
  signal?: AbortSignal | undefined;
}

/** A page that is served. */
export interface Watch {
  /** Such as http://127.0.0.1:8090/. */
  url: string;
  /** Stops it; any further call gives the same promise. */
  close(): Promise<void>;
  /** Settles when it has stopped, by close() or by the signal. */
  closed: Promise<void>;
}

/**
 * Serves a live page of a run or a batch that is under way, or has ended, on 127.0.0.1: its curves, drawn anew every second.
 *
 * @param run a RUN folder of tune or distill, or the store's folder of a batch
 * @throws StillroomError "usage" for a wrong option or a port in use, "input" for a folder without a run or a batch
 *
 * @example
 * ```ts
 * import { watch } from "stillroom";
 * const page = await watch("runs/sst2", { port: 0 });
 * console.log(page.url);
 * await page.close();
 * ```
 */
export async function watch(run: string, options: WatchOptions = {}): Promise<Watch> {
  requireKnown(options, ["port", "signal"], "watch");
  const { port = 8090, signal } = options;
  requirePort(port);
  const name = path.basename(path.resolve(run));
  const server = await listening(
    isBatch(run)
      ? await appOf(new WatchedBatch(run), `batch into ${name}`)
      : await appOf(new WatchedRun(run), `${(await readRun(run)).task.name}: ${name}`),
    port,
  );
  const closed = new Promise<void>((resolve) => server.once("close", resolve));
  const close = () => {
    server.close();
    if ("closeAllConnections" in server) server.closeAllConnections();
    return closed;
  };
  if (signal?.aborted) await close();
  signal?.addEventListener("abort", close, { once: true });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo | null)?.port ?? port}/`, close, closed };
}

async function listening(app: Hono, port: number): Promise<ServerType> {
  const { serve: listen } = await import("@hono/node-server");
  return new Promise((resolve, reject) => {
    const server = listen({ fetch: app.fetch, hostname: "127.0.0.1", port }, () => resolve(server));
    server.once("error", ({ message }) =>
      reject(
        new StillroomError("usage", `cannot listen on port ${port}: ${message}; choose another one`, {
          options: ["port"],
        }),
      ),
    );
  });
}

async function appOf(watched: Watched, title: string): Promise<Hono> {
  const { Hono: App } = await import("hono");
  const app = new App();
  const { html, policy } = watchPage(title);
  const allowed = new Set(["127.0.0.1", "localhost"]);
  app.onError(({ message }, c) => c.text(message, 403));
  app.use(async (c, next) => {
    // A name that somebody else has turned to this machine must not read the page.
    requireHost(c.req.header("host"), c.req.header("origin"), allowed);
    await next();
    c.header("content-security-policy", policy);
    c.header("cache-control", "no-store");
  });
  app.get("/", (c) => c.html(html));
  app.get("/favicon.ico", (c) => c.body(null, 204));
  app.get("/data", async (c) => {
    const known = (name: string) => Number(c.req.query(name)) || 0;
    return c.json(await watched.since(Number(c.req.query("generation")), known("steps"), known("validations")));
  });
  return app;
}

/** What the page draws: rows of a chart are a step and a value a series, null where there is none. */
export interface Drawn {
  title: string;
  series: string[];
  rows: (number | null)[][];
}

/** What the page asks: what came after so many lines; everything where the files were begun again since. */
export interface Watched {
  since(
    generation: number,
    steps: number,
    validations: number,
  ): Promise<{
    generation: number;
    steps: number;
    validations: number;
    /** What lines are drawn over. */
    x: string;
    ended: boolean;
    state: string;
    charts: Drawn[];
  }>;
}

class WatchedRun implements Watched {
  readonly #lines: RunLines;

  constructor(readonly run: string) {
    this.#lines = new RunLines(run);
  }

  async since(generation: number, steps: number, validations: number) {
    await this.#lines.read();
    const now = this.#lines.generation;
    const from = now === generation ? { steps, validations } : { steps: 0, validations: 0 };
    const facts = await readRun(this.run);
    return {
      generation: now,
      steps: this.#lines.steps.lines.length,
      validations: this.#lines.validations.lines.length,
      x: "step",
      ended: facts.result !== undefined,
      state: this.#state(facts),
      charts: this.#charts(facts, from),
    };
  }

  #state({ result, plan }: RunFacts): string {
    if (plan === null) return "asking the teacher";
    const last = this.#lines.steps.lines.at(-1);
    const done = `step ${last?.step ?? 0} of ${plan.steps}`;
    return result ? `ended after ${done}` : `${done}${last?.loss == null ? "" : `, loss ${last.loss.toFixed(4)}`}`;
  }

  #charts({ task: { metric }, options }: RunFacts, from: { steps: number; validations: number }): Drawn[] {
    const steps = this.#lines.steps.lines.slice(from.steps);
    const validations = this.#lines.validations.lines.slice(from.validations);
    const rows = (value: (line: StepLine) => number | null) => steps.map((line) => [line.step, value(line)]);
    const scores = validations.map(({ step, metrics }) => {
      const found = metrics[metric];
      return [step, found === undefined ? null : typeof found === "number" ? found : found.value];
    });
    const unit = lossUnit(options.head);
    return [
      { title: `Loss of a step (${unit})`, series: ["loss"], rows: rows(({ loss }) => loss) },
      {
        title: `Validation loss (${unit})`,
        series: ["loss"],
        rows: validations.map(({ step, loss }) => [step, loss]),
      },
      { title: `Validation ${metric}`, series: [metric], rows: scores },
      { title: "Tokens a second", series: ["tokens/s"], rows: rows(({ tokens, seconds }) => tokens / seconds) },
      { title: "Learning rate", series: ["rate"], rows: rows((line) => line.learning_rate) },
      { title: "Resident memory (MB)", series: ["MB"], rows: rows((line) => line.memory_bytes / 1e6) },
    ];
  }
}
