// The options that tune and distill share: how long, what is trained, and with what steps.
import { type Command, Option } from "commander";
import { precisions } from "../src/support/native.js";
import { layers, names, real, reals, size, whole } from "./options.js";

export function lengthOptions(made: Command): void {
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

/** usual: the method without --method, as the help says it. */
export function weightOptions(made: Command, usual: string): void {
  made
    .addOption(
      new Option("--method <method>", `a LoRA, weights of the model, or its head alone (default: ${usual})`).choices([
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

export function optimizerOptions(made: Command): void {
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

/** A head of the task's own, what answers are calibrated by, and a prompt in place of the task's. */
export function headOptions(made: Command): void {
  made
    .addOption(
      new Option(
        "--head <loss>",
        "a head of the task's own on the last hidden state: softmax for classify; sigmoid (default) for multilabel; squared (default), huber, pinball for regress",
      ).choices(["softmax", "sigmoid", "squared", "huber", "pinball"]),
    )
    .option("--quantiles <levels>", "of --head pinball (default: 0.05,0.5,0.95)", reals)
    .option("--huber-delta <d>", "of --head huber: standard deviations from where errors are linear (default: 1)", real)
    .addOption(
      new Option("--class-weights <how>", "of --head softmax or sigmoid: rare labels weigh more").choices(["balanced"]),
    )
    .addOption(
      new Option("--calibrate <how>", "label probabilities, on the validation rows (default: temperature)").choices([
        ...["temperature", "isotonic", "none"],
      ]),
    )
    .option(
      "--target-precision <p>",
      "leave unsure answers open, or labels of a set out, so that of those given this share is right",
      real,
    )
    .option("--coverage <p>", "of numbers: the share of answers within their intervals (default: 0.9)", real)
    .addOption(promptOption());
}

/** A prompt in place of the task's. */
function promptOption(): Option {
  return new Option(
    "--prompt <file>",
    "a prompt file, in place of the task's prompt: rows are learnt behind its examples",
  );
}

/** Which teacher, and what is kept of what it says. */
export function teacherOptions(made: Command): void {
  made
    .addOption(promptOption())
    .option("--teacher <model>", "the teacher: path of a GGUF, or an hf: URI (default: the model in the box)")
    .option("--teacher-adapter <run>", "its adapter: a RUN folder of tune, a PEFT folder or a GGUF LoRA")
    .addOption(
      new Option("--teacher-precision <p>", "of its products, as --precision (default: f32)").choices(precisions),
    )
    .option(
      "--texts <file>",
      "texts without answers, lines of .txt or the field text of .jsonl, beside the task's rows",
    )
    .option("--top-k <n>", "tokens kept of each position (default: 64)", whole(1))
    .addOption(
      new Option(
        "--tail <what>",
        "of the less likely ones: a draw, or one mass (default: sample, for other losses than forward_kl bucket)",
      ).choices(["sample", "bucket"]),
    )
    .option("--temperature <t>", "of the softmax of teacher and student (default: 1)", real);
}
