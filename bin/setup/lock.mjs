// Completes package-lock.json after npm install: npm leaves out packages for other platforms that its registry did not
// answer for (a mirror often holds one platform only), and npm ci then refuses the file everywhere. Each is put back with
// its pinned version and the platform that its name says.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const systems = {
  android: "android",
  darwin: "darwin",
  mac: "darwin",
  freebsd: "freebsd",
  linux: "linux",
  win: "win32",
  win32: "win32",
  openharmony: "openharmony",
};
const processors = ["arm64", "x64", "ia32", "arm", "ppc64", "riscv64", "s390x"];

/** { os, cpu, libc } from a name such as @oxc-parser/binding-linux-arm64-musl; undefined when it names no platform. */
export function platformOf(name) {
  const words = name.slice(name.indexOf("/") + 1).split("-");
  const os = words.find((word) => word in systems);
  const cpu = processors.find((word) => words.includes(word));
  if (!os || !cpu) return undefined;
  const libc = words.some((word) => word.startsWith("musl"))
    ? "musl"
    : words.some((word) => word.startsWith("gnu"))
      ? "glibc"
      : undefined;
  return { os: [systems[os]], cpu: [cpu], libc: libc && [libc] };
}

/** The lock with every optional platform package that a locked package names. Throws where one cannot be told. */
export function completed(lock) {
  const packages = { ...lock.packages };
  for (const [at, entry] of Object.entries(lock.packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      if (packages[`${at}/node_modules/${name}`] || packages[`node_modules/${name}`]) continue;
      const platform = platformOf(name);
      if (!platform || !/^\d+\.\d+\.\d+$/.test(version))
        throw new Error(`${at} wants ${name} ${version}, and the registry has no answer`);
      const { os, cpu, libc } = platform;
      const dev = entry.dev && { dev: true };
      // In the order that npm writes, so that npm install leaves the file alone.
      packages[`node_modules/${name}`] = {
        version,
        cpu,
        ...dev,
        ...(libc && { libc }),
        license: entry.license,
        optional: true,
        os,
      };
    }
  }
  const sorted = Object.keys(packages).sort((a, b) => a.localeCompare(b, "en"));
  return { ...lock, packages: Object.fromEntries(sorted.map((key) => [key, packages[key]])) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../package-lock.json");
  writeFileSync(file, `${JSON.stringify(completed(JSON.parse(readFileSync(file, "utf8"))), null, 2)}\n`);
}
