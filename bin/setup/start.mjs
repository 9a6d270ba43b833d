// npm start: makes the clone ready, then climbs the creatures example. Arguments go to the ladder (--help lists them).
import path from "node:path";
import { readArguments } from "./arguments.mjs";
import { makeReady, root } from "./ready.mjs";
import { endsInOrder } from "./tools.mjs";

readArguments();
await makeReady();
const args = [path.join(root, "bin/setup/ladder.mjs"), ...process.argv.slice(2)];
process.exit(await endsInOrder(args, { stdio: "inherit", cwd: root }).ended);
