// stillroom prompt: the prompts of a task, shown, tried, compared, and the best one kept.
import { type Command, InvalidArgumentError, Option } from "commander";
import { type PromptOptions, prompt, readTask, type Selection } from "../../src/index.js";
import { again, type CommonOptions, command, names, whole } from "../options.js";
import { onBad, onDownload, onScoring } from "../print-events.js";
import { promptText } from "../print-prompt.js";
import { run } from "../run.js";

type PromptCommandOptions = CommonOptions &
  Omit<PromptOptions, "instructions" | "signal"> & { data?: string; instruction?: string[] };

/** A parser of whole numbers separated by commas. */
function counts(text: string): number[] {
  const found = names(text).map(Number);
  if (/^\s*\d/.test(text) && found.every((count) => Number.isSafeInteger(count) && count >= 0)) return found;
  throw new InvalidArgumentError("Expected whole numbers separated by commas.");
}

export function promptCommand(): Command {
  const shared = ["model", "adapter", "data", "strict", "threads", "precision", "seed"] as const;
  return command("prompt", "Zero-, one- and few-shot prompts of a task: shown, tried, compared, saved.", shared)
    .argument("<task>", "task file")
    .option("--shots <numbers>", "answered training rows before each question, such as 0,1,8 (default: 4)", counts)
    .addOption(
      new Option("--select <ways>", "random, similar, diverse, search, or some of them (default: random)").argParser(
        (text) => names(text) as Selection[],
      ),
    )
    .option("--instruction <text>", "in place of the task's; give it again for further ones", again)
    .option("--calibrate", "contextual calibration of label probabilities; with --compare, with it and without")
    .option("--prompt <file>", "a prompt file, in place of these")
    .option("--pool <rows>", "training rows that may be examples, drawn by the seed (default: 1000)", whole(1))
    .addOption(
      new Option("--split <split>", "rows to compare on (default: validation, else training rows)").choices([
        ...["validation", "test"],
      ]),
    )
    .option("--limit <n>", "rows to compare on, drawn by the seed (default: 200)", whole(1))
    .option("--budget <prompts>", "prompts that --select search may score (default: 2000)", whole(1))
    .option("--try <text>", "answer this: the one field's text, or of several a JSON object")
    .option("--show", "print what the model reads, and its tokens")
    .option("--compare", "score all prompts on the same rows")
    .option("--save <file>", "write the prompt, of several the best, for --prompt of other commands")
    .addHelpText(
      "after",
      `
Examples:
  $ stillroom prompt task.yaml --shots 2 --show
  $ stillroom prompt task.yaml --shots 4 --select similar --try "a text"
  $ stillroom prompt task.yaml --shots 0,1,8 --select random,similar,diverse,search --compare --save best.json
  $ stillroom eval task.yaml --prompt best.json`,
    )
    .action((file: string, { json: _, data, instruction, ...options }: PromptCommandOptions, command: Command) =>
      run(command, async ({ signal, progress }) => {
        const task = await readTask(file, data === undefined ? {} : { data });
        const calls = { onProgress: onScoring(progress), onDownload: onDownload(progress), onBad: onBad(progress) };
        const result = await prompt(task, { ...options, instructions: instruction, ...calls, signal });
        return { result, text: promptText(result), badRows: result.errors };
      }),
    );
}
