// Compiles src/, bin/, bench/ and the programs that tests run as child processes into dist/; does nothing when nothing changed. dist/ is replaced as a whole, so that the
// output of a deleted file does not stay behind.
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { fingerprint, isStamped, removeLeftovers, stamp } from "./stamp.mjs";
import { run } from "./tools.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const dist = path.join(root, "dist");
const fresh = path.join(root, "build", `dist-${process.pid}`);
const stampFile = path.join(dist, ".stamp");
const inputs = fingerprint(root, [
  "src",
  "bin",
  "bench",
  "tests/batch",
  "tests/jobs",
  "tests/store",
  "tests/support",
  "tsconfig.json",
  "tsconfig.build.json",
  "package-lock.json",
]);

function compiler() {
  try {
    const { resolve } = createRequire(path.join(root, "package.json"));
    return path.join(path.dirname(resolve("typescript/package.json")), "bin/tsc");
  } catch {
    process.stderr.write("stillroom: TypeScript is not installed; run: npm ci --include=dev\n");
    process.exit(1);
  }
}

if (process.argv.includes("--force") || !isStamped(stampFile, inputs)) {
  removeLeftovers(path.dirname(fresh), "dist-");
  if (!run(process.execPath, [compiler(), "-p", path.join(root, "tsconfig.build.json"), "--outDir", fresh])) {
    rmSync(fresh, { recursive: true, force: true });
    process.stderr.write("stillroom: compiling TypeScript failed; the lines above say where\n");
    process.exit(1);
  }
  mkdirSync(fresh, { recursive: true });
  const program = path.join(fresh, "bin/stillroom.js");
  if (existsSync(program)) chmodSync(program, 0o755);
  stamp(path.join(fresh, ".stamp"), inputs);
  rmSync(dist, { recursive: true, force: true });
  renameSync(fresh, dist);
}
