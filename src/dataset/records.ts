// What every reader of this room gives: records as they stand in the file, good or bad. Knows no task.
import { cannot, isAbsent, StillroomError } from "../support/errors.js";

/** A record of a file: its fields by the file's own names, or why it cannot be used. */
export type RawRecord = { line: number; fields: Record<string, unknown> } | { line: number; reason: string };

export interface ReadOptions {
  /** Longest record in bytes; a longer one is a bad row and takes no more memory than this. */
  maxBytes: number;
  signal?: AbortSignal | undefined;
}

export const defaultMaxBytes = 16 * 1024 * 1024;

/** Deepest nesting of a value that is taken from a file. */
export const depthLimit = 32;

/** An object that has no prototype, so that a field named __proto__ is only a field. */
export function emptyFields(): Record<string, unknown> {
  return Object.create(null) as Record<string, unknown>;
}

const loneSurrogate = /\p{Surrogate}/u;

/** Why a text cannot stand in a prompt, or null. */
export function textFault(text: string): string | null {
  if (text.includes("\0")) return "holds a NUL character";
  if (loneSurrogate.test(text)) return "holds a lone surrogate (half of a UTF-16 pair)";
  return null;
}

/** The first fault of any text in a value, keys included; also nesting beyond {@link depthLimit}. */
export function valueFault(value: unknown, depth = 0): string | null {
  if (typeof value === "string") return textFault(value);
  if (typeof value !== "object" || value === null) return null;
  if (depth >= depthLimit) return `is nested deeper than ${depthLimit} levels`;
  if (Array.isArray(value)) {
    for (const item of value) {
      const fault = valueFault(item, depth + 1);
      if (fault !== null) return fault;
    }
    return null;
  }
  for (const [key, item] of Object.entries(value)) {
    const fault = textFault(key) ?? valueFault(item, depth + 1);
    if (fault !== null) return fault;
  }
  return null;
}

/** A value of JSON as the fields of a record, or why it is none. */
export function fieldsOf(value: unknown): Record<string, unknown> | string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "is not a JSON object";
  return valueFault(value) ?? Object.assign(emptyFields(), value);
}

/** The error for a data file that cannot be opened or read. */
export function unreadable(file: string, error: unknown): StillroomError {
  if (error instanceof StillroomError) return error;
  const { code } = error as NodeJS.ErrnoException;
  return cannot("read", file, error, isAbsent(error) || code === "EISDIR" ? "input" : "io");
}
