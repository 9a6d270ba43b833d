// stillroom ladder: one task from a bare prompt to a quantised student.
import type { Command } from "commander";
import { type LadderOptions, ladder, readTask, reportLadder } from "../../src/index.js";
import { requirePlace } from "../../src/report/index.js";
import { type CommonOptions, command, real, typedCommand, whole } from "../options.js";
import { onLadder } from "../print-events.js";
import { ladderText } from "../print-ladder.js";
import { measured, run } from "../run.js";

type LadderCommandOptions = CommonOptions &
  Omit<LadderOptions, "learningRate" | "studentLearningRate" | "signal" | "onEvent"> & {
    data?: string;
    lr?: number;
    studentLr?: number;
    report?: string;
  };

export function ladderCommand(): Command {
  return command("ladder", "Climb from a bare prompt over tuning and distilling to a quantised student.", [
    ...(["model", "data", "limit", "strict", "threads", "precision", "seed"] as const),
  ])
    .argument("<task>", "task file")
    .requiredOption("--out <dir>", "the folder of all that is made; the same command goes on in it")
    .option("--shots <k>", "examples in the prompt of the second rung (default: 4)", whole(1))
    .option("--layers <n>", "of the student (default: a third of the model's)", whole(1))
    .option("--quantize <type>", "of the student (default: Q4_K_M)")
    .option("--check-limit <rows>", "most test rows of each rung (default: 500)", whole(1))
    .option("--epochs <n>", "of tuning (default: 1)", real)
    .option("--lr <rate>", "highest learning rate of tuning (default: 2e-4)", real)
    .option("--student-epochs <n>", "of distilling (default: 3)", real)
    .option("--student-lr <rate>", "highest learning rate of distilling (default: 3e-4)", real)
    .option("--report <file>", "write an HTML page of the ladder")
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom ladder task.yaml --model model.gguf --out runs/ladder
  $ stillroom ladder task.yaml --model model.gguf --limit 2000 --layers 10 --out runs/ladder --report ladder.html`,
    )
    .action((file: string, { json: _, data, lr, studentLr, report, ...options }: LadderCommandOptions, made: Command) =>
      run(made, async ({ signal, progress }) => {
        if (report !== undefined) await requirePlace(report);
        const task = await readTask(file, data === undefined ? {} : { data });
        const rates = { learningRate: lr, studentLearningRate: studentLr };
        const work = ladder(task, { ...options, ...rates, signal, onEvent: onLadder(progress) });
        const { result, failures } = await measured(work);
        if (report !== undefined) await reportLadder(result, typedCommand(), report);
        const badRows = result.rungs.reduce((sum, { errors }) => sum + errors, 0);
        return { result, text: ladderText(result), badRows, failures };
      }),
    );
}
