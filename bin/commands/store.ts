// stillroom store: looking after the answers that batch keeps.
import { Command } from "commander";
import { badRowText } from "../../src/dataset/index.js";
import {
  backupStore,
  exportStore,
  importStore,
  openStore,
  pruneStore,
  type Store,
  storeStats,
  verifyStore,
} from "../../src/index.js";
import { command, duration, size } from "../options.js";
import { facts } from "../print.js";
import { type Outcome, run, type Session } from "../run.js";
import { similarityCommand } from "./store-similarity.js";

interface StoreCommandOptions {
  store: string;
  out: string;
  olderThan?: number;
  namespace?: string;
  maxBytes?: number;
}

type Work = (
  store: Store,
  options: StoreCommandOptions,
  session: Session,
  /** Of a command with one argument. */
  argument: string,
) => Promise<object & Partial<Counted>>;
interface Counted {
  errors: number;
  damaged: number;
}

export function storeCommand(): Command {
  const made = new Command("store").description(
    "What a store holds, whether it is whole, and how it is kept small and carried elsewhere.",
  );
  for (const one of [stats(), verify(), exporting(), importing(), prune(), backup(), similarityCommand()])
    made.addCommand(one);
  return made;
}

/** A command on an open store, which only some begin where there is none; damaged rows and bad lines give exit code 2. */
function upkeep(
  name: string,
  description: string,
  opens: "read" | "change" | "begin",
): { made: Command; does: (work: Work) => Command } {
  const made = command(name, description, []).requiredOption("--store <dir>", "the store's folder");
  const does = (work: Work) =>
    made.action((...given: unknown[]) => {
      const [options, command] = given.slice(-2) as [StoreCommandOptions, Command];
      return run(command, async (session): Promise<Outcome> => {
        const store = await openStore(options.store, { readOnly: opens === "read", begin: opens === "begin" });
        try {
          const result = await work(store, options, session, given[0] as string);
          return {
            result,
            text: facts(result),
            badRows: name === "prune" ? 0 : (result.errors ?? result.damaged ?? 0),
          };
        } catch (error) {
          await store.abandon();
          throw error;
        } finally {
          await store.close();
        }
      });
    });
  return { made, does };
}

function stats(): Command {
  return upkeep("stats", "What a store holds.", "read").does((store, _, { signal }) => storeStats(store, { signal }));
}

function verify(): Command {
  return upkeep("verify", "Read all that a store holds and compare it with its checksums.", "read").does(
    (store, _, { signal }) => verifyStore(store, { signal }),
  );
}

function exporting(): Command {
  const { made, does } = upkeep("export", "Write all answers to a file of JSON lines.", "read");
  made.requiredOption("--out <file>", "the file to write");
  return does((store, { out }, { signal }) => exportStore(store, out, { signal }));
}

function importing(): Command {
  const { made, does } = upkeep("import", "Take the answers of an export into a store; a new one is begun.", "begin");
  made.argument("<file>", "what store export wrote");
  return does(async (store, _, { signal, progress }, file) => {
    const result = await importStore(store, file, { signal });
    for (const bad of result.bad_lines) progress.warn(badRowText(bad));
    return result;
  });
}

function prune(): Command {
  const { made, does } = upkeep("prune", "Remove what has expired, what is damaged, and what is asked for.", "change");
  made
    .option("--older-than <time>", "answers written so long ago, such as 30d or 12h", duration)
    .option("--namespace <name>", "all answers of this namespace")
    .option("--max-bytes <size>", "the answers written first, until the store fits, such as 2G", size);
  return does((store, { olderThan, namespace, maxBytes }, { signal }) =>
    pruneStore(store, { olderThan, namespace, maxBytes, signal }),
  );
}

function backup(): Command {
  const { made, does } = upkeep("backup", "Copy a store as it is now, also while a batch writes to it.", "read");
  made.requiredOption("--out <dir>", "a folder that is not there yet");
  return does((store, { out }) => backupStore(store, out));
}
