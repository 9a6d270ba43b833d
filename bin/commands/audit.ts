// stillroom audit: what a task's rows, and a model's answers to them, are unfair about.
import type { Command } from "commander";
import { audit, readTask, reportAudit } from "../../src/index.js";
import { requirePlace } from "../../src/report/index.js";
import { command, names, type ScoringOptions, typedCommand, whole, wordPair } from "../options.js";
import { auditText } from "../print-audit.js";
import { onAudit, onBad, onDownload } from "../print-events.js";
import { run } from "../run.js";

interface AuditCommandOptions extends ScoringOptions {
  adapter?: string;
  against?: string;
  groups?: string[];
  positive?: string;
  swap?: [string, string][];
  crowsPairs?: string;
  bbq?: string;
  bbqRows?: number;
  cache?: string;
  texts?: string;
  report?: string;
}

export function auditCommand(): Command {
  const shared = ["model", "adapter", "data", "limit", "strict", "threads", "precision", "seed"] as const;
  const asked = ["shots", "prompt", "split"] as const;
  return command("audit", "What a task's rows, and a model's answers to them, are unfair about.", [...shared, ...asked])
    .argument("<task>", "task file; its bounds, where broken, end the command with exit code 1")
    .option("--against <other>", "what changed against a model, MODEL+ADAPTER or a RUN folder, such as before tuning")
    .option("--groups <columns>", "columns whose values are groups, separated by commas", names)
    .option("--positive <label>", "the favourable label (default: of two the second, else each in turn)")
    .option("--swap <one=other>", "words to swap besides the lists in the box; may be given again", wordPair)
    .option(
      "--crows-pairs <file>",
      "CrowS-Pairs (crows_pairs_anonymized.csv): which sentences the model thinks likelier",
    )
    .option("--bbq <dir>", "BBQ (.jsonl files): accuracy and bias of answers about people")
    .option("--bbq-rows <n>", "rows of BBQ, drawn by the seed; 0 for all (default: 2000)", whole(0))
    .option("--cache <dir>", "what a teacher said to the training rows (of teach, or RUN/teacher of distill), by group")
    .option("--texts <file>", "of a cache that was made with texts: their file")
    .option("--report <file>", "write an HTML page of the audit")
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom audit task.yaml --model model.gguf --adapter runs/first --against model.gguf
  $ stillroom audit task.yaml --model small.gguf --groups region,dialect --positive approved --swap Emily=Lakisha
  $ stillroom audit task.yaml --model runs/small/quantized.gguf --cache runs/small/teacher
  $ stillroom audit task.yaml --model small.gguf --crows-pairs crows_pairs_anonymized.csv --bbq bbq/data`,
    )
    .action((file: string, { json: _, data, swap, report, ...options }: AuditCommandOptions, command: Command) =>
      run(command, async ({ signal, progress }) => {
        if (report !== undefined) await requirePlace(report);
        const task = await readTask(file, data === undefined ? {} : { data });
        const result = await audit(task, {
          ...options,
          swaps: swap,
          signal,
          onProgress: onAudit(progress),
          onDownload: onDownload(progress),
          onBad: onBad(progress),
        });
        if (report !== undefined) await reportAudit(result, typedCommand(), report);
        return { result, text: auditText(result), badRows: result.errors, failures: result.bounds.failures };
      }),
    );
}
