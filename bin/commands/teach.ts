// stillroom teach: what a teacher says about a task's training rows, kept for students.
import { type Command, Option } from "commander";
import { readTask, type TeachOptions, teach } from "../../src/index.js";
import { type CommonOptions, command, whole } from "../options.js";
import { teachText } from "../print.js";
import { onTeach } from "../print-events.js";
import { run } from "../run.js";
import { teacherOptions } from "../training-options.js";

type TeachCommandOptions = CommonOptions & Omit<TeachOptions, "signal"> & { data?: string };

export function teachCommand(): Command {
  const made = command("teach", "Ask a teacher about a task's training rows, and keep what it says for students.", [
    ...(["data", "limit", "strict", "threads"] as const),
  ])
    .argument("<task>", "task file")
    .requiredOption("--out <cache>", "the cache's folder; one that is not whole is gone on with")
    .option("--hidden", "keep the teacher's hidden states, too, for distill --hidden-weight")
    .option("--max-length <tokens>", "longest row (default: 1024, or what the teacher allows)", whole(2))
    .addOption(
      new Option("--on-long <what>", "what happens to longer rows (default: truncate)").choices(["truncate", "drop"]),
    );
  teacherOptions(made);
  return made
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom teach task.yaml --teacher model.gguf --teacher-adapter runs/first --out first.taught
  $ stillroom distill task.yaml --teacher model.gguf --teacher-adapter runs/first --student small.gguf \\
      --cache first.taught --out runs/small`,
    )
    .action((file: string, { json: _, data, ...options }: TeachCommandOptions, command: Command) =>
      run(command, async ({ signal, progress }) => {
        const task = await readTask(file, data === undefined ? {} : { data });
        const work = teach(task, { ...options, signal });
        const show = onTeach(progress);
        for await (const event of work) show(event);
        const result = await work.result;
        return { result, text: teachText(result), badRows: result.bad_rows };
      }),
    );
}
