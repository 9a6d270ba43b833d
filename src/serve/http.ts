// Bodies in and out, as bytes and JSON, under limits. Knows no route.
import { isUtf8 } from "node:buffer";
import type { IncomingMessage, ServerResponse } from "node:http";
import { ApiError } from "./errors.js";

/** Levels of JSON: far more than any request needs. */
const mostLevels = 256;
/** After a refusal the rest of a body is read and dropped for so long, in milliseconds, so that the client comes to read why. */
const drainTime = 5000;

/** The whole body. Throws 413 beyond the limit, without reading on. */
export function readBody(incoming: IncomingMessage, limit: number): Promise<Buffer> {
  if (Number(incoming.headers["content-length"] ?? 0) > limit) return Promise.reject(tooLarge(limit));
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let bytes = 0;
    const onData = (piece: Buffer) => {
      bytes += piece.length;
      if (bytes > limit) settle(() => reject(tooLarge(limit)));
      else pieces.push(piece);
    };
    const onEnd = () => settle(() => resolve(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)));
    const onGone = () => settle(() => reject(new ApiError(400, "the request was cut off")));
    const settle = (then: () => void) => {
      incoming.off("data", onData).off("end", onEnd).off("close", onGone).off("error", onGone);
      incoming.on("error", () => undefined);
      then();
    };
    incoming.on("data", onData).on("end", onEnd).on("close", onGone).on("error", onGone);
  });
}

export const tooLarge = (limit: number) =>
  new ApiError(413, `the body is larger than the limit of ${limit} bytes`, { code: "body_too_large" });

/** The JSON of a body. Throws 400 for what is none, or nests without end. */
export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw new ApiError(400, "the body is not UTF-8", { code: "invalid_json" });
  const text = bytes.toString("utf8");
  if (levelsOf(text) > mostLevels) throw new ApiError(400, `the body nests deeper than ${mostLevels} levels`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ApiError(400, `the body is not JSON: ${(error as Error).message.slice(0, 120)}`, {
      code: "invalid_json",
    });
  }
}

function levelsOf(text: string): number {
  let [level, deepest, quoted] = [0, 0, false];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x5c && quoted) at++;
    else if (code === 0x22) quoted = !quoted;
    else if (quoted) continue;
    else if (code === 0x5b || code === 0x7b) deepest = Math.max(deepest, ++level);
    else if (code === 0x5d || code === 0x7d) level--;
  }
  return deepest;
}

/** The object of a body. */
export async function readObject(incoming: IncomingMessage, limit: number): Promise<Record<string, unknown>> {
  const value = parseJson(await readBody(incoming, limit));
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new ApiError(400, "expected a JSON object for the body", { code: "invalid_json" });
}

/** Answers with an error, unless an answer has begun; what is left of the body is dropped. */
export function sendError(incoming: IncomingMessage, outgoing: ServerResponse, error: ApiError): void {
  if (outgoing.headersSent) {
    outgoing.destroy();
    return;
  }
  const body = error.body();
  outgoing.writeHead(error.status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    ...(incoming.complete ? {} : { connection: "close" }),
    ...error.headers,
  });
  outgoing.end(body);
  if (incoming.complete) return;
  incoming.resume();
  const timer = setTimeout(() => incoming.destroy(), drainTime);
  incoming.once("close", () => clearTimeout(timer));
}

export function sendJson(outgoing: ServerResponse, value: unknown, headers: Record<string, string> = {}): void {
  const body = JSON.stringify(value);
  outgoing.writeHead(200, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    ...headers,
  });
  outgoing.end(body);
}

/** Aborted when the client leaves before it has its answer. */
export function leavingOf(outgoing: ServerResponse): AbortSignal {
  const controller = new AbortController();
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) controller.abort();
  });
  return controller.signal;
}
