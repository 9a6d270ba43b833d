// What a page of ours may run and load, as a Content-Security-Policy: what stands in it, by hash, and nothing else.
import { createHash } from "node:crypto";

const hashOf = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** @param more - further directives, such as connect-src 'self' */
export function policyOf(style: string, scripts: readonly string[], more: readonly string[]): string {
  const own = [`style-src ${hashOf(style)}`, `script-src ${scripts.map(hashOf).join(" ")}`];
  return ["default-src 'none'", ...more, ...own].join("; ");
}
