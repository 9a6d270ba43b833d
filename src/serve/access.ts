// Who may ask: the names that the server answers to, and the tokens that open it. Knows no route.
import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { cannot, StillroomError } from "../support/errors.js";
import { ApiError } from "./errors.js";

const digest = (text: string) => createHash("sha256").update(text).digest();

/** Tokens by their digests, so that a comparison takes the same time whatever is offered. */
export class Tokens {
  readonly #known: { digest: Buffer; name: string }[];

  /** A token a line, then white space and a name for the log where wanted; empty lines and those with # before them do not count. Throws "missing" or "input". */
  constructor(file: string) {
    let text: string;
    try {
      text = readFileSync(file, "utf8");
    } catch (error) {
      throw cannot("read the file of tokens", file, error, "missing");
    }
    const lines = text.split(/\r?\n/).map((line, index) => ({ line: line.trim(), number: index + 1 }));
    this.#known = lines
      .filter(({ line }) => line !== "" && !line.startsWith("#"))
      .map(({ line, number }) => {
        const [token, ...name] = line.split(/\s+/) as [string, ...string[]];
        if (token.length < 16)
          throw new StillroomError("input", `${file}:${number}: expected a token of at least 16 characters`);
        return { digest: digest(token), name: name.join(" ") || `line ${number}` };
      });
    if (this.#known.length === 0) throw new StillroomError("input", `${file} holds no token`);
  }

  /** The name of the token that a request shows. Throws 401. */
  require(header: string | undefined): string {
    const offered = digest(/^Bearer +(\S+)$/i.exec(header ?? "")?.[1] ?? "");
    let found: string | null = null;
    for (const known of this.#known) if (timingSafeEqual(known.digest, offered)) found = known.name;
    if (found !== null) return found;
    throw new ApiError(401, "expected a token of this server: Authorization: Bearer TOKEN", {
      code: "invalid_api_key",
      headers: { "www-authenticate": "Bearer" },
    });
  }
}

export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));

/** The name in a Host header or behind an origin's //, without its port. */
function nameIn(authority: string): string {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:/@\s]+))(?::\d{1,5})?$/.exec(authority);
  return (match?.[1] ?? match?.[2] ?? "").toLowerCase();
}

/**
 * Only names that are this server's: a page of the web whose name was turned to this address (DNS rebinding) calls it by a name of its own. An address
 * cannot be turned to anything.
 */
export function requireHost(host: string | undefined, origin: string | undefined, allowed: ReadonlySet<string>): void {
  const ours = (name: string) => name === "localhost" || isIP(name) !== 0 || allowed.has(name);
  if (!ours(nameIn(host ?? "")))
    throw new ApiError(421, "this server is not known by the name in the Host header; --allow-host adds one", {
      code: "wrong_host",
    });
  // Browsers say which page asks.
  const page = origin === undefined ? null : nameIn(origin.replace(/^[a-z]+:\/\//, ""));
  if (page !== null && !isLoopback(page) && !allowed.has(page))
    throw new ApiError(403, "pages of other servers may not ask here; --allow-host adds one", { code: "wrong_origin" });
}
