// stillroom export: one checked GGUF from a base and an adapter.
import type { Command } from "commander";
import { exportModel, readTask } from "../../src/index.js";
import { type CommonOptions, command, real, size } from "../options.js";
import { fileSize } from "../print.js";
import { onBad, onDownload, onExport } from "../print-events.js";
import { exportText } from "../print-export.js";
import { measured, run } from "../run.js";

interface ExportCommandOptions extends CommonOptions {
  adapter?: string;
  under?: string;
  data?: string;
  quantize?: string;
  size?: number;
  imatrix?: string;
  check?: string;
  prompt?: string;
  limit?: number;
  strict?: boolean;
  keepMerged?: string;
  out: string;
  maxKlMerge?: number;
  maxKl?: number;
  maxDrop?: number;
}

export function exportCommand(): Command {
  const shared = ["model", "adapter", "data", "limit", "strict", "threads", "seed"] as const;
  return command("export", "Merge, quantise and check: one GGUF that llama.cpp loads.", shared)
    .requiredOption("--out <file>", "the GGUF to write; it appears after the gate, or not at all")
    .option("--under <run>", "not merged: what the file will be run under, a head with it; the gate measures under it")
    .option("--quantize <type>", "one of llama.cpp's types (default: Q4_K_M)")
    .option(
      "--size <size>",
      "in place of --quantize: most bytes of the file, such as 8MB; types by measured loss",
      size,
    )
    .option("--imatrix <task>", "importance matrix from this task's training rows")
    .option("--check <task>", "gate on this task's held-out rows (validation, else test)")
    .option("--prompt <file>", "a prompt file, in place of the prompts of --imatrix and --check")
    .option("--keep-merged <file>", "keep the merged model in f32 as well")
    .option("--max-kl-merge <nats>", "gate: mean KL(run-time adapter || merged) (default: 0.001)", real)
    .option("--max-kl <nats>", "gate: mean KL(merged || quantised) (default: 0.1)", real)
    .option("--max-drop <share>", "gate: drop of the task's metric in one step (default: 0.02)", real)
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom export --model model.gguf --adapter runs/first --quantize Q4_K_M --check task.yaml --out small.gguf
  $ stillroom export --model model.gguf --adapter runs/first --quantize IQ2_M --imatrix task.yaml --out tiny.gguf
  $ stillroom export --model model.gguf --under runs/headed --quantize Q4_K_M --check task.yaml --out beneath.gguf
  $ stillroom export --model student.gguf --size 8MB --imatrix task.yaml --check task.yaml --out box.gguf`,
    )
    .action(
      (
        { json: _, data, imatrix, check, maxKlMerge, maxKl, maxDrop, ...options }: ExportCommandOptions,
        made: Command,
      ) =>
        run(made, async ({ signal, progress }) => {
          const where = data === undefined ? {} : { data };
          const work = exportModel({
            ...options,
            imatrix: imatrix === undefined ? undefined : await readTask(imatrix, where),
            check: check === undefined ? undefined : await readTask(check, where),
            bounds: { adapterMergedKl: maxKlMerge, mergedQuantizedKl: maxKl, metricDrop: maxDrop },
            signal,
            onProgress: onExport(progress),
            onDownload: onDownload(progress),
            onBad: onBad(progress),
          });
          const { result, failures } = await measured(work);
          const { out, bytes, model, model_bytes } = result;
          if (failures.length === 0 && bytes > model_bytes)
            progress.warn(`${out} has ${fileSize(bytes)}, more than the ${fileSize(model_bytes)} of ${model}`);
          return { result, text: exportText(result), badRows: result.gate?.errors ?? 0, failures };
        }),
    );
}
