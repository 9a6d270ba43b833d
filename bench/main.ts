#!/usr/bin/env node
// npm run bench: what is timed, against whom. Translates options; the trials live beside it.
import { Command, Option } from "commander";
import { precisionOption, real, whole } from "../bin/options.js";
import { run } from "../bin/run.js";
import { StillroomError } from "../src/index.js";
import { type AgreeOptions, benchAgree } from "./agree.js";
import { benchKernels, type KernelOptions } from "./kernels.js";
import { type ReferenceOptions, writeReference } from "./reference.js";
import { benchScore, type ScoreBenchOptions } from "./score.js";
import { kernelTable, profileTable, scoreTable, tuneTable } from "./tables.js";
import { benchTune, type TuneBenchOptions } from "./tune.js";

interface Output {
  json?: boolean;
}

const modelOption = () =>
  new Option("--model <model>", "path of a GGUF, or an hf: URI (default: the model in the box)");
const threadsOption = () => new Option("--threads <n>", "threads (default: physical cores)").argParser(whole(1));
const jsonOption = () => new Option("--json", "print one JSON object on stdout");
const program = new Command("bench").description("Times stillroom and its peers on the same work in the same run.");

program
  .command("tune")
  .description("LoRA tuning: dense batches of 4 x 256 tokens, and SST-2 rows with completion loss")
  .addOption(new Option("--peer <peer>", "who takes turns").choices(["pytorch", "none"]).default("pytorch"))
  .addOption(modelOption())
  .addOption(new Option("--work <work>", "which rows").choices(["dense", "sst2", "both"]).default("both"))
  .option("--repeat <n>", "timed optimiser steps of each side", whole(1), 5)
  .addOption(threadsOption())
  .option("--rank <n>", "rank of the adapter on all linear layers", whole(1), 16)
  .addOption(
    new Option("--peer-logits <where>", "the peer's logits: everywhere, as transformers' Trainer, or at labels only")
      .choices(["all", "labels"])
      .default("all"),
  )
  .option("--peer-rows <n>", "rows of one forward pass of the peer (default: the whole step)", whole(1))
  .option("--seed <s>", "seed of rows and first weights", whole(0), 0)
  .addOption(precisionOption())
  .option("--profile", "print where our time went, by part and kernel")
  .addOption(jsonOption())
  .action(({ json: _, profile, ...options }: TuneBenchOptions & Output & { profile?: true }, command: Command) =>
    run(command, async ({ signal, progress }) => {
      const result = await benchTune(options, { signal, say: (line) => progress.line(line) });
      const text = [tuneTable(result), ...(profile ? [profileTable(result)] : []), ""].join("\n");
      if (result.equal) return { result, text };
      throw new StillroomError("gate", `the two sides do not compute the same\n${text}`, { cause: result });
    }),
  );

program
  .command("score")
  .description("labels of a classify task: rows/s, answers and log-probabilities beside the peer's")
  .argument("<task>", "task file")
  .addOption(
    new Option("--peer <peer>", "who takes turns").choices(["pytorch", "node-llama-cpp", "none"]).default("pytorch"),
  )
  .addOption(modelOption())
  .option("--data <dir>", "folder of the task's data, instead of the task file's own")
  .option("--shots <k>", "answered training rows before each prompt", whole(0), 0)
  .option("--rows <n>", "rows of a turn", whole(1), 64)
  .option("--repeat <n>", "timed turns of each side", whole(1), 3)
  .addOption(threadsOption())
  .addOption(precisionOption())
  .option("--peer-rows <n>", "rows of one forward pass of pytorch", whole(1), 16)
  .option("--peer-prefix", "pytorch keeps the beginning that all rows share in its cache", false)
  .option("--seed <s>", "seed of the examples", whole(0), 0)
  .addOption(jsonOption())
  .action((task: string, { json: _, ...options }: ScoreBenchOptions & Output, command: Command) =>
    run(command, async ({ signal, progress }) => {
      const result = await benchScore(task, options, { signal, say: (line) => progress.line(line) });
      const text = `${scoreTable(result)}\n`;
      if (result.equal) return { result, text };
      throw new StillroomError("gate", `the two sides do not compute the same\n${text}`, { cause: result });
    }),
  );

program
  .command("kernels")
  .description("one linear layer of 512 rows on one core, every weight type, as a share of the FMA peak")
  .option("--types <names>", "weight types (default: all)", (text) => text.split(","))
  .option("--variant <name>", "kernel variant (default: the best that this machine runs)")
  .addOption(precisionOption())
  .option("--repeat <n>", "products of a measurement", whole(1), 20)
  .addOption(jsonOption())
  .action(({ json: _, ...options }: KernelOptions & Output, command: Command) =>
    run(command, async ({ progress }) => {
      const result = await benchKernels(options, (line) => progress.line(line));
      return { result, text: `${kernelTable(result)}\n` };
    }),
  );

program
  .command("reference")
  .description("job files for bench/peers: the rows, order, rates and first weights of `stillroom tune` on a task")
  .argument("<task>", "task file")
  .requiredOption("--out <dir>", "folder for tune.json, eval.json and the first adapter")
  .option("--data <dir>", "folder of the task's data, instead of the task file's own")
  .addOption(modelOption())
  .option("--limit <n>", "training rows", whole(1))
  .option("--epochs <n>", "passes over the training rows", real)
  .option("--rank <n>", "rank of the adapter", whole(1))
  .option("--seed <s>", "seed, as of tune", whole(0), 0)
  .addOption(threadsOption())
  .addOption(jsonOption())
  .action((task: string, { json: _, ...options }: ReferenceOptions & Output, command: Command) =>
    run(command, async () => {
      const result = await writeReference(task, options);
      return { result, text: `${result.tune}\n${result.eval ?? "no test rows to score"}\n` };
    }),
  );

program
  .command("agree")
  .description("whether node-llama-cpp gives the same answers on a classify task as our engine, from the same file")
  .argument("<task>", "task file")
  .addOption(modelOption())
  .option("--data <dir>", "folder of the task's data, instead of the task file's own")
  .option("--limit <n>", "test rows", whole(1))
  .addOption(threadsOption())
  .addOption(jsonOption())
  .action((task: string, { json: _, ...options }: AgreeOptions & Output, command: Command) =>
    run(command, async ({ progress }) => {
      const result = await benchAgree(task, options, (line) => progress.line(line));
      return { result, text: `${JSON.stringify(result, null, 2)}\n` };
    }),
  );

await program.parseAsync();
