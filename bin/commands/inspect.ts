// stillroom inspect: what a GGUF is, and whether it can be tuned.
import type { Command } from "commander";
import { inspect } from "../../src/index.js";
import { command } from "../options.js";
import { inspectionText } from "../print.js";
import { onDownload } from "../print-events.js";
import { run } from "../run.js";

export function inspectCommand(): Command {
  return command("inspect", "What a GGUF is, and whether it can be tuned.", [])
    .argument("[model]", "path of a GGUF, or an hf: URI (default: the model in the box)")
    .addHelpText("after", "\nExample:\n  $ stillroom inspect model.gguf --json")
    .action((model: string | undefined, _: object, command: Command) =>
      run(command, async ({ signal, progress }) => {
        const result = await inspect(model, { signal, onDownload: onDownload(progress) });
        return { result, text: inspectionText(result) };
      }),
    );
}
