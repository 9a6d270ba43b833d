// The table of exit codes in docs/cli.md is the one that the program uses.
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { exitCodes } from "../../src/support/errors.js";
import { root } from "../layout/sources.js";

test("docs/cli.md holds every error code with its exit code", () => {
  const text = readFileSync(path.join(root, "docs/cli.md"), "utf8");
  const rows = [...text.matchAll(/^\| (\d+) \|[^|]*\| `(\w+)` \|$/gm)].map((match) => [match[2], Number(match[1])]);
  expect(Object.fromEntries(rows)).toEqual(exitCodes);
});
