// The checks of options that later rooms share. Knows no command.
import { StillroomError, unexpected } from "../support/errors.js";
import { nearestName } from "./nearest.js";

/** Throws "usage" for what is no task of {@link readTask}: the path of a task file, for one. */
export function requireTask(task: unknown): void {
  const known = typeof task === "object" && task !== null && ["kind", "data", "prompt"].every((name) => name in task);
  if (!known) throw unexpected("what readTask gives", "task", task);
}

/** Throws "usage" for options that are no object, and for a name that is not in known, with the nearest one that is. */
export function requireKnown(options: unknown, known: readonly string[], where: string): asserts options is object {
  if (typeof options !== "object" || options === null)
    throw unexpected("an object", `the options of ${where}`, options);
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const near = nearestName(name, known);
    throw new StillroomError("usage", `${where} has no option ${name}${near ? `; did you mean ${near}?` : ""}`);
  }
}

/** A whole number of at least `least`, or undefined. Throws "usage". */
export function requireWhole(name: string, value: unknown, least: number): asserts value is number | undefined {
  if (value === undefined || (Number.isSafeInteger(value) && (value as number) >= least)) return;
  throw unexpected(`a whole number of at least ${least}`, name, value);
}

/** A finite number of a range, which `words` name. Throws "usage". */
export function requireReal(
  name: string,
  value: unknown,
  words: string,
  holds: (value: number) => boolean,
): asserts value is number {
  if (typeof value !== "number" || !Number.isFinite(value) || !holds(value)) throw unexpected(words, name, value);
}

/** A number from 0 to 1. Throws "usage". */
export function requireShare(name: string, value: unknown): void {
  requireReal(name, value, "a number from 0 to 1", (share) => share >= 0 && share <= 1);
}

/** One of the texts that are known. Throws "usage". */
export function requireOneOf<T extends string>(name: string, value: unknown, known: readonly T[]): asserts value is T {
  if (!known.includes(value as T)) throw unexpected(`one of ${known.join(", ")}`, name, value);
}

/** A path that is not empty. Throws "usage". */
export function requirePath(name: string, value: unknown): asserts value is string {
  if (typeof value !== "string" || value === "") throw unexpected("a path", name, value);
}

/** Where a server listens, 0 for any port that is free. Throws "usage". */
export function requirePort(port: number): void {
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw unexpected("a whole number from 0 to 65535", "port", port);
}
