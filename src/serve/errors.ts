// What goes wrong in a request, in the shape that OpenAI's clients read. Knows no route.
import { StillroomError } from "../support/errors.js";

/** A request that is answered by an error. */
export class ApiError extends Error {
  readonly param: string | null;
  readonly code: string | null;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    readonly status: number,
    message: string,
    more: { code?: string | null; param?: string | null; headers?: Record<string, string> } = {},
  ) {
    super(message);
    this.param = more.param ?? null;
    this.code = more.code ?? null;
    this.headers = more.headers ?? {};
  }

  /** {error: {message, type, param, code}}. */
  body(): string {
    const { message, param, code } = this;
    return JSON.stringify({ error: { message, type: typeOf(this.status), param, code } });
  }
}

function typeOf(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

/** The error for a client. A fault of ours says nothing of our insides: whoever runs the server reads it in the log. */
export function apiErrorOf(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof StillroomError) {
    if (error.code === "usage" || error.code === "input") return new ApiError(400, error.message);
    if (error.code === "cancelled") return new ApiError(503, "the server is stopping", { code: "stopping" });
  }
  return new ApiError(500, "the server failed; its log says why", { code: "internal" });
}

/** Too many wait. */
export const queueFull = (waiting: number): ApiError =>
  new ApiError(429, `${waiting} requests wait already; try again later`, {
    code: "queue_full",
    headers: { "retry-after": "2" },
  });

/** What a body lacks, with the field that it names. */
export function badBody(reason: string): ApiError {
  const param = /^body\.([^:;]+):/.exec(reason)?.[1] ?? null;
  return new ApiError(400, reason, { param, code: "invalid_value" });
}
