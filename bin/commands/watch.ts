// stillroom watch: a live page of a run.
import type { Command } from "commander";
import { watch } from "../../src/index.js";
import { command, whole } from "../options.js";
import { run } from "../run.js";

export function watchCommand(): Command {
  return command("watch", "Serve a live page of a run on this machine.", [])
    .argument("<run>", "a RUN folder of tune or distill")
    .option("--port <n>", "0: any that is free (default: 8090)", whole(0))
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom watch runs/first`,
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
