// stillroom distill: a small student from a teacher's answers.
import { type Command, Option } from "commander";
import { type DistillOptions, type DistillResult, distill, readTask, reportRun } from "../../src/index.js";
import { requirePlace } from "../../src/report/index.js";
import { precisions } from "../../src/support/native.js";
import { type CommonOptions, command, real, size, whole } from "../options.js";
import { comparisonText, distillText } from "../print-distill.js";
import { onDistill } from "../print-events.js";
import { measured, run } from "../run.js";
import { lengthOptions, optimizerOptions, teacherOptions, weightOptions } from "../training-options.js";

type DistillCommandOptions = Omit<CommonOptions, "model"> &
  Omit<DistillOptions, "learningRate" | "betas" | "onPolicy" | "signal"> & {
    data?: string;
    lr?: number;
    report?: string;
    onPolicy?: number | true;
  };

export function distillCommand(): Command {
  const made = command("distill", "Train a small student on a teacher's answers to a task, and quantise it.", [
    ...(["data", "limit", "strict", "threads", "precision"] as const),
  ])
    .argument("<task>", "task file")
    .requiredOption("--out <run>", "the RUN folder: as of tune, and teacher/ and quantized.gguf")
    .option("--student <model>", "the student: path of a GGUF with the teacher's tokens, or an hf: URI")
    .option("--resume", "go on with the run that --out holds, to the same bytes")
    .option("--report <file>", "write an HTML page of the run when it ends, or of a run that has ended with --resume")
    .option("--seed <s>", "seed of the first weights, the row order and dropout (default: 0)", whole(0));
  teacherOptions(made);
  made
    .option("--cache <cache>", "the teacher's cache, as of teach (default: teacher in the RUN folder)")
    .addOption(
      new Option("--loss <loss>", "KL from the teacher, to the teacher, or between (default: forward_kl)").choices([
        ...["forward_kl", "reverse_kl", "jsd"],
      ]),
    )
    .option("--beta <b>", "of jsd: the teacher's share of the mixture (default: 0.5)", real)
    .option("--label-weight <w>", "share of the labels' own cross-entropy (default: 0.5, with --on-policy 0)", real)
    .option("--hidden-weight <w>", "weight of the distance of the hidden states from the teacher's (default: 0)", real)
    .option("--on-policy [share]", "share of the steps on its own answers (default: 0; without a value: 1)", real)
    .addOption(
      new Option(
        "--on-policy-precision <p>",
        "of the products that the student writes with in these steps, as --precision (default: its own)",
      ).choices(precisions),
    )
    .addOption(
      new Option("--answers <whose>", "the data's, or the teacher's own where they are right (default: data)").choices([
        ...["data", "teacher"],
      ]),
    )
    .option(
      "--answer-score <s>",
      "of generate: from which value of the task's metric on they are right (default: 1)",
      real,
    )
    .option(
      "--samples <n>",
      "answers drawn of each row with --answers teacher, of generate (default: 0, greedy)",
      whole(0),
    )
    .option("--sample-temperature <t>", "of these draws (default: 1)", real)
    .option("--sample-top-p <p>", "of these draws: the fewest tokens that reach this probability (default: 1)", real)
    .option("--quantize <type>", "of the student at the end, or none (default: Q4_K_M)")
    .option("--size <size>", "in place of --quantize: most bytes of the quantised student, such as 8MB", size)
    .option(
      "--quantize-aware <n>",
      "train the last steps as quantised: below 1 a share, else so many (default: 0)",
      real,
    )
    .option("--check-limit <rows>", "most held-out rows of the gate and of the table (default: 500)", whole(1));
  lengthOptions(made);
  weightOptions(made, "full");
  optimizerOptions(made);
  return made
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom distill task.yaml --teacher model.gguf --teacher-adapter runs/first --student small.gguf --out runs/small
  $ stillroom distill task.yaml --teacher model.gguf --student small.gguf --loss jsd --temperature 2 --epochs 3 --out runs/small
  $ stillroom distill task.yaml --out runs/small --resume`,
    )
    .action(
      (file: string, { json: _, data, lr, onPolicy, report, ...options }: DistillCommandOptions, command: Command) =>
        run(command, async ({ signal, progress }) => {
          if (report !== undefined) await requirePlace(report);
          const task = await readTask(file, data === undefined ? {} : { data });
          const share = onPolicy === true ? 1 : onPolicy;
          const work = distill(task, {
            ...options,
            onPolicy: share,
            ...(lr !== undefined && { learningRate: lr }),
            signal,
          });
          const show = onDistill(progress);
          const followed = async (): Promise<DistillResult> => {
            for await (const event of work) show(event);
            return work.result;
          };
          const { result, failures } = await measured(followed());
          // Where the gate is not passed the run is kept, and ended.
          if (report !== undefined) await reportRun(options.out, report);
          const text = failures.length === 0 ? distillText(result) : comparisonText(result);
          return { result, text, badRows: result.bad_rows, failures };
        }),
    );
}
