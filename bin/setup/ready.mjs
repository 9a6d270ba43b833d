// Makes a clone ready to run: the tools are there, node_modules is what the lock file says, native/ and TypeScript are compiled.
// Each part does nothing when nothing changed. No dependencies: it runs before npm ci.
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { fingerprint, isStamped } from "./stamp.mjs";
import { requireTools, run } from "./tools.mjs";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

function step(command, args) {
  if (!run(command, args, { cwd: root })) process.exit(1);
}

/** Ends the process with a sentence when a part fails. nativeTests: compile them too. */
export function makeReady({ nativeTests = false } = {}) {
  requireTools();
  const installed = isStamped(
    path.join(root, "node_modules/.stillroom-lock"),
    fingerprint(root, ["package-lock.json"]),
  );
  if (!installed || !existsSync(path.join(root, "node_modules/typescript"))) {
    step("npm", ["ci", "--include=dev", "--no-progress"]);
    if (!nativeTests) return;
  }
  step(process.execPath, [path.join(root, "bin/setup/native.mjs"), ...(nativeTests ? ["--tests"] : [])]);
  step(process.execPath, [path.join(root, "bin/setup/typescript.mjs")]);
}
