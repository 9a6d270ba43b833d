// Makes a clone ready to run: the tools are there, node_modules is what the lock file says, native/ and TypeScript are compiled.
// Each part does nothing when nothing changed. No dependencies: it runs before npm ci.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { isStamped, packagesStamp, stamp } from "./stamp.mjs";
import { requireTools } from "./tools.mjs";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

async function installPackages() {
  const { file, value } = packagesStamp(root);
  if (isStamped(file, value) && existsSync(path.join(root, "node_modules/typescript"))) return;
  // Our own scripts, which npm would run one after the other, are makeReady's; those of the packages are not allowed anyway (allowScripts).
  const npm = spawn("npm", ["ci", "--include=dev", "--ignore-scripts", "--no-progress"], {
    cwd: root,
    stdio: "inherit",
  });
  // Told to stop, npm first undoes what it did, for half a minute in which the next one trips over it; the next one begins by removing all of it.
  const stop = (signal) => {
    npm.kill("SIGKILL");
    process.exit(signal === "SIGINT" ? 130 : 143);
  };
  const signals = ["SIGINT", "SIGTERM"];
  for (const signal of signals) process.on(signal, stop);
  const status = await new Promise((resolve) => npm.on("close", resolve).on("error", resolve));
  for (const signal of signals) process.off(signal, stop);
  if (status !== 0) process.exit(1);
  stamp(file, value);
}

/** Runs a script of this folder; resolves to whether it succeeded. What it prints is ours at once, or, held, when `after` has settled. */
async function script(name, args, after) {
  const output = after ? "pipe" : "inherit";
  const child = spawn(process.execPath, [path.join(root, "bin/setup", name), ...args], {
    cwd: root,
    stdio: ["inherit", output, output],
  });
  const held = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk) => held.push(chunk));
  const status = await new Promise((resolve) => child.on("close", resolve));
  await after;
  for (const chunk of held) process.stderr.write(chunk);
  return status === 0;
}

/** Ends the process with a sentence when a part fails. nativeTests: compile them too. */
export async function makeReady({ nativeTests = false } = {}) {
  requireTools();
  await installPackages();
  const native = script("native.mjs", nativeTests ? ["--tests"] : []);
  // Errors of the one are not to stand among the lines of the other.
  const typescript = script("typescript.mjs", [], native);
  if (!(await native) || !(await typescript)) process.exit(1);
}
