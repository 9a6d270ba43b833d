// npm run check: the type check, the linter, the layout, dead code and the package, each counted as one; the last line is
// "N passed, N failed". Expects a clone that is ready (npm test makes it so).
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const work = mkdtempSync(path.join(os.tmpdir(), "stillroom-check-"));
/** Lines of a complaint that are told again at the end. */
const lastLines = 10;
const bin = (name) => path.join(root, "node_modules/.bin", name);

/** What a command printed when it failed; undefined when it did well. */
function complaint(command, args, cwd = root) {
  const result = spawnSync(command, args, { cwd, encoding: "utf8", maxBuffer: 1 << 28 });
  return result.status === 0 ? undefined : `${result.stdout}${result.stderr}${result.error?.message ?? ""}`;
}

/** What must be in the package, and what must not. */
function packageContents() {
  const result = spawnSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", work], {
    cwd: root,
    encoding: "utf8",
  });
  if (result.status !== 0) return result.stderr;
  const files = JSON.parse(result.stdout)[0].files.map((file) => file.path);
  const wanted = [
    "LICENSE",
    "README.md",
    "THIRD_PARTY_NOTICES.md",
    "CMakeLists.txt",
    "bin/setup/native.mjs",
    "bin/setup/stamp.mjs",
    "bin/setup/tools.mjs",
    "dist/bin/stillroom.js",
    "dist/src/index.js",
    "dist/src/index.d.ts",
    "examples/creatures/task.yaml",
    "examples/creatures/test.csv",
    "examples/creatures/train.csv",
    ...readdirSync(path.join(root, "models")).map((name) => `models/${name}`),
    ...readdirSync(path.join(root, "bench/peers"))
      .filter((name) => /\.(py|txt)$/.test(name))
      .map((name) => `bench/peers/${name}`),
    ...["native/core", "native/addon"].flatMap((folder) =>
      readdirSync(path.join(root, folder), { withFileTypes: true, recursive: true })
        .filter((entry) => entry.isFile())
        .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name))),
    ),
  ];
  const missing = wanted.filter((file) => !files.includes(file)).map((file) => `the package lacks ${file}`);
  const extra = files
    .filter((file) => /^(tests|dist\/tests|build|node_modules|runs)\//.test(file))
    .map((file) => `the package holds ${file}`);
  const program = path.join(root, "dist/bin/stillroom.js");
  const shebang =
    existsSync(program) && !readFileSync(program, "utf8").startsWith("#!/usr/bin/env node\n")
      ? ["dist/bin/stillroom.js has no shebang"]
      : [];
  const model = files.some((file) => /^models\/[^/]+\.gguf$/.test(file)) ? [] : ["the package holds no model"];
  const all = [...missing, ...extra, ...shebang, ...model];
  return all.length > 0 ? all.join("\n") : undefined;
}

/** Installs the packed file as a user would, without the GPU packages, and calls the program and the API. */
function installedPackage() {
  const tarball = readdirSync(work).find((name) => name.endsWith(".tgz"));
  if (!tarball) return "there is no packed file to install";
  const { overrides } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
  const dependencies = { stillroom: `file:./${tarball}` };
  writeFileSync(
    path.join(work, "package.json"),
    JSON.stringify({ private: true, type: "module", dependencies, overrides }),
  );
  const program = path.join(work, "node_modules/.bin/stillroom");
  return (
    complaint("npm", ["install", "--no-progress"], work) ??
    complaint(program, ["--version"], work) ??
    complaint(program, ["inspect"], work) ??
    complaint(program, ["bench", "kernels", "--types", "q4_0", "--repeat", "1"], work) ??
    complaint(
      process.execPath,
      [
        "--input-type=module",
        "--eval",
        'import { tune } from "stillroom"; if (typeof tune !== "function") process.exit(1);',
      ],
      work,
    )
  );
}

const checks = [
  ["type check", () => complaint(process.execPath, [bin("tsc"), "--noEmit"])],
  ["linter", () => complaint(process.execPath, [bin("biome"), "check", "--error-on-warnings", "."])],
  ["layout", () => complaint(process.execPath, [bin("vitest"), "run", "tests/layout"])],
  ["dead code (knip)", () => complaint(process.execPath, [bin("knip")])],
  ["third-party notices", () => complaint(process.execPath, ["bin/setup/notices.mjs", "--check"])],
  ["package contents", packageContents],
  ["publint", () => complaint(process.execPath, [bin("publint"), "--strict", "--pack", "false"])],
  [
    "are the types wrong",
    () =>
      complaint(process.execPath, [
        bin("attw"),
        "--profile",
        "esm-only",
        path.join(work, readdirSync(work).find((name) => name.endsWith(".tgz")) ?? ""),
      ]),
  ],
  ["installed package", installedPackage],
];

const wanted = process.argv.slice(2);
const complaints = [];
const chosen = checks.filter(([name]) => wanted.length === 0 || wanted.some((word) => name.includes(word)));
for (const [name, check] of chosen) {
  const started = Date.now();
  const found = check();
  if (found !== undefined) {
    complaints.push([name, found.trim()]);
    process.stdout.write(`${found.trim()}\n`);
  }
  process.stdout.write(
    `${found === undefined ? "passed" : "failed"}: ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)\n`,
  );
}
rmSync(work, { recursive: true, force: true });
// Again at the end, where whoever sees the last lines alone sees why.
for (const [name, found] of complaints)
  process.stdout.write(`\n${name}:\n${found.split("\n").slice(-lastLines).join("\n")}\n`);
process.stdout.write(`${chosen.length - complaints.length} passed, ${complaints.length} failed\n`);
process.exit(complaints.length > 0 ? 1 : 0);
