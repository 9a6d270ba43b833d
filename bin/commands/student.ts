// stillroom student: a smaller model from a teacher's parts.
import type { Command } from "commander";
import { makeStudent, readTask, StillroomError } from "../../src/index.js";
import { type CommonOptions, command, whole } from "../options.js";
import { studentText } from "../print.js";
import { onBad, onDownload, onStudent } from "../print-events.js";
import { run } from "../run.js";

interface StudentCommandOptions extends Omit<CommonOptions, "model"> {
  teacher?: string;
  task?: string;
  prompt?: string;
  data?: string;
  layers?: number;
  ffn?: number;
  width?: number;
  heads?: number;
  kvHeads?: number;
  seed?: number;
  vocab?: string;
  type?: "f16" | "f32";
  limit?: number;
  strict?: boolean;
  out: string;
}

export function studentCommand(): Command {
  return command("student", "Make a smaller model from a teacher's parts that matter to a task.", [
    ...(["data", "limit", "strict", "threads"] as const),
  ])
    .option("--teacher <model>", "path of a GGUF, or an hf: URI (default: the model in the box)")
    .option("--task <task>", "importance is measured on its training rows, 64 or --limit (default: --vocab's)")
    .option("--prompt <file>", "a prompt file, in place of the prompts of --task and --vocab")
    .requiredOption("--out <file>", "the GGUF to write")
    .option("--layers <n>", "layers that stay: those that the loss needs most (default: all)", whole(1))
    .option("--ffn <n>", "feed-forward channels that stay in each layer (default: all)", whole(1))
    .option("--heads <n>", "query heads that stay in each layer (default: all)", whole(1))
    .option("--kv-heads <n>", "key-value heads of these (default: as many as the teacher has for so many)", whole(1))
    .option(
      "--width <n>",
      "a fresh student: channels of the residual stream; no size is bound to the teacher's",
      whole(1),
    )
    .option("--seed <s>", "of a fresh student's new values (default: 0)", whole(0))
    .option("--vocab <task|n>", "tokens that stay: those of a task's texts, or the n most frequent (default: all)")
    .option("--type <type>", "of the matrices, f16 or f32 (default: f16)")
    .addHelpText(
      "after",
      `
Example:
  $ stillroom student --teacher tuned.gguf --vocab task.yaml --layers 10 --ffn 1024 --out student.gguf
  $ stillroom tune task.yaml --model student.gguf --method full --out runs/student`,
    )
    .action(({ json: _, data, task, ffn, kvHeads, vocab, ...options }: StudentCommandOptions, made: Command) =>
      run(made, async ({ signal, progress }) => {
        const read = (file: string) => readTask(file, data === undefined ? {} : { data });
        const size = /^\d+$/.test(vocab ?? "") ? Number(vocab) : undefined;
        const texts = vocab === undefined || size !== undefined ? undefined : await read(vocab);
        const measured = task === undefined ? texts : await read(task);
        if (!measured)
          throw new StillroomError("usage", "expected a task file for --task, or for --vocab; received none");
        const result = await makeStudent({
          ...options,
          feedForward: ffn,
          keyValueHeads: kvHeads,
          task: measured,
          vocabulary: size ?? texts,
          signal,
          onProgress: onStudent(progress),
          onDownload: onDownload(progress),
          onBad: onBad(progress),
        });
        return { result, text: studentText(result, measured.kind), badRows: result.errors };
      }),
    );
}
