// stillroom tune: a LoRA adapter, or a whole model, from a task and a GGUF.
import { type Command, Option } from "commander";
import { readTask, type TuneOptions, tune } from "../../src/index.js";
import { type CommonOptions, command, layers, names, real, size, whole } from "../options.js";
import { tuneText } from "../print.js";
import { onTune } from "../print-events.js";
import { run } from "../run.js";

type TuneCommandOptions = CommonOptions &
  Omit<TuneOptions, "learningRate" | "betas" | "signal"> & { data?: string; lr?: number };

export function tuneCommand(): Command {
  const made = command("tune", "Train a LoRA adapter, or weights of the model itself, on a task.", [
    ...(["model", "data", "limit", "strict", "threads", "precision"] as const),
  ])
    .argument("<task>", "task file")
    .requiredOption("--out <run>", "the RUN folder: adapter (PEFT and GGUF) or model, metrics, checkpoints")
    .option("--resume", "go on with the run that --out holds, to the same bytes")
    .option("--seed <s>", "seed of the first weights, the row order and dropout (default: 0)", whole(0));
  lengthOptions(made);
  weightOptions(made);
  optimizerOptions(made);
  return made
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom tune task.yaml --model model.gguf --out runs/first
  $ stillroom tune task.yaml --out runs/first --rank 32 --lr 1e-4 --epochs 3 --patience 3
  $ stillroom tune task.yaml --model model.gguf --out runs/full --method full --optimizer adamw_8bit --layers 20-29
  $ stillroom tune task.yaml --out runs/first --resume`,
    )
    .action((file: string, { json: _, data, lr, ...options }: TuneCommandOptions, command: Command) =>
      run(command, async ({ signal, progress }) => {
        const task = await readTask(file, data === undefined ? {} : { data });
        const work = tune(task, { ...options, ...(lr !== undefined && { learningRate: lr }), signal });
        const show = onTune(progress);
        for await (const event of work) show(event);
        const result = await work.result;
        return { result, text: tuneText(result), badRows: result.bad_rows };
      }),
    );
}

function lengthOptions(made: Command): void {
  made
    .option("--epochs <n>", "passes over the training rows (default: 1)", real)
    .option("--steps <n>", "optimiser steps, instead of --epochs", whole(1))
    .option("--batch-size <rows>", "rows of one optimiser step (default: 16)", whole(1))
    .option("--token-budget <n>", "most tokens of one micro-batch (default: 512)", whole(1))
    .option("--memory <size>", "memory that the process should stay under, such as 2G", size)
    .option("--recompute", "less memory: compute activations again in the backward pass")
    .option("--max-length <tokens>", "longest row (default: 1024, or what the model allows)", whole(2))
    .addOption(
      new Option("--on-long <what>", "what happens to longer rows (default: truncate)").choices(["truncate", "drop"]),
    )
    .option("--evaluate-every <steps>", "validate so often (default: four times a run)", whole(1))
    .option("--validation-limit <rows>", "most validation rows (default: by the rows trained on, 50 to 500)", whole(1))
    .option("--patience <n>", "stop after so many validations without a better one", whole(1))
    .option("--checkpoint-every <steps>", "write a checkpoint so often (default: by time)", whole(1));
}

function weightOptions(made: Command): void {
  made
    .addOption(
      new Option("--method <method>", "a LoRA, weights of the model, or its head alone (default: lora)").choices([
        ...["lora", "full", "head"],
      ]),
    )
    .option("--targets <names>", "q,k,v,o,gate,up,down,head,embeddings; full also norms,biases,final_norm", names)
    .option("--layers <numbers>", "only the weights of these layers, such as 20-29 or 0,5,28 (default: all)", layers)
    .option("--rank <n>", "rank of the adapter (default: 16)", whole(1))
    .option("--alpha <a>", "the adapter is scaled by alpha / rank (default: twice the rank)", real)
    .option("--dropout <p>", "share of the adapter's inputs that is dropped (default: 0)", real)
    .option("--rs-lora", "scale by alpha / sqrt(rank)");
}

function optimizerOptions(made: Command): void {
  made
    .addOption(
      new Option("--optimizer <name>", "AdamW, with its moments in f32 or in 8 bits (default: adamw)").choices([
        ...["adamw", "adamw_8bit"],
      ]),
    )
    .option("--lr <rate>", "highest learning rate (default: 2e-4; with --method full 2e-5)", real)
    .addOption(
      new Option("--schedule <name>", "of the rate (default: linear)").choices(["constant", "linear", "cosine"]),
    )
    .option("--warmup <n>", "steps, or below 1 a share of all (default: 0.03)", real)
    .option("--weight-decay <w>", "decoupled, of AdamW (default: 0)", real)
    .option("--clip-norm <n>", "largest global norm of the gradient, 0 for none (default: 1)", real);
}
