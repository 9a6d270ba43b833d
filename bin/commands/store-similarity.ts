// stillroom store similarity: from which similarity on two texts count as one, measured before it is used.
import type { Command } from "commander";
import { Option } from "commander";
import { fitSimilarity, openStore, type SimilarityOptions } from "../../src/index.js";
import { type CommonOptions, command, real } from "../options.js";
import { similarityText } from "../print.js";
import { onDownload } from "../print-events.js";
import { run } from "../run.js";

type SimilarityCommandOptions = CommonOptions &
  Pick<SimilarityOptions, "pairs" | "maxFalseHits" | "pooling"> & { store: string };

export function similarityCommand(): Command {
  return command(
    "similarity",
    "Fit the similarity of texts on labelled pairs, for --similar; kept where few enough hits are false.",
    ["model", "threads", "seed"],
  )
    .requiredOption("--store <dir>", "the store's folder; begun where there is none")
    .requiredOption("--pairs <file>", 'JSON lines: {"a": TEXT, "b": TEXT, "same": true or false}')
    .option("--max-false-hits <share>", "of the hits, at the upper end of the 95 % interval (default: 0.01)", real)
    .addOption(new Option("--pooling <p>", "of the vectors (default: mean)").choices(["mean", "last"]))
    .addHelpText(
      "after",
      `
Example:
  $ stillroom store similarity --store answers --model model.gguf --pairs pairs.jsonl`,
    )
    .action(({ store: folder, json: _, ...options }: SimilarityCommandOptions, command: Command) =>
      run(command, async ({ signal, progress }) => {
        const store = await openStore(folder);
        try {
          const result = await fitSimilarity(store, { ...options, signal, onDownload: onDownload(progress) });
          return { result, text: similarityText(result) };
        } catch (error) {
          await store.abandon();
          throw error;
        } finally {
          await store.close();
        }
      }),
    );
}
