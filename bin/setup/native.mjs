// Compiles native/ against the llama.cpp of node-llama-cpp: headers from its git bundle, prebuilt libraries from its platform package.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const require = createRequire(path.join(root, "package.json"));
const build = path.join(root, "build");

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { stdio: "inherit", cwd: root, ...options });
  if (result.status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${result.status ?? result.signal}`);
}

function packageFolder(name) {
  for (const folder of require.resolve.paths(name) ?? []) {
    const candidate = path.join(folder, name);
    if (existsSync(path.join(candidate, "package.json"))) return candidate;
  }
  return undefined;
}

const llama = packageFolder("node-llama-cpp");
const platform = { "linux-x64": "linux-x64", "linux-arm64": "linux-arm64", "darwin-arm64": "mac-arm64-metal", "darwin-x64": "mac-x64" }[
  `${process.platform}-${process.arch}`
];
const libraries = path.join(packageFolder(`@node-llama-cpp/${platform}`), "bins", platform);
const source = path.join(build, "llama.cpp");
if (!existsSync(path.join(source, "include/llama.h"))) {
  mkdirSync(build, { recursive: true });
  run("git", ["clone", "--quiet", path.join(llama, "llama/gitRelease.bundle"), source]);
}
run(process.execPath, [
  require.resolve("cmake-js/bin/cmake-js"), "build", "--parallel", "2", "--out", path.join(build, "native"),
  `--CDSTILLROOM_LLAMA_SOURCE=${source}`,
  `--CDSTILLROOM_LLAMA_LIBRARIES=${libraries}`,
  `--CDNODE_ADDON_API_INCLUDE=${path.dirname(require.resolve("node-addon-api/package.json"))}`,
]);
