#!/usr/bin/env node
// The program: its commands and what a wrong call of it costs. Does nothing itself.
import { readFileSync } from "node:fs";
import path from "node:path";
import { Command, CommanderError } from "commander";
import { packageRoot } from "../src/model/index.js";
import { auditCommand } from "./commands/audit.js";
import { batchCommand } from "./commands/batch.js";
import { benchCommand } from "./commands/bench.js";
import { compareCommand } from "./commands/compare.js";
import { distillCommand } from "./commands/distill.js";
import { evalCommand } from "./commands/eval.js";
import { exportCommand } from "./commands/export.js";
import { inspectCommand } from "./commands/inspect.js";
import { ladderCommand } from "./commands/ladder.js";
import { lookupCommand } from "./commands/lookup.js";
import { promptCommand } from "./commands/prompt.js";
import { serveCommand } from "./commands/serve.js";
import { storeCommand } from "./commands/store.js";
import { studentCommand } from "./commands/student.js";
import { teachCommand } from "./commands/teach.js";
import { tuneCommand } from "./commands/tune.js";
import { watchCommand } from "./commands/watch.js";
import { workerCommand } from "./commands/worker.js";
import { misused } from "./run.js";

const { version } = JSON.parse(readFileSync(path.join(packageRoot(), "package.json"), "utf8")) as { version: string };

const program = new Command("stillroom")
  .description("Turns a foundation LLM into the small, fast, checked model that does one job.")
  .version(version)
  .showSuggestionAfterError(true)
  .showHelpAfterError("(--help lists the commands and their options)")
  .addHelpText(
    "after",
    `
Examples:
  $ stillroom inspect model.gguf
  $ stillroom prompt task.yaml --model model.gguf --shots 0,4 --select random,similar --compare --save best.json
  $ stillroom eval task.yaml --model model.gguf --prompt best.json
  $ stillroom tune task.yaml --model model.gguf --out runs/first
  $ stillroom distill task.yaml --teacher model.gguf --teacher-adapter runs/first --student small.gguf --out runs/small
  $ stillroom export --model model.gguf --adapter runs/first --quantize Q4_K_M --check task.yaml --out small.gguf
  $ stillroom student --teacher model.gguf --task task.yaml --layers 10 --out student.gguf
  $ stillroom compare model.gguf runs/first small.gguf --task task.yaml
  $ stillroom audit task.yaml --model model.gguf --adapter runs/first --against model.gguf
  $ stillroom batch task.yaml --model small.gguf --store answers --out answers.jsonl
  $ stillroom lookup --store answers "the text of a row"
  $ stillroom serve --store answers --model small.gguf

Exit codes: 0 done; 1 a gate failed; 2 done with bad rows; 64 wrong usage; 65 bad input file; 69 a model or file is
missing; 70 a fault of ours; 74 disk or I/O; 130 interrupted.`,
  );

const models = [
  inspectCommand(),
  promptCommand(),
  evalCommand(),
  compareCommand(),
  auditCommand(),
  tuneCommand(),
  exportCommand(),
];
const students = [studentCommand(), teachCommand(), distillCommand(), ladderCommand()];
const answers = [batchCommand(), workerCommand(), lookupCommand(), serveCommand(), watchCommand(), storeCommand()];
for (const made of [...models, ...students, ...answers, benchCommand()]) {
  for (const one of [made, ...made.commands]) one.exitOverride().showHelpAfterError("(--help lists the options)");
  program.addCommand(made);
}

try {
  await program.exitOverride().parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  await misused(error);
}
