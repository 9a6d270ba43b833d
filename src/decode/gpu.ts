// Where node-llama-cpp's packages hold ggml's GPU backends. Knows names and folders; loads nothing.
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { StillroomError } from "../support/errors.js";

/**
 * Libraries of GPU backends on this platform, the best first; none on macOS, whose usual package has Metal in it.
 * Throws "missing" with the packages to install.
 */
export function gpuBackends(platform = process.platform, folders = packageFolders()): string[] {
  if (platform === "darwin") return [];
  const names = ["cuda", "cuda-ext", "vulkan"].map((gpu) => `@node-llama-cpp/${platform}-${process.arch}-${gpu}`);
  const libraries = names.flatMap((name) => folders.flatMap((folder) => librariesOf(path.join(folder, name))));
  if (libraries.length > 0) return libraries;
  throw new StillroomError(
    "missing",
    `layers on a GPU need the package ${names[0]} or ${names[2]}, of node-llama-cpp's version; in a clone: npm pkg delete overrides && npm install`,
    { options: ["gpuLayers"] },
  );
}

/** Folders in which packages that node-llama-cpp depends on may lie. */
function packageFolders(): string[] {
  const around = createRequire(import.meta.url).resolve.paths("node-llama-cpp") ?? [];
  const own = around.map((folder) => path.join(folder, "node-llama-cpp")).filter((folder) => existsSync(folder));
  // Beside it, also where a package manager links it, or below it.
  return [
    ...new Set([
      ...around,
      ...own.flatMap((folder) => [path.dirname(realpathSync(folder)), path.join(folder, "node_modules")]),
    ]),
  ];
}

function librariesOf(folder: string): string[] {
  const bins = path.join(folder, "bins");
  if (!existsSync(bins)) return [];
  const files = readdirSync(bins, { recursive: true, encoding: "utf8" });
  return files
    .filter((file) => /ggml-(cuda|vulkan)\.(so|dll)$/.test(file))
    .sort()
    .map((file) => path.join(bins, file));
}
