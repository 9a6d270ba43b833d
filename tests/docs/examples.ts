// Reads the examples out of the TSDoc of what src/index.ts exports and out of Markdown, and type-checks them as users' files.
// Knows TypeScript's syntax and compiler, nothing of what is documented.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type Comment, type Declaration, type Program, parseSync } from "oxc-parser";
import { root } from "../layout/sources.js";

export interface Documented {
  name: string;
  /** Functions must have an example; classes and values may. */
  callable: boolean;
  /** The bodies of its ```ts blocks. */
  examples: string[];
}

/** The bodies of a text's ```ts blocks. */
export function examplesOf(text: string): string[] {
  return [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1] ?? "");
}

type Statement = Program["body"][number];

/** The examples in the TSDoc between a statement and the one before it. */
function examplesAbove(statement: Statement, before: Statement | undefined, comments: readonly Comment[]): string[] {
  const own = comments.filter(({ start, end }) => start >= (before?.end ?? 0) && end <= statement.start);
  const docs = own.filter(({ type, value }) => type === "Block" && value.startsWith("*"));
  return examplesOf(docs.map(({ value }) => value.slice(1).replace(/^[ \t]*\* ?/gm, "")).join("\n"));
}

/** The values that a declaration names, and whether they are functions. */
function valuesOf(declaration: Declaration | null): { name: string; callable: boolean }[] {
  switch (declaration?.type) {
    case "FunctionDeclaration":
    case "TSDeclareFunction":
      return [{ name: declaration.id?.name ?? "", callable: true }];
    case "ClassDeclaration":
    case "TSEnumDeclaration":
      return [{ name: declaration.id?.name ?? "", callable: false }];
    case "VariableDeclaration":
      return declaration.declarations.flatMap(({ id, init }) => {
        const callable = init?.type === "ArrowFunctionExpression" || init?.type === "FunctionExpression";
        return id.type === "Identifier" ? [{ name: id.name, callable }] : [];
      });
    default:
      return [];
  }
}

/** Everything that a module exports as a value, with its examples, from whichever module declares it. */
export function documented(entry = path.join(root, "src/index.ts")): Documented[] {
  const text = readFileSync(entry, "utf8");
  const { program, comments } = parseSync(entry, text);
  return program.body.flatMap((statement, place) => {
    if (statement.type !== "ExportNamedDeclaration" || statement.exportKind === "type") return [];
    if (statement.source === null) {
      if (statement.specifiers.length > 0) throw new Error(`${entry} exports apart from a declaration`);
      const examples = examplesAbove(statement, program.body[place - 1], comments);
      return valuesOf(statement.declaration).map((value) => ({ ...value, examples }));
    }
    const module = path.join(path.dirname(entry), statement.source.value.replace(/\.js$/, ".ts"));
    const there = new Map(documented(module).map((item) => [item.name, item]));
    return statement.specifiers.flatMap(({ local, exported, exportKind }) => {
      if (exportKind === "type") return [];
      const [from, as] = [local, exported].map((one) => (one.type === "Literal" ? one.value : one.name));
      const item = there.get(from!);
      if (item === undefined) throw new Error(`${module} exports no value ${from}`);
      return [{ ...item, name: as! }];
    });
  });
}

/** Type errors of each example, as "name: message". */
export function typeErrors(items: Documented[]): string[] {
  // Below the root, where an import finds node_modules.
  mkdirSync(path.join(root, "build"), { recursive: true });
  const folder = mkdtempSync(path.join(root, "build/examples-"));
  try {
    const names = new Map<string, string>();
    for (const { name, examples } of items) {
      for (const text of examples) {
        const file = `example-${names.size}.ts`;
        names.set(file, name);
        // An example is a module of its own, whether or not it imports.
        writeFileSync(path.join(folder, file), `${text}\nexport {};\n`);
      }
    }
    const options = { noEmit: true, noUnusedLocals: false, rootDir: root };
    writeFileSync(
      path.join(folder, "tsconfig.json"),
      JSON.stringify({
        extends: path.join(root, "tsconfig.json"),
        compilerOptions: { ...options, paths: { stillroom: [path.join(root, "src/index.ts")] } },
        include: ["*.ts"],
      }),
    );
    const compiler = path.join(root, "node_modules/typescript/bin/tsc");
    const { stdout, status } = spawnSync(process.execPath, [compiler, "--pretty", "false", "-p", "."], {
      cwd: folder,
      encoding: "utf8",
    });
    const errors = stdout
      .split("\n")
      .map((line) => /^(?:(.+?)\(\d+,\d+\): )?error TS\d+: (.*)$/.exec(line))
      .flatMap((found) => (found ? [`${names.get(found[1] ?? "") ?? found[1] ?? "tsc"}: ${found[2]}`] : []));
    if (status !== 0 && errors.length === 0) throw new Error(`tsc ended with ${status}: ${stdout}`);
    return errors;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
