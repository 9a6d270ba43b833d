// stillroom watch: a live page of a run or a batch.
import type { Command } from "commander";
import { watch } from "../../src/index.js";
import { command, whole } from "../options.js";
import { run } from "../run.js";

export function watchCommand(): Command {
  return command("watch", "Serve a live page of a run or a batch on this machine.", [])
    .argument("<run>", "a RUN folder of tune or distill, or the store of a batch")
    .option("--port <n>", "0: any that is free (default: 8090)", whole(0))
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom watch runs/first
  $ stillroom watch answers`,
    )
    .action((folder: string, { port, json }: { port?: number; json?: boolean }, command: Command) =>
      run(command, async ({ signal }) => {
        const { url, closed } = await watch(folder, { port, signal });
        process.stdout.write(json ? `${JSON.stringify({ url, run: folder })}\n` : `${url}\n`);
        await closed;
        return { result: null, text: "" };
      }),
    );
}
