// How vitest runs: one process a test file (the addon holds native state), and a reporter that names what was skipped and why.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ["default", "./tests/support/reporter.ts"],
  },
});
