// stillroom compare: several models, runs or predictions on the same rows of a task.
import type { Command } from "commander";
import { compare, readTask, reportCompare } from "../../src/index.js";
import { requirePlace } from "../../src/report/index.js";
import { command, type ScoringOptions, typedCommand } from "../options.js";
import { compareText } from "../print-compare.js";
import { onBad, onCompare, onDownload } from "../print-events.js";
import { run } from "../run.js";

interface CompareCommandOptions extends ScoringOptions {
  task: string;
  metric?: string;
  report?: string;
}

export function compareCommand(): Command {
  const shared = ["data", "limit", "strict", "threads", "precision", "seed"] as const;
  const asked = ["shots", "prompt", "split"] as const;
  return command("compare", "Several models on the same rows of a task, and whether they differ.", [
    ...shared,
    ...asked,
  ])
    .argument("<names...>", "models, MODEL+ADAPTER, RUN folders of tune, or predictions files (.jsonl)")
    .requiredOption("--task <task>", "task file")
    .option("--metric <name>", "what differences are taken of (default: the task's metric)")
    .option("--report <file>", "write an HTML page of the comparison")
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom compare model.gguf runs/first small.gguf --task task.yaml
  $ stillroom compare small.gguf+runs/second/adapter before.jsonl --task task.yaml --limit 500 --metric log_loss`,
    )
    .action(
      (names: string[], { json: _, task: file, data, report, ...options }: CompareCommandOptions, command: Command) =>
        run(command, async ({ signal, progress }) => {
          if (report !== undefined) await requirePlace(report);
          const task = await readTask(file, data === undefined ? {} : { data });
          const result = await compare(task, names, {
            ...options,
            signal,
            onProgress: onCompare(progress),
            onDownload: onDownload(progress),
            onBad: onBad(progress),
          });
          if (report !== undefined) await reportCompare(result, typedCommand(), report);
          return { result, text: compareText(result), badRows: result.errors };
        }),
    );
}
