// The one error type of stillroom: a code from a closed union, a message that names the thing, the place and the remedy.

/** What went wrong, in one word. Each code has one exit code of the CLI (see {@link exitCodes}). */
export type ErrorCode = "usage" | "input" | "missing" | "gate" | "internal" | "io" | "cancelled";

/** Exit code of the CLI for each {@link ErrorCode}; 0 is success and 2 is success with bad rows. */
export const exitCodes: Readonly<Record<ErrorCode, number>> = {
  gate: 1,
  usage: 64,
  input: 65,
  missing: 69,
  internal: 70,
  io: 74,
  cancelled: 130,
};

/**
 * The error that every public function throws.
 *
 * @example
 * ```ts
 * import { StillroomError } from "stillroom";
 * try {
 *   throw new StillroomError("input", "task.yaml: expected a name for kind, received 3");
 * } catch (error) {
 *   if (error instanceof StillroomError && error.code === "input") console.error(error.message);
 * }
 * ```
 */
export class StillroomError extends Error {
  /** Options that the message names, as the API spells them; a program that spells them otherwise finds them by this. */
  readonly options: readonly string[];

  constructor(
    readonly code: ErrorCode,
    message: string,
    { options = [], ...rest }: { cause?: unknown; options?: readonly string[] } = {},
  ) {
    super(message, rest);
    this.name = "StillroomError";
    this.options = options;
  }
}

/** One sentence form for every bad value: expected WHAT for NAME, received VALUE. */
export function unexpected(what: string, name: string, value: unknown, code: ErrorCode = "usage"): StillroomError {
  return new StillroomError(code, `expected ${what} for ${name}, received ${described(value)}`, { options: [name] });
}

/** A value as messages show it: JSON, cut where it is long. */
export function described(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  // JSON has no NaN and no infinity.
  if (typeof value === "number") return String(value);
  if (value === undefined || typeof value === "function" || typeof value === "symbol") return String(value);
  try {
    const text = JSON.stringify(value, (_key, item) => (typeof item === "bigint" ? `${item}n` : item));
    return text.length > 80 ? `${text.slice(0, 80)}…` : text;
  } catch {
    return Object.prototype.toString.call(value);
  }
}

/** What could not be done with a file or a folder, and why the system says so. */
export function cannot(what: string, file: string, error: unknown, code: ErrorCode = "io"): StillroomError {
  return new StillroomError(code, `cannot ${what} ${file}: ${reasonOf(error, file)}`, { cause: error });
}

/** What the system's codes say of a file or a folder, and what helps. */
const systemWords: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file or folder",
  ENOTDIR: "a file stands where a folder is expected",
  EISDIR: "it is a folder, and a file is expected",
  ERR_FS_EISDIR: "it is a folder, and a file is expected",
  ELOOP: "its symbolic links lead in a circle; let one of them lead to what is meant",
  EACCES: "this user has no right to it; chmod or chown gives it",
  EPERM: "this user has no right to it; chmod or chown gives it",
  EROFS: "the disk can only be read; choose another place",
  ENOSPC: "the disk is full; make room on it, or choose another place",
  EDQUOT: "this user's part of the disk is full; make room on it, or choose another place",
  ENAMETOOLONG: "the name is too long; choose a shorter one",
};

/** What the system says of a call on a file in plain words, without the path where that is the file's, or a temporary one beside or within it: the message around it names the file. */
export function reasonOf(error: unknown, file: string): string {
  const { message, syscall, path = file, code = "" } = error as NodeJS.ErrnoException;
  const named = path === file || path.startsWith(`${file}.`) || path.endsWith(".tmp");
  const said = systemWords[code];
  if (said !== undefined) return named ? said : `${said} (${path})`;
  const at = named ? message.indexOf(`, ${syscall} '`) : -1;
  return at < 0 ? message : message.slice(0, at);
}

/** Whether the system says that nothing lies at a path. */
export function isAbsent(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}
