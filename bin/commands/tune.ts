// stillroom tune: a LoRA adapter, or a whole model, from a task and a GGUF.
import type { Command } from "commander";
import { readTask, reportRun, type TuneOptions, tune } from "../../src/index.js";
import { requirePlace } from "../../src/report/index.js";
import { type CommonOptions, command, whole } from "../options.js";
import { tuneText } from "../print.js";
import { onTune } from "../print-events.js";
import { run } from "../run.js";
import { headOptions, lengthOptions, optimizerOptions, weightOptions } from "../training-options.js";

type TuneCommandOptions = CommonOptions &
  Omit<TuneOptions, "learningRate" | "betas" | "signal"> & { data?: string; lr?: number; report?: string };

export function tuneCommand(): Command {
  const made = command("tune", "Train a LoRA adapter, or weights of the model itself, on a task.", [
    ...(["model", "data", "limit", "strict", "threads", "precision"] as const),
  ])
    .argument("<task>", "task file")
    .requiredOption("--out <run>", "the RUN folder: adapter (PEFT and GGUF) or model, metrics, checkpoints")
    .option("--resume", "go on with the run that --out holds, to the same bytes")
    .option("--report <file>", "write an HTML page of the run when it ends, or of a run that has ended with --resume")
    .option("--seed <s>", "seed of the first weights, the row order and dropout (default: 0)", whole(0));
  lengthOptions(made);
  headOptions(made);
  weightOptions(made, "lora");
  optimizerOptions(made);
  return made
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom tune task.yaml --model model.gguf --out runs/first
  $ stillroom tune task.yaml --out runs/first --rank 32 --lr 1e-4 --epochs 3 --evaluate-every 100 --patience 3
  $ stillroom tune task.yaml --model model.gguf --out runs/full --method full --optimizer adamw_8bit --layers 20-29
  $ stillroom tune task.yaml --out runs/first --resume`,
    )
    .action((file: string, { json: _, data, lr, report, ...options }: TuneCommandOptions, command: Command) =>
      run(command, async ({ signal, progress }) => {
        if (report !== undefined) await requirePlace(report);
        const task = await readTask(file, data === undefined ? {} : { data });
        const work = tune(task, { ...options, ...(lr !== undefined && { learningRate: lr }), signal });
        const show = onTune(progress);
        for await (const event of work) show(event);
        const result = await work.result;
        if (report !== undefined) await reportRun(result.run, report);
        return { result, text: tuneText(result), badRows: result.bad_rows };
      }),
    );
}
