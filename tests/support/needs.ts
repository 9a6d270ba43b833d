// What a test may need from outside the checkout: where it lies, and the rule when it is missing.
// Missing data skips the test with the line that would bring it; a missing service skips it too, but fails with CI=true.
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type TestFunction, test } from "vitest";

export interface Need {
  /** A service can be installed by a line; data cannot. */
  kind: "data" | "service";
  present: () => boolean;
  /** The sentence or the line that would bring it. */
  remedy: string;
}

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

/** A path under the folder of data sets and models that is handed to the tests (STILLROOM_SHARED, else beside the checkout). */
export function sharedPath(...parts: string[]): string {
  return path.resolve(process.env.STILLROOM_SHARED ?? path.join(root, "../shared"), ...parts);
}

/** The folder of PostgreSQL's server programs, the newest version's, where Debian puts them. */
export function postgresBinaries(): string | null {
  const versions = existsSync("/usr/lib/postgresql") ? readdirSync("/usr/lib/postgresql").sort() : [];
  const folders = versions.reverse().map((version) => `/usr/lib/postgresql/${version}/bin`);
  return folders.find((folder) => existsSync(path.join(folder, "initdb"))) ?? null;
}

/** Debian's browser, or another one of its kind. */
export function chromium(): string | null {
  return ["/usr/bin/chromium", "/usr/bin/google-chrome"].find((file) => existsSync(file)) ?? null;
}

const known = {
  shared: {
    kind: "data",
    present: () => existsSync(sharedPath("models")) && existsSync(sharedPath("data")),
    remedy: "set STILLROOM_SHARED to the folder that holds models/ and data/",
  },
  postgres: {
    kind: "service",
    present: () => postgresBinaries() !== null,
    remedy: "apt-get install postgresql",
  },
  chromium: {
    kind: "service",
    present: () => chromium() !== null,
    remedy: "apt-get install chromium",
  },
} as const satisfies Record<string, Need>;

/** What is to be done with a test that has this need. */
export function verdict(need: Need, ci: boolean): "run" | "skip" | "fail" {
  if (need.present()) return "run";
  return need.kind === "service" && ci ? "fail" : "skip";
}

/**
 * A `test` that runs only where the need is met, and is reported by name with the remedy where it is not:
 * `const testShared = needs("shared"); testShared("reads SST-2", async () => { … });`
 */
export function needs(name: keyof typeof known): (title: string, body: TestFunction, timeout?: number) => void {
  const need = known[name];
  return (title, body, timeout) => {
    const decision = verdict(need, process.env.CI === "true");
    if (decision === "run") test(title, body, timeout);
    else if (decision === "skip") test(title, ({ skip }) => skip(`needs ${name}: ${need.remedy}`));
    else
      test(title, () => {
        throw new Error(`needs ${name}: ${need.remedy}`);
      });
  };
}
