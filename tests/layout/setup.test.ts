// What npm ci, npm start and npm test do before anything of ours runs.
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { forgetMoved } from "../../bin/setup/stamp.mjs";

test("a build folder is given up where its clone was moved or copied, and only there", () => {
  const clone = mkdtempSync(path.join(os.tmpdir(), "stillroom-setup-"));
  const build = path.join(clone, "build/native");
  const configured = (home: string, folder: string) => {
    mkdirSync(build, { recursive: true });
    const lines = [`CMAKE_CACHEFILE_DIR:INTERNAL=${folder}`, `CMAKE_HOME_DIRECTORY:INTERNAL=${home}`];
    writeFileSync(path.join(build, "CMakeCache.txt"), `# comment\n${lines.join("\n")}\n`);
    forgetMoved(build, clone);
    return existsSync(build);
  };
  expect(configured(clone, build)).toBe(true);
  expect(configured("/before", "/before/build/native")).toBe(false);
  expect(configured(clone, "/before/build/native")).toBe(false);
  forgetMoved(build, clone);
});
