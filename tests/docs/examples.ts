// Reads the examples out of the TSDoc of what src/index.ts exports and out of Markdown, and type-checks them as users' files.
// Knows TypeScript's compiler, nothing of what is documented.
import path from "node:path";
import ts from "typescript";
import { root } from "../layout/sources.js";

export interface Documented {
  name: string;
  /** Functions must have an example; classes and values may. */
  callable: boolean;
  /** The bodies of its ```ts blocks. */
  examples: string[];
}

const index = path.join(root, "src/index.ts");

function compilerOptions(): ts.CompilerOptions {
  const config = ts.readConfigFile(path.join(root, "tsconfig.json"), ts.sys.readFile);
  const parsed = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
  return { ...parsed.options, noEmit: true, noUnusedLocals: false, paths: { stillroom: [index] } };
}

function examplesIn(node: ts.Node): string[] {
  const full = node.getSourceFile().text;
  const ranges = ts.getLeadingCommentRanges(full, node.getFullStart()) ?? [];
  const docs = ranges.map((range) => full.slice(range.pos, range.end)).filter((text) => text.startsWith("/**"));
  const text = docs.map((doc) => doc.replace(/^[ \t]*\* ?/gm, "")).join("\n");
  return examplesOf(text);
}

/** The bodies of a text's ```ts blocks. */
export function examplesOf(text: string): string[] {
  return [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1] ?? "");
}

/** Everything that src/index.ts exports as a value, with its examples. */
export function documented(entry = index): Documented[] {
  const program = ts.createProgram([entry], compilerOptions());
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(entry);
  const module = source && checker.getSymbolAtLocation(source);
  if (!module) return [];
  const found: Documented[] = [];
  for (const exported of checker.getExportsOfModule(module)) {
    const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
    if (!(symbol.flags & ts.SymbolFlags.Value)) continue;
    const declarations = symbol.declarations ?? [];
    const nodes = declarations.map((node) => (ts.isVariableDeclaration(node) ? node.parent.parent : node));
    found.push({
      name: exported.name,
      callable: checker.getTypeOfSymbol(symbol).getCallSignatures().length > 0,
      examples: nodes.flatMap(examplesIn),
    });
  }
  return found;
}

/** Type errors of each example, as "name: message". */
export function typeErrors(items: Documented[]): string[] {
  const files = new Map<string, { name: string; text: string }>();
  for (const { name, examples } of items) {
    examples.forEach((text, place) => {
      // An example is a module of its own, whether or not it imports.
      files.set(path.join(root, `tests/docs/example-${name.replaceAll("/", "-")}-${place}.ts`), {
        name,
        text: `${text}\nexport {};\n`,
      });
    });
  }
  const options = compilerOptions();
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists, getSourceFile } = host;
  host.fileExists = (file) => files.has(file) || fileExists(file);
  host.readFile = (file) => files.get(file)?.text ?? readFile(file);
  host.getSourceFile = (file, version, ...rest) => {
    const text = files.get(file)?.text;
    return text === undefined ? getSourceFile(file, version, ...rest) : ts.createSourceFile(file, text, version, true);
  };
  const program = ts.createProgram([...files.keys()], options, host);
  return [...files].flatMap(([file, { name }]) => {
    const source = program.getSourceFile(file);
    const diagnostics = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    return diagnostics.map(({ messageText }) => `${name}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`);
  });
}
