// Compiles native/ against the llama.cpp of node-llama-cpp: headers from its git bundle, prebuilt libraries from its
// platform package. Where there is no such package, or on request, the bundle's whole source is compiled instead.
//   --force                               compile even when nothing changed
//   --tests                               the native tests too
//   STILLROOM_LLAMA=source                compile llama.cpp from the bundle
//   STILLROOM_SANITIZE=address,undefined  native tests with these sanitizers, in build/sanitize (from source)
//   STILLROOM_FUZZ=1                      fuzz targets, in build/fuzz (from source, needs clang)
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { fingerprint, forgetMoved, isStamped, packagesStamp, removeLeftovers, stamp } from "./stamp.mjs";
import { installLine, requireTools, run } from "./tools.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const require = createRequire(path.join(root, "package.json"));
const build = path.join(root, "build");
const sanitize = process.env.STILLROOM_SANITIZE ?? "";
const fuzz = Boolean(process.env.STILLROOM_FUZZ);
const force = process.argv.includes("--force");
const platforms = {
  "linux-x64": "linux-x64",
  "linux-arm64": "linux-arm64",
  "darwin-arm64": "mac-arm64-metal",
  "darwin-x64": "mac-x64",
};

function say(sentence) {
  process.stderr.write(`stillroom: ${sentence}\n`);
}

function fail(sentence) {
  say(sentence);
  process.exit(1);
}

/** The folder of an installed package as seen from a folder, also where its exports hide package.json. */
function packageFolder(name, from) {
  for (const folder of createRequire(path.join(from, "package.json")).resolve.paths(name) ?? []) {
    const candidate = path.join(folder, name);
    if (existsSync(path.join(candidate, "package.json"))) return realpathSync(candidate);
  }
  return undefined;
}

/** Where the prebuilt libraries of this platform lie, if its package is installed. */
function prebuiltLibraries(llama) {
  const platform = platforms[`${process.platform}-${process.arch}`];
  const musl = process.platform === "linux" && !process.report.getReport().header.glibcVersionRuntime;
  const folder = platform && !musl ? packageFolder(`@node-llama-cpp/${platform}`, llama) : undefined;
  const libraries = folder && path.join(folder, "bins", platform);
  return libraries && existsSync(libraries) ? libraries : undefined;
}

/** llama.cpp as its bundle holds it; of: the paths wanted, or all. Made under another name and renamed, so never half there. */
function unpackLlama(bundle, folder, of) {
  if (of.every((part) => existsSync(path.join(folder, part)))) return folder;
  mkdirSync(build, { recursive: true });
  removeLeftovers(build, "unpack-");
  const work = mkdtempSync(path.join(build, "unpack-"));
  const tree = path.join(work, "tree");
  const clone = ["clone", "--quiet", "--no-checkout", bundle, tree];
  const checkout = ["-C", tree, "checkout", "--quiet", "HEAD", "--", ...of];
  if (!run("git", clone) || !run("git", checkout)) fail(`git could not unpack ${bundle}; reinstall node-llama-cpp`);
  rmSync(path.join(tree, ".git"), { recursive: true });
  rmSync(folder, { recursive: true, force: true });
  renameSync(tree, folder);
  rmSync(work, { recursive: true });
  return folder;
}

function cmakeJs(command, out, options, target) {
  const args = [
    require.resolve("cmake-js/bin/cmake-js"),
    command,
    "--log-level",
    "error",
    "--parallel",
    "2",
    "--directory",
    root,
    "--out",
    out,
  ];
  for (const [name, value] of Object.entries(options)) args.push(`--CD${name}=${value}`);
  if (target) args.push("--target", target);
  if (fuzz) args.push("--prefer-clang");
  const result = spawnSync(process.execPath, args, { stdio: ["ignore", 2, 2], cwd: root });
  if (result.status !== 0) fail(`compiling native/ failed (cmake-js ${command}); the lines above say where`);
}

requireTools();
if (fuzz && spawnSync("clang++", ["--version"], { stdio: "ignore" }).status !== 0) {
  fail(`STILLROOM_FUZZ needs clang: ${installLine("clang", { brew: "llvm" })}`);
}
const llama = packageFolder("node-llama-cpp", root) ?? fail("node-llama-cpp is not installed; run: npm ci");
const llamaVersion = require(path.join(llama, "package.json")).version;
const bundle = path.join(llama, "llama/gitRelease.bundle");
const libraries = prebuiltLibraries(llama);
const fromSource = process.env.STILLROOM_LLAMA === "source" || sanitize !== "" || fuzz || !libraries;
if (!libraries && process.env.STILLROOM_LLAMA !== "source") {
  say(
    `there is no prebuilt llama.cpp for ${process.platform}-${process.arch} here; compiling it from source, which takes some minutes`,
  );
}

const out = path.join(build, sanitize ? "sanitize" : fuzz ? "fuzz" : "native");
const options = {
  STILLROOM_LLAMA: fromSource ? "source" : "prebuilt",
  STILLROOM_LLAMA_LIBRARIES: fromSource ? "" : libraries,
  STILLROOM_LLAMA_SOURCE: path.join(build, `llama.cpp-${llamaVersion}${fromSource ? "" : "-headers"}`),
  STILLROOM_SANITIZE: sanitize,
  STILLROOM_FUZZ: fuzz ? "ON" : "OFF",
  NODE_ADDON_API_INCLUDE: path.dirname(require.resolve("node-addon-api/package.json")),
};
const inputs = fingerprint(
  root,
  ["native", "CMakeLists.txt", "bin/setup/native.mjs"],
  [llamaVersion, JSON.stringify(options)],
);

/** Compiles a target, or all of them, where its product is missing or older than its sources. */
function compile(product, target) {
  const stampFile = path.join(out, "Release", `.${target ?? "all"}.stamp`);
  if (!force && existsSync(path.join(out, "Release", product)) && isStamped(stampFile, inputs)) return;
  const started = Date.now();
  unpackLlama(
    bundle,
    options.STILLROOM_LLAMA_SOURCE,
    fromSource ? ["."] : ["LICENSE", "include", "ggml/include", "ggml/src/ggml-common.h"],
  );
  forgetMoved(out, root);
  cmakeJs("configure", out, options);
  cmakeJs("build", out, options, target);
  stamp(stampFile, inputs);
  say(`compiled native/${target ? ` (${target})` : ""} in ${Math.round((Date.now() - started) / 1000)} s`);
}

if (sanitize || fuzz) compile(sanitize ? "native_tests" : "");
else {
  compile("stillroom.node", "stillroom");
  if (process.argv.includes("--tests")) compile("native_tests", "native_tests");
}
// Of an npm ci by hand; bin/setup/ready.mjs asks, and stamps its own.
if (process.env.npm_lifecycle_event === "install" && existsSync(path.join(root, "package-lock.json"))) {
  const { file, value } = packagesStamp(root);
  stamp(file, value);
}
