// npm start: makes the clone ready, then climbs the creatures example. Arguments go to the ladder (--help lists them).
import { spawnSync } from "node:child_process";
import path from "node:path";
import { makeReady, root } from "./ready.mjs";

await makeReady();
const ladder = spawnSync(process.execPath, [path.join(root, "bin/setup/ladder.mjs"), ...process.argv.slice(2)], {
  stdio: "inherit",
  cwd: root,
});
process.exit(ladder.status ?? 130);
