// A vitest reporter: lists what was skipped with the reason, and leaves the counts for bin/setup/test.mjs.
import { writeFileSync } from "node:fs";
import path from "node:path";
import type { Reporter, SerializedError, TestModule } from "vitest/node";

export default class CountsReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandled: ReadonlyArray<SerializedError>): void {
    const counts = { passed: 0, failed: unhandled.length, skipped: 0 };
    const skips: string[] = [];
    for (const module of modules) {
      let failedHere = 0;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === "passed") counts.passed++;
        else if (result.state === "failed") failedHere++;
        else {
          counts.skipped++;
          const reason = result.state === "skipped" ? result.note : undefined;
          skips.push(
            `skipped: ${path.relative(process.cwd(), module.moduleId)} > ${test.fullName}${reason ? `: ${reason}` : ""}`,
          );
        }
      }
      // A file that could not be loaded, or whose hook failed, has no failing test to its name.
      counts.failed += module.state() === "failed" ? Math.max(1, failedHere) : failedHere;
    }
    if (skips.length > 0) process.stdout.write(`\n${skips.join("\n")}\n`);
    const file = process.env.STILLROOM_TEST_COUNTS;
    if (file) writeFileSync(file, JSON.stringify(counts));
  }
}
