// Holds the checkout to its layout: the direction of imports, who may use what, lengths, headers and the map in README.md.
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { withMap } from "../../bin/setup/map.mjs";
import { consoleRule, headerRule, importRule, lengthRule, nativeRule } from "./rules.js";
import { codeOf, root, type SourceFile, sources } from "./sources.js";

const typescript = sources(["src", "bin", "bench", "tests"], [".ts", ".mjs"]);
const native = sources(["native"], [".h", ".cpp"]);
const python = sources(["tests", "bench"], [".py"]);
const everything = [...typescript, ...native, ...python];

const file = (at: string, text: string): SourceFile => ({ path: at, text, code: codeOf(text) });

describe("the checkout keeps its layout", () => {
  test.each([
    ["imports point upstream", importRule, typescript],
    ["src is silent", consoleRule, typescript],
    ["N-API and llama.cpp stay apart", nativeRule, native],
    ["files are short", lengthRule, everything],
    ["files say what they own", headerRule, everything],
  ] as const)("%s", (_name, rule, files) => {
    expect(files.length).toBeGreaterThan(0);
    expect(files.flatMap(rule)).toEqual([]);
  });

  test("README.md holds the current map (npm run map)", () => {
    const readme = readFileSync(path.join(root, "README.md"), "utf8");
    expect(readme).toBe(withMap(readme, root));
  });
});

describe("each rule catches what breaks it", () => {
  test.each<[string, (file: SourceFile) => string[], SourceFile]>([
    ["a later room", importRule, file("src/task/a.ts", 'import { tune } from "../train/index.js";\n')],
    [
      "a later room, re-exported",
      importRule,
      file("src/task/a.ts", 'export {\n  tune,\n} from "../train/index.js";\n'),
    ],
    ["a later room, imported lazily", importRule, file("src/task/a.ts", 'await import("../train/index.js");\n')],
    ["the index from a room", importRule, file("src/task/a.ts", 'import { tune } from "../index.js";\n')],
    ["the program from src", importRule, file("src/task/a.ts", 'import { print } from "../../bin/print.js";\n')],
    ["bench from a command", importRule, file("bin/commands/a.ts", 'import { trial } from "../../bench/tune.js";\n')],
    ["tests from bench", importRule, file("bench/a.ts", 'import { writeToy } from "../tests/support/toy.js";\n')],
    ["tests from bin", importRule, file("bin/a.ts", 'import { needs } from "../tests/support/needs.js";\n')],
    ["an unknown room", importRule, file("src/attic/a.ts", "// a\n")],
    ["console", consoleRule, file("src/task/a.ts", "console.log(1);\n")],
    ["stderr", consoleRule, file("src/task/a.ts", "process.stderr.write(text);\n")],
    ["N-API in core", nativeRule, file("native/core/a.cpp", "#include <napi.h>\n")],
    ["ggml in the addon", nativeRule, file("native/addon/a.cpp", "ggml_free(context);\n")],
    ["llama.h in the addon", nativeRule, file("native/addon/a.cpp", '#include "llama.h"\n')],
    ["the addon in core", nativeRule, file("native/core/a.cpp", '#include "addon/work.h"\n')],
    ["a long file", lengthRule, file("src/task/a.ts", "// a\n".repeat(500))],
    ["a long command", lengthRule, file("bin/commands/a.ts", "// a\n".repeat(120))],
    ["no header", headerRule, file("src/task/a.ts", 'import "./b.js";\n')],
  ])("%s", (_name, rule, broken) => {
    expect(rule(broken)).toHaveLength(1);
  });

  test.each<[string, (file: SourceFile) => string[], SourceFile]>([
    ["an earlier room", importRule, file("src/train/a.ts", 'import { readTask } from "../task/index.js";\n')],
    [
      "the door to bench",
      importRule,
      file("bin/commands/bench.ts", 'import { trial } from "../../bench/commands.js";\n'),
    ],
    ["the index", importRule, file("src/index.ts", 'export { tune } from "./train/index.js";\n')],
    ["the word console in a comment", consoleRule, file("src/task/a.ts", "// never console.log\n")],
    ["console in the text of a child's program", consoleRule, file("src/task/a.ts", "const a = `console.log(1)`;\n")],
    [
      "a string after an export",
      importRule,
      file("src/task/a.ts", 'export const b = 1\nconst a = "../train/index.js";\n'),
    ],
    ["ggml_ in prose of the addon", nativeRule, file("native/addon/a.cpp", "// ggml_free is core's affair\n")],
    ["a shebang before the header", headerRule, file("bin/a.ts", "#!/usr/bin/env node\n// The program.\n")],
  ])("and lets pass: %s", (_name, rule, fine) => {
    expect(rule(fine)).toEqual([]);
  });
});
