// npm start: makes the clone ready, then climbs the creatures example. Arguments are the ladder's (--help lists them).
import "./arguments.mjs";
import { makeReady } from "./ready.mjs";

await makeReady();
// Its packages are there from here on.
await import("./ladder.mjs");
