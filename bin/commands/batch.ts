// stillroom batch: answers ahead of time, kept in a store.
import { type Command, Option } from "commander";
import { type BatchOptions, batch, readTask } from "../../src/index.js";
import { isTaskFile } from "../../src/task/index.js";
import { type CommonOptions, command, duration, normaliseOption, size, whole } from "../options.js";
import { batchText } from "../print.js";
import { onBad, onBatch, onDownload } from "../print-events.js";
import { run } from "../run.js";

type BatchCommandOptions = CommonOptions & Omit<BatchOptions, "signal"> & { data?: string };

export function batchCommand(): Command {
  const shared = ["model", "adapter", "data", "threads", "precision", "seed"] as const;
  return command("batch", "Answer all rows of a file ahead of time, and keep the answers in a store.", shared)
    .argument("<input>", "task file, or requests in OpenAI's batch format (.jsonl)")
    .requiredOption("--store <dir>", "the store that keeps the answers; begun where there is none")
    .requiredOption("--out <file>", "the file of answers, one line a row")
    .option("--errors <file>", "the file of rows that failed (default: --out with .errors.jsonl behind it)")
    .addOption(new Option("--split <split>", "rows of a task").choices(["train", "validation", "test"]).default("test"))
    .option("--shots <k>", "of a task: answered training rows before each prompt", whole(0), 0)
    .addOption(new Option("--order <order>", "of the lines of --out").choices(["input", "finished"]).default("input"))
    .option("--max-rows <n>", "stop after computing so many rows", whole(1))
    .option("--max-time <time>", "stop after so long, such as 10m or 8h", duration)
    .option("--max-tokens <n>", "stop after computing so many tokens", whole(1))
    .option("--window <rows>", "rows that are looked at together, for their order of work (default: 2048)", whole(1))
    .option("--namespace <name>", "of the store (default: default)")
    .option("--lifetime <time>", "how long answers are known, such as 30d (default: for ever)", duration)
    .option("--max-bytes <size>", "largest size of the store, such as 2G; what was written first gives way", size)
    .addOption(normaliseOption())
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom batch task.yaml --model model.gguf --store answers --out answers.jsonl
  $ stillroom batch requests.jsonl --store answers --out answers.jsonl --max-time 8h
  $ stillroom lookup --store answers "the text of a row"`,
    )
    .action((input: string, { json: _, data, ...options }: BatchCommandOptions, command: Command) =>
      run(command, async ({ signal, progress }) => {
        const result = await batch(
          isTaskFile(input) ? await readTask(input, data === undefined ? {} : { data }) : input,
          {
            ...options,
            signal,
            onProgress: onBatch(progress),
            onDownload: onDownload(progress),
            onBad: onBad(progress),
          },
        );
        return { result, text: batchText(result), badRows: result.errors };
      }),
    );
}
