// stillroom batch: answers ahead of time, kept in a store.
import { type Command, Option } from "commander";
import {
  type BatchOptions,
  batch,
  type QueueBatchOptions,
  queueBatch,
  queueStatus,
  readTask,
  StillroomError,
} from "../../src/index.js";
import { isTaskFile } from "../../src/task/index.js";
import { type CommonOptions, command, duration, normaliseOption, similarOption, size, whole } from "../options.js";
import { batchText, jobsText } from "../print.js";
import { onBad, onBatch, onDownload } from "../print-events.js";
import { run } from "../run.js";

type BatchCommandOptions = CommonOptions &
  Omit<BatchOptions, "signal"> &
  Pick<QueueBatchOptions, "chunk" | "lease" | "patience"> & { data?: string; queue?: string; status?: boolean };

/** Options that only one of the two ways has. */
const alone = ["maxRows", "maxTime", "maxTokens", "retries", "window", "similar"] as const;
const queued = ["chunk", "lease", "patience", "status"] as const;

function refuse(options: BatchCommandOptions, names: readonly (keyof BatchCommandOptions)[], why: string): void {
  const given = names.find((name) => options[name] !== undefined);
  if (given) throw new StillroomError("usage", `${given} is ${why}`, { options: [given] });
}

function required(
  options: BatchCommandOptions,
  names: readonly ("store" | "out")[],
  input: string | undefined,
): string {
  if (input === undefined) throw new StillroomError("usage", "expected the input: a task file, or a file of requests");
  for (const name of names)
    if (options[name] === undefined) throw new StillroomError("usage", `expected ${name}`, { options: [name] });
  return input;
}

export function batchCommand(): Command {
  const shared = ["model", "adapter", "data", "threads", "precision", "seed"] as const;
  return command("batch", "Answer all rows of a file ahead of time, and keep the answers in a store.", shared)
    .argument("[input]", "task file, or requests in OpenAI's batch format (.jsonl)")
    .option("--store <dir>", "the store that keeps the answers; begun where there is none")
    .option("--out <file>", "the file of answers, one line a row")
    .option("--errors <file>", "the file of rows that failed (default: --out with .errors.jsonl behind it)")
    .addOption(new Option("--split <split>", "rows of a task").choices(["train", "validation", "test"]).default("test"))
    .option("--shots <k>", "of a task: answered training rows before each prompt (default: 0)", whole(0))
    .option("--prompt <file>", "of a task: a prompt file, in place of its prompt and --shots")
    .addOption(new Option("--order <order>", "of the lines of --out").choices(["input", "finished"]).default("input"))
    .option("--max-rows <n>", "stop after computing so many rows", whole(1))
    .option("--max-time <time>", "stop after so long, such as 10m or 8h", duration)
    .option("--max-tokens <n>", "stop after computing so many tokens", whole(1))
    .option("--retries <n>", "further tries of a row that failed, before it is an error (default: 2)", whole(0))
    .option("--window <rows>", "rows that are looked at together, for their order of work (default: 2048)", whole(1))
    .option("--namespace <name>", "of the store (default: default)")
    .option("--lifetime <time>", "how long answers are known, such as 30d (default: for ever)", duration)
    .option("--max-bytes <size>", "largest size of the store, such as 2G; what was written first gives way", size)
    .addOption(normaliseOption())
    .addOption(similarOption("let near texts find the answers as well"))
    .option("--queue <url>", "let workers answer: postgres://user@host:5432/database (--store is optional then)")
    .option("--chunk <rows>", "of --queue: requests that a worker takes at a time (default: 64)", whole(1))
    .option("--lease <time>", "of --queue: after so long a chunk goes to another worker (default: 2m)", duration)
    .option("--patience <time>", "of --queue: how long PostgreSQL may be away (default: 5m)", duration)
    .option("--status", "of --queue: print how far its jobs are")
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom batch task.yaml --model model.gguf --store answers --out answers.jsonl
  $ stillroom batch requests.jsonl --store answers --out answers.jsonl --max-time 8h
  $ stillroom lookup --store answers "the text of a row"`,
    )
    .action((given: string | undefined, { json: _, data, ...options }: BatchCommandOptions, command: Command) =>
      run(command, async ({ signal, progress }) => {
        const { queue, chunk, lease, patience, status, ...local } = options;
        if (queue === undefined) refuse(options, queued, "an option of batches with --queue");
        else refuse(options, alone, "no option of batches with --queue");
        const onWarning = (message: string) => progress.warn(message);
        if (queue !== undefined && status) {
          if (given !== undefined)
            throw new StillroomError("usage", `status is of a whole queue: leave out ${given}`, {
              options: ["status"],
            });
          const jobs = await queueStatus({ queue, patience, signal, onWarning });
          return { result: { jobs }, text: jobsText(jobs) };
        }
        const input = required(options, queue === undefined ? ["store", "out"] : ["out"], given);
        const task = isTaskFile(input) ? await readTask(input, data === undefined ? {} : { data }) : input;
        const calls = { onProgress: onBatch(progress), onDownload: onDownload(progress), onBad: onBad(progress) };
        if (queue === undefined) {
          const result = await batch(task, { ...local, signal, onWarning, ...calls });
          return { result, text: batchText(result), badRows: result.errors };
        }
        const { order, ...shared } = local;
        const why = "expected input for order with a queue: its file is written when all is done";
        if (order === "finished") throw new StillroomError("usage", why, { options: ["order"] });
        const how = { queue, chunk, lease, patience, onWarning, signal };
        const result = await queueBatch(task, { ...shared, ...how, ...calls });
        return { result, text: batchText(result), badRows: result.errors };
      }),
    );
}
