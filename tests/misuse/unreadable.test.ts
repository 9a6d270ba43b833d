// Models and adapters that cannot be read: told in plain words, with what helps, before the native reader has the system's.
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, it } from "vitest";
import { resolveModel } from "../../src/model/index.js";
import { refusedToNobody } from "./nobody.js";

const folder = mkdtempSync(path.join(tmpdir(), "stillroom-unreadable-"));

it.each([
  ["model", "model/resolve.js", "resolveModel(file)"],
  ["adapter", "adapter/load.js", "loadAdapter(null, file)"],
])("the %s that this user may not read", async (what, module, call) => {
  const file = path.join(folder, `${what}.gguf`);
  writeFileSync(file, "GGUF");
  chmodSync(folder, 0o755);
  chmodSync(file, 0);
  const stdout = await refusedToNobody(file, module, call);
  expect(stdout).toBe(`io cannot read the ${what} ${file}: this user has no right to it; chmod or chown gives it\n`);
});

it("a pipe in a model's place is called one, and nothing waits for it", async () => {
  const pipe = path.join(folder, "pipe.gguf");
  execFileSync("mkfifo", [pipe]);
  await expect(resolveModel(pipe)).rejects.toMatchObject({
    code: "input",
    // What was received is cut where it is long.
    message: expect.stringMatching(/^expected a GGUF file for model, received "a pipe or a device: /),
  });
});
