// Makes a clone ready to run: the tools are there, node_modules is what the lock file says, native/ and TypeScript are compiled.
// Each part does nothing when nothing changed. No dependencies: it runs before npm ci.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { fingerprint, isStamped, stamp } from "./stamp.mjs";
import { requireTools, run } from "./tools.mjs";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

function installPackages() {
  const stampFile = path.join(root, "node_modules/.stillroom-lock");
  const inputs = fingerprint(root, ["package-lock.json"]);
  if (isStamped(stampFile, inputs) && existsSync(path.join(root, "node_modules/typescript"))) return;
  // Our own scripts, which npm would run one after the other, are what compileAll does; those of the packages are not allowed anyway (allowScripts).
  if (!run("npm", ["ci", "--include=dev", "--ignore-scripts", "--no-progress"], { cwd: root })) process.exit(1);
  stamp(stampFile, inputs);
}

/** Runs a script of this folder with our terminal; resolves to whether it succeeded. */
function script(name, args = []) {
  const child = spawn(process.execPath, [path.join(root, "bin/setup", name), ...args], { cwd: root, stdio: "inherit" });
  return new Promise((resolve) => child.on("close", (status) => resolve(status === 0)));
}

/** Ends the process with a sentence when a part fails. nativeTests: compile them too. */
export async function makeReady({ nativeTests = false } = {}) {
  requireTools();
  installPackages();
  const done = await Promise.all([script("native.mjs", nativeTests ? ["--tests"] : []), script("typescript.mjs")]);
  if (done.includes(false)) process.exit(1);
}
