// stillroom lookup: what a store knows for texts. Loads no engine and no model.
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Command } from "commander";
import { openStore } from "../../src/index.js";
import { command, normaliseOption } from "../options.js";
import { run } from "../run.js";

interface LookupOptions {
  store: string;
  namespace?: string;
  normalise?: string[];
}

/** Lines that are printed together. */
const together = 256;

export function lookupCommand(): Command {
  return command("lookup", "What a store knows for texts: one line of JSON a key. Loads no model.", [])
    .argument("[keys...]", "texts that ask; without them, one a line on stdin")
    .requiredOption("--store <dir>", "the store's folder")
    .option("--namespace <name>", "of the answers (default: default)")
    .addOption(normaliseOption())
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom lookup --store answers "Is a plum a drupe?"
  $ stillroom lookup --store answers < questions.txt > answers.jsonl`,
    )
    .action((keys: string[], { store: folder, namespace, normalise }: LookupOptions, command: Command) =>
      run(command, async ({ signal }) => {
        const store = await openStore(folder, { readOnly: true, namespace, normalise: normalise as never });
        try {
          let lines: string[] = [];
          const flush = async () => {
            if (!process.stdout.write(lines.join(""))) await once(process.stdout, "drain");
            lines = [];
          };
          const given =
            keys.length > 0 ? keys : createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY });
          for await (const key of given) {
            if (signal.aborted) break;
            lines.push(`${JSON.stringify(store.lookup(key))}\n`);
            if (lines.length >= together) await flush();
          }
          await flush();
          return { result: null, text: "" };
        } finally {
          await store.close();
        }
      }),
    );
}
