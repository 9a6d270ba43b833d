// stillroom eval: how well a model does a task.
import type { Command } from "commander";
import { evaluate, readTask, reportEvaluation } from "../../src/index.js";
import { requirePlace } from "../../src/report/index.js";
import { again, command, type ScoringOptions, typedCommand } from "../options.js";
import { evaluationText } from "../print.js";
import { onBad, onDownload, onScoring } from "../print-events.js";
import { run } from "../run.js";

interface EvalOptions extends ScoringOptions {
  adapter?: string;
  calibration: boolean;
  predictions?: string;
  against?: string;
  slice?: string[];
  report?: string;
}

export function evalCommand(): Command {
  const shared = ["model", "adapter", "data", "limit", "strict", "threads", "precision", "seed"] as const;
  const asked = ["shots", "prompt", "split"] as const;
  return command("eval", "How well a model does a task: metrics with 95 % intervals.", [...shared, ...asked])
    .argument("<task>", "task file")
    .option("--no-calibration", "answers as the model gives them, whatever the adapter's run was calibrated by")
    .option("--predictions <file>", "write one JSONL line a row: index, answer, prediction, probabilities")
    .option("--against <other>", "compare (McNemar) with a predictions file (.jsonl) or another model")
    .option(
      "--slice <column>",
      "the metrics of each value of a column, besides those of all rows; give it again for further ones",
      again,
    )
    .option("--report <file>", "write an HTML page of the evaluation")
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom eval task.yaml --model model.gguf --shots 4 --limit 200
  $ stillroom eval task.yaml --model model.gguf --adapter runs/first --against model.gguf
  $ stillroom eval task.yaml --model small.gguf --against before.jsonl --json
  $ stillroom eval task.yaml --model small.gguf --slice product --report eval.html`,
    )
    .action((file: string, { json: _, data, report, ...options }: EvalOptions, command: Command) =>
      run(command, async ({ signal, progress }) => {
        const { predictions } = options;
        const others = predictions === undefined ? [] : [{ what: "the predictions file", file: predictions }];
        if (report !== undefined) await requirePlace(report, others);
        const task = await readTask(file, data === undefined ? {} : { data });
        const result = await evaluate(task, {
          ...options,
          signal,
          onProgress: onScoring(progress),
          onDownload: onDownload(progress),
          onBad: onBad(progress),
        });
        if (report !== undefined) await reportEvaluation(result, typedCommand(), report);
        return { result, text: evaluationText(result), badRows: result.errors };
      }),
    );
}
