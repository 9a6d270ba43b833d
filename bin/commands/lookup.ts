// stillroom lookup: what a store knows for texts. Loads no engine and no model, but for --similar.
import { once } from "node:events";
import type { Command } from "commander";
import { streamTexts } from "../../src/dataset/index.js";
import { openStore, Similar } from "../../src/index.js";
import { command, normaliseOption, similarOption } from "../options.js";
import { onBad } from "../print-events.js";
import { run } from "../run.js";

interface LookupOptions {
  store: string;
  namespace?: string;
  normalise?: string[];
  similar?: string;
  threads?: number;
}

/** Lines that are printed together. */
const together = 256;

export function lookupCommand(): Command {
  return command("lookup", "What a store knows for texts: one line of JSON a key. Loads no model, but for --similar.", [
    "threads",
  ])
    .argument("[keys...]", "texts that ask; without them, one a line on stdin")
    .requiredOption("--store <dir>", "the store's folder")
    .option("--namespace <name>", "of the answers (default: default)")
    .addOption(normaliseOption())
    .addOption(similarOption("find near texts where a text is not known"))
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom lookup --store answers "Is a plum a drupe?"
  $ stillroom lookup --store answers < questions.txt > answers.jsonl
  $ stillroom lookup --store answers --similar model.gguf "Plums: are they drupes?"`,
    )
    .action(
      (
        keys: string[],
        { store: folder, namespace, normalise, similar: model, threads }: LookupOptions,
        command: Command,
      ) =>
        run(command, async ({ signal, progress }) => {
          const store = await openStore(folder, { readOnly: true, namespace, normalise: normalise as never });
          const similar = model === undefined ? null : await Similar.open(store, model, { threads, signal });
          try {
            const tell = onBad(progress);
            let texts: string[] = [];
            let badRows = 0;
            const flush = async () => {
              const found = similar ? await similar.lookup(texts) : texts.map((text) => store.lookup(text));
              const lines = found.map((line) => `${JSON.stringify(line)}\n`);
              if (!process.stdout.write(lines.join(""))) await once(process.stdout, "drain");
              texts = [];
            };
            const given = keys.length > 0 ? keys.map((text) => ({ text })) : streamTexts(process.stdin);
            for await (const one of given) {
              if (signal.aborted) break;
              if ("text" in one) texts.push(one.text);
              else {
                badRows++;
                tell({ file: "stdin", ...one });
              }
              if (texts.length >= together) await flush();
            }
            await flush();
            return { result: null, text: "", badRows };
          } finally {
            await similar?.close();
            await store.close();
          }
        }),
    );
}
