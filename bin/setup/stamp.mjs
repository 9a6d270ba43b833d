// Whether a build step has anything to do: a hash over the contents of its inputs, kept beside its output.
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";

function* filesUnder(entry) {
  if (!existsSync(entry)) return;
  if (!statSync(entry).isDirectory()) {
    yield entry;
    return;
  }
  for (const name of readdirSync(entry).sort()) yield* filesUnder(path.join(entry, name));
}

/** SHA-256 over names and contents of files and folders (relative to root) and over the given words. */
export function fingerprint(root, entries, words = []) {
  const hash = createHash("sha256");
  for (const word of words) hash.update(`${word}\0`);
  for (const entry of entries) {
    for (const file of filesUnder(path.join(root, entry))) {
      hash.update(`${path.relative(root, file)}\0`);
      hash.update(readFileSync(file));
    }
  }
  return hash.digest("hex");
}

/** Removes a build folder that CMake configured for other sources: CMake refuses one whose clone was moved or copied. */
export function forgetMoved(folder, sources) {
  const cache = path.join(folder, "CMakeCache.txt");
  if (!existsSync(cache)) return;
  const text = readFileSync(cache, "utf8");
  const isStill = (key, place) => {
    const known = new RegExp(`^${key}:INTERNAL=(.*)$`, "m").exec(text)?.[1] ?? "";
    return existsSync(known) && realpathSync(known) === realpathSync(place);
  };
  if (isStill("CMAKE_HOME_DIRECTORY", sources) && isStill("CMAKE_CACHEFILE_DIR", folder)) return;
  rmSync(folder, { recursive: true });
}

export function isStamped(file, value) {
  return existsSync(file) && readFileSync(file, "utf8") === value;
}

export function stamp(file, value) {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, value);
}

/** Removes what a step that was cut off left beside its output: what begins so in a folder. */
export function removeLeftovers(folder, beginning) {
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder).filter((name) => name.startsWith(beginning)))
    rmSync(path.join(folder, name), { recursive: true, force: true });
}

/** Where a clone remembers which lock file its node_modules was made from, and what it remembers of this one. */
export function packagesStamp(root) {
  return { file: path.join(root, "node_modules/.stillroom-lock"), value: fingerprint(root, ["package-lock.json"]) };
}
