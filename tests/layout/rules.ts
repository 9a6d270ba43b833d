// The layout rules as functions from source files to complaints, so that each can be shown a file that breaks it.
import { importsOf, includesOf, membersOf, type SourceFile } from "./sources.js";

/** The rooms of src in the order of the work. A room imports from itself and from those before it. */
export const rooms = [
  "support",
  "model",
  "task",
  "dataset",
  "prompt",
  "tokens",
  "train",
  "adapter",
  "teach",
  "decode",
  "embed",
  "store",
  "evaluate",
  "audit",
  "export",
  "student",
  "batch",
  "queue",
  "serve",
  "jobs",
  "report",
];

const roomOf = (path: string) => /^src\/([^/]+)\//.exec(path)?.[1];

/** The folders that a file outside src may import from besides src. */
function neighboursOf(path: string): string[] {
  if (path === "bin/commands/bench.ts") return ["bin", "bench"];
  return path.startsWith("bin/") ? ["bin"] : ["bin", "bench"];
}

/** Imports point to earlier rooms; src imports nothing of bin, tests or bench; bin imports src only, but for the command that is bench's door. */
export function importRule(file: SourceFile): string[] {
  const complaints: string[] = [];
  const room = roomOf(file.path);
  if (room !== undefined && !rooms.includes(room)) complaints.push(`${file.path}: ${room} is no room of src`);
  for (const name of importsOf(file)) {
    const other = roomOf(name);
    const inside = /^(src|bin|tests|bench)\//.exec(name)?.[1];
    if (file.path.startsWith("src/")) {
      if (inside !== undefined && inside !== "src") complaints.push(`${file.path} imports ${name}`);
      if (room && inside === "src" && (other === undefined || rooms.indexOf(other) > rooms.indexOf(room)))
        complaints.push(`${file.path} imports ${name}, which comes later`);
    } else if (/^(bin|bench)\//.test(file.path) && inside !== undefined) {
      if (inside !== "src" && !neighboursOf(file.path).includes(inside))
        complaints.push(`${file.path} imports ${name}`);
    }
  }
  return complaints;
}

/** src never writes to the console: what it has to say are results, events and errors. */
export function consoleRule(file: SourceFile): string[] {
  if (!file.path.startsWith("src/")) return [];
  const written = membersOf(file).filter((member) => /^console\.|^process\.(stdout|stderr)$/.test(member));
  return written.map((member) => `${file.path} uses ${member}`);
}

/** N-API only in native/addon, ggml and llama.cpp only in native/core (and in the native tests of both). */
export function nativeRule(file: SourceFile): string[] {
  const complaints: string[] = [];
  const includes = includesOf(file);
  const napi = includes.some((name) => /napi\.h$|node_api\.h$/.test(name)) || /\bNapi::|\bnapi_\w/.test(file.code);
  if (napi && !file.path.startsWith("native/addon/")) complaints.push(`${file.path} uses N-API`);
  const llama = includes.some((name) => /^(ggml|gguf|llama)\b/.test(name)) || /\b(ggml|gguf|llama)_\w/.test(file.code);
  if (llama && file.path.startsWith("native/addon/")) complaints.push(`${file.path} uses ggml or llama.cpp`);
  if (file.path.startsWith("native/core/") && includes.some((name) => name.startsWith("addon/")))
    complaints.push(`${file.path} includes the addon`);
  return complaints;
}

/** A file is read in one sitting; a command only translates. */
export function lengthRule(file: SourceFile): string[] {
  const limit = file.path.startsWith("bin/commands/") ? 120 : 500;
  const lines = file.text.split("\n").length - 1;
  return lines >= limit ? [`${file.path} has ${lines} lines, the limit is ${limit}`] : [];
}

/** A file opens with a line that says what it owns. */
export function headerRule(file: SourceFile): string[] {
  const opening = file.text.replace(/^#![^\n]*\n/, "");
  const comment = file.path.endsWith(".py") ? /^# ?\S|^"""\S/ : /^\/\/ ?\S|^\/\*/;
  return comment.test(opening) ? [] : [`${file.path} opens without a comment`];
}
