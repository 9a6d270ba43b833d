// stillroom serve: a store and a live model by HTTP.
import { type Command, Option } from "commander";
import { readTask, type ServeOptions, StillroomError, serve } from "../../src/index.js";
import {
  type CommonOptions,
  command,
  duration,
  names,
  normaliseOption,
  similarOption,
  size,
  whole,
} from "../options.js";
import { onDownload } from "../print-events.js";
import { run } from "../run.js";

type ServeCommandOptions = CommonOptions &
  Omit<ServeOptions, "signal" | "log" | "allowHosts" | "task"> & {
    allowHost?: string[];
    logLevel: string;
    task?: string;
    data?: string;
  };

export function serveCommand(): Command {
  const shared = ["model", "adapter", "data", "shots", "prompt", "threads", "precision"] as const;
  return command("serve", "Answer by HTTP: look-ups in a store, and OpenAI's API before a live model.", shared)
    .requiredOption("--store <dir>", "the store that knows the answers; with --model begun where there is none")
    .option("--task <file>", "answer rows of this task at /v1/predict, with the adapter's head and calibration")
    .option("--seed <s>", "of --shots (default: 0)", whole(0))
    .option("--no-live", "answer what the store does not know with 404; the model only lays out prompts")
    .option("--host <address>", "where to listen (default: 127.0.0.1)")
    .option("--port <n>", "0: any that is free (default: 8080)", whole(0))
    .option("--tokens <file>", "tokens, one a line with a name behind it; whoever shows none is refused")
    .option("--open", "listen beyond this machine without tokens")
    .option("--allow-host <names>", "further names that the server may be called by", names)
    .option("--files <dir>", "uploaded files and batches (default: files in the store's folder)")
    .option("--max-body <size>", "largest body of a request (default: 1M)", size)
    .option("--max-upload <size>", "largest uploaded file (default: 100M)", size)
    .option("--sequences <n>", "answers that are written side by side (default: 64)", whole(1))
    .option("--waiting <n>", "requests that wait beyond them; further ones get 429 (default: 256)", whole(0))
    .option("--memory <size>", "most memory of keys and values (default: 1G)", size)
    .option("--request-timeout <time>", "in which a request must have come (default: 60s)", duration)
    .option("--grace <time>", "in which requests under way may end at a stop, to 9s (default: 5s)", duration)
    .option("--namespace <name>", "of the store (default: default)")
    .option("--lifetime <time>", "how long answers are known, such as 30d (default: for ever)", duration)
    .option("--max-bytes <size>", "largest size of the store, such as 2G; what was written first gives way", size)
    .addOption(normaliseOption())
    .addOption(similarOption("find near texts where /v1/lookup does not know one"))
    .addOption(
      new Option("--log-level <level>", "of the log on stderr")
        .choices(["debug", "info", "error", "silent"])
        .default("info"),
    )
    .option("--log-prompts", "put the texts that ask into the log")
    .addHelpText(
      "after",
      `
Without --model there are look-ups only, and a batch may write to the store meanwhile.

Examples:
  $ stillroom serve --store answers
  $ curl localhost:8080/v1/lookup -d '{"key": "the text of a row"}'
  $ stillroom serve --store answers --model small.gguf --tokens tokens.txt --host 0.0.0.0 --allow-host box.example`,
    )
    .action(({ json = false, allowHost, logLevel, task, data, ...options }: ServeCommandOptions, command: Command) =>
      run(command, async ({ signal, progress }) => {
        const { pino } = await import("pino");
        const log = pino({ level: logLevel }, pino.destination({ dest: 2, sync: true }));
        if (data !== undefined && task === undefined)
          throw new StillroomError("usage", "expected a task for data, received none", { options: ["data", "task"] });
        const read = task === undefined ? undefined : await readTask(task, data === undefined ? {} : { data });
        const given = { ...options, task: read, allowHosts: allowHost, signal, log, onDownload: onDownload(progress) };
        const server = await serve(given);
        const { url, model } = server;
        process.stdout.write(json ? `${JSON.stringify({ url, store: options.store, model })}\n` : `${url}\n`);
        await server.closed;
        return { result: null, text: "" };
      }),
    );
}
