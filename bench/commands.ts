// The trials as commands: what is timed, against whom, with which options. Translates; the trials live beside it and are loaded
// when they are called, so that the program starts without them.
import { Argument, type Command, InvalidArgumentError, Option } from "commander";
import { command, names, real, whole } from "../bin/options.js";
import { onBad } from "../bin/print-events.js";
import { run } from "../bin/run.js";
import { StillroomError } from "../src/index.js";
import type { AgreeOptions } from "./agree.js";
import type { BatchBenchOptions } from "./batch.js";
import type { DecodeBenchOptions } from "./decode.js";
import type { DistillBenchOptions } from "./distill.js";
import type { GrowthOptions, PlotName } from "./growth.js";
import type { KernelOptions } from "./kernels.js";
import type { LookupBenchOptions } from "./lookup.js";
import type { ReferenceOptions } from "./reference.js";
import type { ScoreBenchOptions } from "./score.js";
import type { RowSession } from "./scored-rows.js";
import { type MadePeer, madePeers } from "./setup.js";
import type { TuneBenchOptions } from "./tune.js";

interface Output {
  json?: boolean;
  profile?: boolean;
}

/** The commands below `bench`. */
export function trialCommands(): Command[] {
  return [
    tuneTrial(),
    distillTrial(),
    scoreTrial(),
    decodeTrial(),
    batchTrial(),
    lookupTrial(),
    growthTrial(),
    kernelTrial(),
    agreeCommand(),
    referenceCommand(),
    setupCommand(),
  ];
}

/** Runs a trial and prints its table. Where the sides do not compute the same, the times do not count: that ends as a failed gate. */
function timed(
  made: Command,
  work: (session: RowSession) => Promise<{ result: { equal: boolean | null; errors?: number }; text: string }>,
): Promise<never> {
  return run(made, async ({ signal, progress }) => {
    const { result, text } = await work({ signal, say: (line) => progress.line(line), onBad: onBad(progress) });
    if (result.equal !== false) return { result, text: `${text}\n`, badRows: result.errors ?? 0 };
    throw new StillroomError("gate", `the two sides do not compute the same\n${text}`, { cause: result });
  });
}

function peerOption(...peers: string[]): Option {
  return new Option("--peer <peer>", "who takes turns").choices([...peers, "none"]).default(peers[0]);
}

const profileOption = (): Option => new Option("--profile", "print where our time went, by part and kernel");

function tuneTrial(): Command {
  return command("tune", "Tuning: dense batches of 4 x 256 tokens, and SST-2 rows with completion loss.", [
    ...(["model", "threads", "precision", "seed"] as const),
  ])
    .option(
      "--data <dir>",
      "folder of SST-2's train.tsv, the text of both works (default: $STILLROOM_SHARED/data/sst2)",
    )
    .addOption(peerOption("pytorch"))
    .addOption(new Option("--method <method>", "a LoRA, or all weights").choices(["lora", "full"]).default("lora"))
    .addOption(
      new Option("--optimizer <name>", "ours; the peer's moments are in f32")
        .choices(["adamw", "adamw_8bit"])
        .default("adamw"),
    )
    .addOption(new Option("--work <work>", "which rows").choices(["dense", "sst2", "both"]).default("both"))
    .option("--repeat <n>", "timed optimiser steps of each side", whole(1), 5)
    .option("--rank <n>", "rank of the adapter on all linear layers (default: 16)", whole(1))
    .addOption(
      new Option("--peer-logits <where>", "the peer's logits: everywhere, as transformers' Trainer, or at labels only")
        .choices(["all", "labels"])
        .default("all"),
    )
    .option("--peer-rows <n>", "rows of one forward pass of the peer (default: the whole step)", whole(1))
    .addOption(profileOption())
    .action(({ json: _, profile, ...options }: TuneBenchOptions & Output, made: Command) =>
      timed(made, async (session) => {
        const [{ benchTune }, tables] = await Promise.all([import("./tune.js"), import("./tables.js")]);
        const result = await benchTune(options, session);
        const text = [tables.tuneTable(result), ...(profile ? [tables.profileTable(result.ours.work)] : [])].join("\n");
        return { result, text };
      }),
    );
}

function distillTrial(): Command {
  return command(
    "distill",
    "Distilling every third layer of a model: the teacher asked once, beside one that is resident; with trl on-policy.",
    [...(["model", "threads", "precision", "seed"] as const)],
  )
    .option(
      "--data <dir>",
      "folder of SST-2's train.tsv, the text of both works (default: $STILLROOM_SHARED/data/sst2)",
    )
    .addOption(peerOption("pytorch", "trl"))
    .addOption(new Option("--work <work>", "which rows").choices(["dense", "sst2"]).default("sst2"))
    .option("--top-k <n>", "tokens that are kept of each position", whole(1), 64)
    .option("--repeat <n>", "timed optimiser steps of each side", whole(1), 3)
    .action(({ json: _, ...options }: DistillBenchOptions & Output, made: Command) =>
      timed(made, async (session) => {
        const tables = await import("./tables.js");
        if (options.peer === "trl") {
          const { benchOnPolicy } = await import("./on-policy.js");
          const result = await benchOnPolicy(options, session);
          return { result, text: tables.onPolicyTable(result) };
        }
        const { benchDistill } = await import("./distill.js");
        const result = await benchDistill(options, session);
        return { result, text: tables.distillTable(result) };
      }),
    );
}

function scoreTrial(): Command {
  return command("score", "Labels of a classify task: rows/s, answers and log-probabilities beside the peer's.", [
    ...(["model", "data", "threads", "precision", "seed"] as const),
  ])
    .argument("<task>", "task file")
    .addOption(peerOption("pytorch", "node-llama-cpp"))
    .option("--shots <k>", "answered training rows before each prompt", whole(0), 0)
    .option("--rows <n>", "rows of a turn", whole(1), 64)
    .option("--repeat <n>", "timed turns of each side", whole(1), 3)
    .option("--peer-rows <n>", "rows of one forward pass of pytorch; sequences of node-llama-cpp", whole(1), 16)
    .option("--peer-prefix", "pytorch keeps what prompts and labels share in its cache", false)
    .addOption(profileOption())
    .action((task: string, { json: _, profile, ...options }: ScoreBenchOptions & Output, made: Command) =>
      timed(made, async (session) => {
        const [{ benchScore }, tables] = await Promise.all([import("./score.js"), import("./tables.js")]);
        const result = await benchScore(task, options, session);
        const profiled = profile ? [tables.profileTable({ [`${options.shots} shots`]: result.ours })] : [];
        return { result, text: [tables.scoreTable(result), ...profiled].join("\n") };
      }),
    );
}

function decodeTrial(): Command {
  return command("decode", "Greedy answers to many prompts side by side: tokens/s beside the peer's.", [
    ...(["model", "threads", "precision", "seed"] as const),
  ])
    .addOption(peerOption("llama.cpp", "node-llama-cpp"))
    .option("--type <type>", "quantise the model to one of llama.cpp's types first")
    .option("--sequences <n>", "prompts that are answered side by side", whole(1), 32)
    .option("--prompt-tokens <n>", "of each prompt", whole(1), 128)
    .option("--answer-tokens <n>", "of each answer", whole(2), 64)
    .option("--shared-prefix", "all prompts are the same, but for one token behind them", false)
    .option("--repeat <n>", "timed turns of each side", whole(1), 3)
    .addOption(profileOption())
    .action(({ json: _, profile, ...options }: DecodeBenchOptions & Output, made: Command) =>
      timed(made, async (session) => {
        const [{ benchDecode }, tables] = await Promise.all([import("./decode.js"), import("./tables.js")]);
        const result = await benchDecode(options, session);
        const profiled = profile ? [tables.profileTable({ decode: result.ours })] : [];
        return { result, text: [tables.decodeTable(result), ...profiled].join("\n") };
      }),
    );
}

function batchTrial(): Command {
  return command("batch", "A classify task's rows in bulk: rows/s of batch beside a peer that asks row by row.", [
    ...(["model", "data", "threads", "precision", "seed"] as const),
  ])
    .argument("<task>", "task file")
    .addOption(peerOption("llama.cpp", "node-llama-cpp"))
    .addOption(new Option("--split <split>", "whose rows").choices(["train", "test"]).default("test"))
    .option("--rows <n>", "rows of a turn, drawn by the seed", whole(1), 200)
    .option("--repeat <n>", "timed turns of each side", whole(1), 3)
    .action((task: string, { json: _, ...options }: BatchBenchOptions & Output, made: Command) =>
      timed(made, async (session) => {
        const [{ benchBatch }, { batchTable }] = await Promise.all([import("./batch.js"), import("./tables.js")]);
        const result = await benchBatch(task, options, session);
        return { result, text: batchTable(result) };
      }),
    );
}

function lookupTrial(): Command {
  const peers = ["sqlite", "redis"];
  return command("lookup", "Look-ups at many keys, one after the other or by HTTP, beside those of peers.", ["seed"])
    .addOption(
      new Option("--peer <names>", "who take turns: sqlite, redis, both with a comma between them, or none")
        .default(["sqlite"], "sqlite")
        .argParser((text): string[] => {
          const asked = text.trim() === "none" ? [] : names(text);
          if (asked.every((name) => peers.includes(name))) return asked;
          throw new InvalidArgumentError(`Expected some of ${peers.join(", ")}, separated by commas, or none.`);
        }),
    )
    .option("--keys <n>", "answers in each side's store", whole(1), 1_000_000)
    .option("--lookups <n>", "of a turn", whole(100), 200_000)
    .option("--stores <dir>", "folder of the filled stores, kept and used again (default: a temporary one)")
    .option("--http", "by HTTP: stillroom serve, and the peers behind Node's own server", false)
    .option("--connections <n>", "of --http: requests under way at once", whole(1), 32)
    .option("--seconds <n>", "of --http: a turn", whole(1), 5)
    .option("--repeat <n>", "timed turns of each side", whole(1), 3)
    .action(({ json: _, ...options }: LookupBenchOptions & Output, made: Command) =>
      timed(made, async (session) => {
        const [{ benchLookup }, { lookupTable }] = await Promise.all([import("./lookup.js"), import("./tables.js")]);
        const result = await benchLookup(options, session);
        return { result, text: lookupTable(result) };
      }),
    );
}

function growthTrial(): Command {
  const plots: PlotName[] = ["rows", "length", "prefix", "sequences", "context", "size"];
  return command("growth", "How cost grows with rows, row length, shared beginning, sequences and model size.", [
    ...(["model", "threads"] as const),
  ])
    .addOption(peerOption("llama.cpp"))
    .addOption(
      new Option("--plots <names>", `of ${plots.join(", ")}; separated by commas`)
        .default(plots, "all")
        .argParser((text): PlotName[] => {
          const asked = names(text) as PlotName[];
          if (asked.every((name) => plots.includes(name))) return asked;
          throw new InvalidArgumentError(`Expected names out of ${plots.join(", ")}, separated by commas.`);
        }),
    )
    .option("--out <dir>", "folder for the plots and their numbers", "plots")
    .option("--repeat <n>", "timed turns of each point", whole(1), 3)
    .action(({ json: _, ...options }: GrowthOptions & Output, made: Command) =>
      timed(made, async (session) => {
        const { benchGrowth } = await import("./growth.js");
        const result = await benchGrowth(options, session);
        return { result, text: result.files.join("\n") };
      }),
    );
}

function kernelTrial(): Command {
  return command(
    "kernels",
    "One linear layer of 512 rows on one core, every weight type, as a share of the FMA peak.",
    ["precision"],
  )
    .option("--types <names>", "weight types, separated by commas (default: all)", names)
    .option("--variant <name>", "kernel variant (default: the best that this machine runs)")
    .option("--repeat <n>", "products of a measurement", whole(1), 20)
    .action(({ json: _, ...options }: KernelOptions & Output, made: Command) =>
      timed(made, async (session) => {
        const [{ benchKernels }, { kernelTable }] = await Promise.all([import("./kernels.js"), import("./tables.js")]);
        const result = await benchKernels(options, session);
        return { result, text: kernelTable(result) };
      }),
    );
}

function agreeCommand(): Command {
  return command("agree", "Whether node-llama-cpp gives the same answers on a classify task, from the same file.", [
    ...(["model", "data", "limit", "threads"] as const),
  ])
    .argument("<task>", "task file")
    .action((task: string, { json: _, ...options }: AgreeOptions & Output, made: Command) =>
      run(made, async ({ signal, progress }) => {
        const { benchAgree } = await import("./agree.js");
        const session = { signal, say: (line: string) => progress.line(line), onBad: onBad(progress) };
        const result = await benchAgree(task, options, session);
        return { result, text: `${JSON.stringify(result, null, 2)}\n`, badRows: result.errors };
      }),
    );
}

function referenceCommand(): Command {
  return command("reference", "Job files for bench/peers: rows, order, rates and first weights of `tune` on a task.", [
    ...(["model", "data", "limit", "threads", "seed"] as const),
  ])
    .argument("<task>", "task file")
    .requiredOption("--out <dir>", "folder for tune.json, eval.json and the first adapter")
    .option("--epochs <n>", "passes over the training rows", real)
    .option("--rank <n>", "rank of the adapter", whole(1))
    .action((task: string, { json: _, ...options }: ReferenceOptions & Output, made: Command) =>
      run(made, async () => {
        const { writeReference } = await import("./reference.js");
        const result = await writeReference(task, options);
        return { result, text: `${result.tune}\n${result.eval ?? result.reason}\n` };
      }),
    );
}

function setupCommand(): Command {
  return command("setup", "Makes the peers that do not come with the package.", [])
    .addArgument(new Argument("[peers...]", "which").choices(madePeers).default(madePeers))
    .action((peers: readonly MadePeer[], _: object, made: Command) =>
      run(made, async ({ signal, progress }) => {
        const { setupPeers } = await import("./setup.js");
        const result = await setupPeers(peers, { signal, say: (line) => progress.line(line) });
        return {
          result,
          text: Object.entries(result)
            .map(([peer, program]) => `${peer}: ${program}\n`)
            .join(""),
        };
      }),
    );
}
