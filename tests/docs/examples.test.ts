// Every exported function has a TSDoc example, and every example, those of the Markdown pages too, compiles against the package as a user
// sees it.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { root } from "../layout/sources.js";
import { documented, examplesOf, typeErrors } from "./examples.js";

describe("TSDoc examples", () => {
  const index = path.join(root, "src/index.ts");
  const items = existsSync(index) ? documented(index) : [];

  test("every exported function has one", () => {
    expect(items.length).toBeGreaterThan(0);
    expect(items.filter((item) => item.callable && item.examples.length === 0).map((item) => item.name)).toEqual([]);
  });

  test("every one compiles", () => {
    expect(typeErrors(items)).toEqual([]);
  });

  test("one that does not compile is named", () => {
    const wrong = 'import { StillroomError } from "stillroom";\nnew StillroomError("input", 3);\n';
    const errors = typeErrors([{ name: "planted", callable: true, examples: [wrong] }]);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(/^planted: Argument of type 'number'/);
  });
});

test("examples in README.md and docs/ compile", () => {
  const pages = ["README.md", ...readdirSync(path.join(root, "docs")).map((name) => `docs/${name}`)];
  const items = pages
    .filter((page) => page.endsWith(".md"))
    .map((page) => ({
      name: page,
      callable: false,
      examples: examplesOf(readFileSync(path.join(root, page), "utf8")),
    }));
  expect(items.find(({ name }) => name === "docs/api.md")?.examples.length).toBeGreaterThan(0);
  expect(typeErrors(items)).toEqual([]);
});
