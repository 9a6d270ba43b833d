// Where the package lies, and where this user's cache lies. Creates neither.
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** The package's root: of the sources as of the compiled files under dist/. */
export function packageRoot(): string {
  const here = path.dirname(fileURLToPath(import.meta.url));
  return path.resolve(here, path.basename(path.resolve(here, "../..")) === "dist" ? "../../.." : "../..");
}

/** stillroom's folder under XDG_CACHE_HOME, else under ~/.cache. */
export function cacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const base = environment.XDG_CACHE_HOME;
  // The XDG specification: a relative path is to be ignored.
  return path.join(base && path.isAbsolute(base) ? base : path.join(os.homedir(), ".cache"), "stillroom");
}
