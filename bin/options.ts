// What was typed on the command line, as values: parsers of option values and the options that commands share.
import { Command, InvalidArgumentError, Option } from "commander";
import type { SplitName, StillroomError } from "../src/index.js";
import { precisions } from "../src/support/native.js";
import { shellWord } from "../src/support/words.js";

/** Options of every command that works on a model. */
export interface CommonOptions {
  json?: boolean;
  model?: string;
  threads?: number;
  seed?: number;
}

/** Options of commands that score the rows of a task. */
export interface ScoringOptions extends CommonOptions {
  data?: string;
  shots?: number;
  prompt?: string;
  split: SplitName;
  limit?: number;
  strict?: boolean;
}

/** A command with the options that all share: --json, and those that are named. */
export function command(name: string, description: string, shared: readonly (keyof typeof sharedOptions)[]): Command {
  const made = new Command(name).description(description).allowExcessArguments(false).showSuggestionAfterError(true);
  for (const option of shared) made.addOption(sharedOptions[option]());
  return made.option("--json", "print one JSON object on stdout");
}

/** What the frozen products multiply. */
export const precisionOption = (): Option =>
  new Option(
    "--precision <p>",
    "frozen products: exact f32, or rounded to bf16, int16 or int8 where the processor can (default: f32)",
  ).choices(precisions);

/** Whose vectors find near texts. */
export const similarOption = (what: string): Option =>
  new Option("--similar <model>", `${what}, by this model's vectors, once store similarity has fitted them`);

/** What is evened out in texts that ask for answers. */
export const normaliseOption = (): Option =>
  new Option(
    "--normalise <names>",
    "unicode,case,punctuation,space, or some of them; none: exact texts only (default: all)",
  ).argParser(someNames);

const sharedOptions = {
  model: () => new Option("--model <model>", "path of a GGUF, or an hf: URI (default: the model in the box)"),
  adapter: () => new Option("--adapter <run>", "a RUN folder of tune, a PEFT folder or a GGUF LoRA"),
  data: () => new Option("--data <dir>", "folder of the task's data, instead of the task file's own"),
  precision: precisionOption,
  threads: () => new Option("--threads <n>", "threads (default: physical cores)").argParser(whole(1)),
  seed: () => new Option("--seed <s>", "seed of everything that is drawn").argParser(whole(0)).default(0),
  limit: () => new Option("--limit <n>", "use only so many rows").argParser(whole(1)),
  shots: () => new Option("--shots <k>", "answered training rows before each prompt (default: 0)").argParser(whole(0)),
  prompt: () =>
    new Option(
      "--prompt <file>",
      "a prompt file of stillroom prompt --save, in place of the task's prompt and --shots",
    ),
  split: () => new Option("--split <split>", "rows to score").choices(["train", "validation", "test"]).default("test"),
  strict: () => new Option("--strict", "stop at the first bad row"),
};

/** Options whose name in the API is not their own in camel case. */
const apiNames: Record<string, string> = {
  lr: "learningRate",
  ffn: "feedForward",
  vocab: "vocabulary",
  kvHeads: "keyValueHeads",
  maxKlMerge: "bounds.adapterMergedKl",
  maxKl: "bounds.mergedQuantizedKl",
  maxDrop: "bounds.metricDrop",
};

/** An error's message with the options that it names as they are typed: --lr where the API says learningRate. */
export function asTyped({ message, options }: StillroomError, command: Command): string {
  return command.options.reduce((text, option) => {
    const name = apiNames[option.attributeName()] ?? option.attributeName();
    // A name with a capital is nothing but a name.
    if (!options.includes(name) && !/[A-Z]/.test(name)) return text;
    const word = name.replaceAll(".", "\\.");
    return text.replace(new RegExp(`(?<![\\w./"-])${word}(?![\\w/"-])`), option.long!);
  }, message);
}

/** The command line as it was typed, for a shell. */
export function typedCommand(): string {
  return ["stillroom", ...process.argv.slice(2).map(shellWord)].join(" ");
}

/** A parser of an option that is given several times. */
export function again(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text];
}

/** A parser of whole numbers from `least` on. */
export function whole(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`Expected a whole number of at least ${least}.`);
  };
}

/** A parser of finite numbers. */
export function real(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new InvalidArgumentError("Expected a number.");
}

/** A parser of numbers separated by commas. */
export function reals(text: string): number[] {
  return names(text).map(real);
}

/** A parser of sizes: 2G, 512M, 1.5GiB, 1000000; K, M and G are powers of 1024. */
export function size(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  if (!match) throw new InvalidArgumentError("Expected a size such as 2G or 512M.");
  return Math.floor(Number(match[1]) * 1024 ** " kmgt".indexOf(match[2] === "" ? " " : match[2]!.toLowerCase()));
}

/** A parser of times in seconds: 90, 90s, 10m, 12h, 30d. */
export function duration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([smhd]?)$/i.exec(text.trim());
  if (!match) throw new InvalidArgumentError("Expected a time such as 90s, 10m, 12h or 30d.");
  return Number(match[1]) * { "": 1, s: 1, m: 60, h: 3600, d: 86_400 }[match[2]!.toLowerCase()]!;
}

/** A parser of names separated by commas. */
export function names(text: string): string[] {
  return text.split(",").map((name) => name.trim());
}

/** Gathers ONE=OTHER of an option that may be given several times. */
export function wordPair(text: string, before: [string, string][] = []): [string, string][] {
  const [one, other, ...rest] = text.split("=").map((word) => word.trim());
  if (!one || !other || rest.length > 0) throw new InvalidArgumentError("Expected two words, such as Emily=Lakisha.");
  return [...before, [one, other]];
}

/** As names, and "none" for no name. */
function someNames(text: string): string[] {
  return text.trim() === "none" ? [] : names(text);
}

/** A parser of numbers and ranges of numbers, separated by commas: 0,5,20-29. */
export function layers(text: string): number[] {
  return text.split(",").flatMap((part) => {
    const match = /^\s*(\d{1,5})(?:-(\d{1,5}))?\s*$/.exec(part);
    const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
    if (!match || last < first) throw new InvalidArgumentError("Expected layers such as 20-29 or 0,5,28.");
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
