// stillroom worker: answers what waits in a queue.
import type { Command } from "commander";
import { type WorkerOptions, work } from "../../src/index.js";
import { type CommonOptions, command, duration, size } from "../options.js";
import { workerText } from "../print.js";
import { onDownload, onWorker } from "../print-events.js";
import { run } from "../run.js";

type WorkerCommandOptions = CommonOptions & Omit<WorkerOptions, "signal">;

export function workerCommand(): Command {
  return command("worker", "Answer what batches put into a queue, until it is stopped.", [
    "model",
    "adapter",
    "threads",
    "precision",
  ])
    .requiredOption("--queue <url>", "postgres://user@host:5432/database")
    .requiredOption("--store <dir>", "this worker's own store, which it looks into first; begun where there is none")
    .option("--max-bytes <size>", "largest size of the store, such as 2G; what was written first gives way", size)
    .option("--patience <time>", "how long PostgreSQL may be away (default: 5m)", duration)
    .option("--drain", "end when nothing waits, instead of waiting for more")
    .addHelpText(
      "after",
      `
SIGINT and SIGTERM end it within seconds: what is done is brought back, and the rest handed to others.

Examples:
  $ stillroom worker --queue postgres://me@database.local/answers --model model.gguf --store local
  $ stillroom worker --queue "postgres://me@database.local/answers?sslmode=verify-full" --store local --drain`,
    )
    .action(({ json: _, ...options }: WorkerCommandOptions, command: Command) =>
      run(command, async ({ signal, progress }) => {
        const onWarning = (message: string) => progress.warn(message);
        const calls = { onWarning, onProgress: onWorker(progress), onDownload: onDownload(progress) };
        const result = await work({ ...options, signal, ...calls });
        return { result, text: workerText(result) };
      }),
    );
}
