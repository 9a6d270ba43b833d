// The source files of the checkout as the layout rules see them: path, text, text without comments, imports.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseSync, Visitor } from "oxc-parser";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

export interface SourceFile {
  /** Relative to the root, with forward slashes. */
  path: string;
  text: string;
  /** C++ with comments and the contents of strings blanked; line breaks stay. */
  code: string;
}

const blanked = (text: string) => text.replace(/[^\n]/g, " ");

/** Blanks comments and string contents, so that a word in prose breaks no rule. */
export function codeOf(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"/g, blanked);
}

/** Every file under the folders whose name ends with one of the endings. */
export function sources(folders: string[], endings: string[]): SourceFile[] {
  const found: SourceFile[] = [];
  for (const folder of folders) {
    const full = path.join(root, folder);
    if (!existsSync(full)) continue;
    for (const entry of readdirSync(full, { withFileTypes: true, recursive: true })) {
      if (!entry.isFile() || !endings.some((ending) => entry.name.endsWith(ending))) continue;
      const file = path.join(entry.parentPath, entry.name);
      const text = readFileSync(file, "utf8");
      found.push({ path: path.relative(root, file).split(path.sep).join("/"), text, code: codeOf(text) });
    }
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** What a TypeScript file imports or exports from: modules as written, relative ones resolved against the root. */
export function importsOf(file: SourceFile): string[] {
  const found: string[] = [];
  const from = (node: { source: { value: unknown } | null }) => {
    if (typeof node.source?.value !== "string") return;
    const name = node.source.value;
    found.push(name.startsWith(".") ? path.posix.join(path.posix.dirname(file.path), name) : name);
  };
  new Visitor({
    ImportDeclaration: from,
    ExportNamedDeclaration: from,
    ExportAllDeclaration: from,
    ImportExpression: (node) => from({ source: node.source.type === "Literal" ? node.source : null }),
    TSImportType: from,
  }).visit(parseSync(file.path, file.text).program);
  return found;
}

/** The first two words of every member access of a TypeScript file, such as "console.log" and "process.stderr". */
export function membersOf(file: SourceFile): string[] {
  const found: string[] = [];
  new Visitor({
    MemberExpression({ object, property, computed }) {
      if (!computed && object.type === "Identifier" && property.type === "Identifier")
        found.push(`${object.name}.${property.name}`);
    },
  }).visit(parseSync(file.path, file.text).program);
  return found;
}

/** What a C++ file includes. */
export function includesOf(file: SourceFile): string[] {
  return [...file.text.matchAll(/^\s*#\s*include\s*[<"]([^>"]+)[>"]/gm)].map((match) => match[1] ?? "");
}
