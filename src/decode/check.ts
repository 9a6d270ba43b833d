// What requests and options must be before anything native sees them. Knows no work.
import { StillroomError, unexpected } from "../support/errors.js";
import type { DecodeRequest } from "./request.js";

/** A number's range, as the native sampler has it: its numbers are f32. */
interface Range {
  what: string;
  holds: (value: number) => boolean;
}

const most = 2 ** 31 - 1;
const wholes = (from: number, to: number): Range => ({
  what: `a whole number from ${from} to ${to}`,
  holds: (value) => Number.isInteger(value) && value >= from && value <= to,
});
const floats = (what: string, holds: (value: number) => boolean): Range => ({
  what,
  holds: (value) => holds(Math.fround(value)),
});

const ranges: Partial<Record<keyof DecodeRequest, Range>> = {
  maxTokens: wholes(1, most),
  topK: wholes(0, most),
  repetitionWindow: wholes(0, most),
  seed: wholes(0, Number.MAX_SAFE_INTEGER),
  logProbabilities: wholes(0, 1000),
  temperature: floats(
    "0 or a number from 0.001 to 100",
    (value) => value === 0 || (value >= Math.fround(0.001) && value <= 100),
  ),
  topP: floats("a number above 0, at most 1", (value) => value > 0 && value <= 1),
  minP: floats("a number from 0 to 1", (value) => value >= 0 && value <= 1),
  repetitionPenalty: floats("a positive number", (value) => value > 0 && Number.isFinite(value)),
};

/** Throws "usage" for what has no fields to be asked for. */
export function requireObject(value: unknown, what: string, name: string): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw unexpected(what, name, value);
}

/** Throws "usage" for a field of a request whose value it cannot have; a schema's own are left to its grammar. */
export function requireFields(request: DecodeRequest): void {
  const { prompt, stop, grammar, schema, signal } = request;
  if (typeof prompt !== "string" && !(prompt instanceof Int32Array))
    throw unexpected("a text or an Int32Array", "prompt", prompt);
  for (const [name, { what, holds }] of Object.entries(ranges)) {
    const value = request[name as keyof DecodeRequest];
    if (value !== undefined && (typeof value !== "number" || !holds(value))) throw unexpected(what, name, value);
  }
  // A text is iterable too: its letters would be stop texts.
  if (stop !== undefined && !Array.isArray(stop)) throw unexpected("an array of texts", "stop", stop);
  for (const text of stop ?? [])
    if (typeof text !== "string" || text === "") throw unexpected("texts that are not empty", "stop", text);
  if (grammar !== undefined && (typeof grammar !== "string" || grammar.trim() === ""))
    throw unexpected("a GBNF grammar with a rule root", "grammar", grammar);
  if (grammar !== undefined && schema !== undefined) {
    throw new StillroomError("usage", "expected a grammar or a schema, received both", {
      options: ["grammar", "schema"],
    });
  }
  requireCallback("onText", request.onText);
  requireSignal(signal);
}

/** Throws "usage" for what is no signal, of whichever realm. */
export function requireSignal(value: unknown): void {
  if (value === undefined) return;
  const { aborted, addEventListener } = Object(value) as Partial<AbortSignal>;
  if (typeof aborted !== "boolean" || typeof addEventListener !== "function")
    throw unexpected("an AbortSignal", "signal", value);
}

/** Throws "usage" for a callback that cannot be called. */
export function requireCallback(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "function") throw unexpected("a function", name, value);
}

/** Throws "usage" for requests that cannot be taken one by one. */
export function requireIterable(requests: unknown): void {
  const iterable =
    typeof requests === "object" &&
    requests !== null &&
    (Symbol.iterator in requests || Symbol.asyncIterator in requests);
  if (!iterable) throw unexpected("an array or another iterable of requests", "requests", requests);
}
