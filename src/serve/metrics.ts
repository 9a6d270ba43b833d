// What the server counts, for Prometheus. Owns the names; knows no request.
import { Counter, Gauge, Histogram, Registry } from "prom-client";

export interface Depth {
  running: number;
  waiting: number;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly requests = this.#counter("requests_total", "Requests by route and status.", ["route", "status"]);
  readonly lookups = this.#counter("lookups_total", "Keys that were looked up.", ["result"]);
  readonly answers = this.#counter(
    "answers_total",
    "Answers of completions, and vectors of texts: store, model, or shared.",
    ["from"],
  );
  readonly tokens = this.#counter("tokens_total", "Tokens that the model worked on.", ["kind"]);
  readonly inFlight = new Gauge({
    name: "stillroom_requests_in_flight",
    help: "Requests that are not answered yet.",
    registers: [this.#registry],
  });
  readonly seconds = new Histogram({
    name: "stillroom_request_seconds",
    help: "From a request's head to the end of its answer.",
    labelNames: ["route"],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    registers: [this.#registry],
  });

  constructor(depth: () => Depth) {
    const gauge = (name: string, help: string, value: () => number) =>
      new Gauge({
        name: `stillroom_${name}`,
        help,
        registers: [this.#registry],
        collect() {
          this.set(value());
        },
      });
    gauge("decoder_running", "Answers that the model writes.", () => depth().running);
    gauge("decoder_waiting", "Requests that wait for the model, those for vectors included.", () => depth().waiting);
    gauge("resident_memory_bytes", "Of the process.", () => process.memoryUsage.rss());
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  #counter<Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> {
    return new Counter({ name: `stillroom_${name}`, help, labelNames, registers: [this.#registry] });
  }
}
