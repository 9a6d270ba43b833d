// The model card beside a GGUF that was made: Markdown with the Hub's front matter, from what was measured or read, and nothing else.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { stringify } from "yaml";
import { lossUnit } from "../adapter/index.js";
import type { Estimate } from "../evaluate/index.js";
import { type Inspection, inspect, type Model } from "../model/index.js";
import type { PromptFile } from "../prompt/index.js";
import { isAbsent, reasonOf, StillroomError } from "../support/errors.js";
import { hashFile, writeFileAtomic } from "../support/files.js";
import { counted } from "../support/words.js";
import type { Task, TaskKind } from "../task/index.js";
import type { ExportResult } from "./export.js";
import type { Gate } from "./gate.js";

/** What the cards of an export tell of, besides the result. */
export interface CardFacts {
  base: Model;
  /** Of the gate; null without one. */
  check: Task | null;
  /** What the rows of the gate were asked by; null for the task's own prompt. */
  prompt: PromptFile | null;
}

/** By this a card of ours is known: it may be replaced. */
const mark = "<!-- written by stillroom -->";

/** The card of a file: the same name, .md in place of .gguf. */
export function cardFile(out: string): string {
  return `${out.replace(/\.gguf$/i, "")}.md`;
}

/** Throws "usage" where a file of somebody else has the card's name, "io" where this user may not read it: it may be anybody's. */
export async function requireOwnCard(file: string): Promise<void> {
  const text = await readFile(file, "utf8").catch((error) => {
    if (isAbsent(error)) return null;
    const message = `${file} is the name of the model card, and cannot be read: ${reasonOf(error, file)}`;
    throw new StillroomError("io", `${message}; or choose another file for the model`, {
      cause: error,
      options: ["out"],
    });
  });
  if (text === null || text.includes(mark)) return;
  const message = `${file} is the name of the model card, and holds something else; move it, or choose another file for the model`;
  throw new StillroomError("usage", message, { options: ["out"] });
}

/** Writes the card of an exported file, and where the merged model is kept that of its file; both files are in place. */
export async function writeExportCards(result: ExportResult, facts: CardFacts, merged: string | null): Promise<void> {
  const { adapter, under, gate, type, imatrix_tokens } = result;
  const { name, path: file } = facts.base.info;
  const run = await readRun(adapter ?? under, file);
  const common = { base: { path: file, name, sha256: await hashFile(file) }, run };
  const from: Line = ["adapter", adapter === null ? "none" : `${path.basename(adapter)}, merged in f32`];
  const beside: Line[] = under === null ? [] : [["runs under", `${path.basename(under)}, which is not in this file`]];
  const first = ({ metric }: Gate): Measure[] =>
    metric.adapter ? [["with the adapter at run time", metric.adapter]] : [];
  const imatrix = imatrix_tokens === null ? "none" : `of ${counted(imatrix_tokens, "token")}`;
  await writeCard({
    ...{ ...common, file: result.out, tag: type.toLowerCase() },
    made: [from, ...beside, ["type", type], ["importance matrix", imatrix]],
    measured: gated(gate, facts, (found) => ({
      before: [...first(found), [under === null ? "merged" : "before quantising", found.metric.merged]],
      value: found.metric.quantized,
      also: quantizingMoved(found, under),
    })),
  });
  if (merged === null) return;
  await writeCard({
    ...{ ...common, file: merged, tag: "merged" },
    made: [from, ["type", "merged weights in f32, the others as in the base"]],
    measured: gated(gate, facts, (found) => ({
      before: first(found),
      value: found.metric.merged,
      also: `KL(adapter at run time ‖ this file) is ${nats(found.kl.adapter_merged!)} a position over ${counted(found.positions, "position")}.`,
    })),
  });
}

function quantizingMoved({ kl, top1_agreement, positions }: Gate, under: string | null): string {
  const both = under === null ? "" : `Both were run under ${path.basename(under)}`;
  if (kl.merged_quantized === null || top1_agreement === null) return `${both}, whose head gave the answers.`;
  const before = under === null ? "merged" : "before quantising";
  const moved = `KL(${before} ‖ this file) is ${nats(kl.merged_quantized)} a position over ${counted(positions, "position")}; at ${(100 * top1_agreement).toFixed(1)} % of them both have the same most likely token.`;
  return both === "" ? moved : `${both}. ${moved}`;
}

/** What run.json says of a training. */
export interface CardRun {
  started: string;
  options: Record<string, unknown>;
  /** Of distill. */
  distillation?: Record<string, unknown>;
  task: { name: string; kind: TaskKind; metric: string };
  model: { path: string; name: string | null; sha256: string };
  data: { rows: number; validation_rows: number };
  result?: {
    steps: number;
    loss: { first: number; last: number };
    best_step: number;
    model: string | null;
    /** Of the best step: the loss, and intervals by the names of the metrics. */
    validation: Record<string, unknown> | null;
  };
}

/** Writes the card of the whole model that a run has trained; the file is in place. */
export async function writeRunCard(file: string, run: CardRun): Promise<void> {
  const { task, data, result, model: base } = run;
  const { loss, [task.metric]: found } = (result?.validation ?? {}) as Record<string, Estimate> & { loss?: number };
  await writeCard({
    ...{ file, tag: "f32", base, run },
    made: [["type", "trained weights in f32, the others as in the base"]],
    measured: found
      ? {
          ...{ task, split: "validation", metric: task.metric },
          where: `${counted(data.validation_rows, "validation row")} of ${task.name}, by which this step was chosen`,
          ...{ before: [], value: found },
          also: `The loss of their answers is ${nats(loss!)} a token.`,
        }
      : null,
  });
}

type Line = [string, string];
type Measure = [string, Estimate];

/** What a card says. */
interface Card {
  /** The GGUF. */
  file: string;
  /** The type of its weights, for the Hub. */
  tag: string;
  base: { path: string; name: string | null; sha256: string };
  /** The training; null where none is known. */
  run: CardRun | null;
  /** What became of the base. */
  made: Line[];
  /** null where nothing was. */
  measured:
    | (Measured & { task: { name: string; kind: TaskKind }; split: string; metric: string; where: string })
    | null;
}

interface Measured {
  /** Of what the file was made of. */
  before: Measure[];
  value: Estimate;
  /** A last sentence. */
  also: string;
}

function gated(
  gate: ExportResult["gate"],
  { check, prompt }: CardFacts,
  measured: (gate: Gate) => Measured,
): Card["measured"] {
  if (!gate || !check) return null;
  const behind = prompt ? `, each behind a prompt file's ${counted(prompt.shots, "example")} (${prompt.select})` : "";
  const where = `${counted(gate.rows, `${gate.split} row`)} of ${check.name}${behind}`;
  return { task: check, split: gate.split, metric: gate.metric.name, where, ...measured(gate) };
}

async function writeCard(card: Card): Promise<void> {
  const metadata = await readMetadata(card.file);
  const info = await inspect(card.file);
  const body = [
    `# ${path.basename(card.file)}`,
    mark,
    "Made by stillroom. Every figure on this page was measured when the file was made; what is not here was not measured.",
    ...(await madeOf(card, info, metadata)),
    ...(card.run ? trainedOn(card.run) : []),
    ...measured(card),
    ...limits(card),
  ];
  const front = stringify(frontMatter(card, info, metadata));
  await writeFileAtomic(cardFile(card.file), `---\n${front}---\n\n${body.join("\n\n")}\n`);
}

/** The general.* metadata of a GGUF that was opened before. */
interface Metadata {
  license?: string;
  languages?: string[];
}

async function readMetadata(file: string): Promise<Metadata> {
  const { readGgufFileInfo } = await import("node-llama-cpp");
  const { metadata } = await readGgufFileInfo(file, {
    readTensorInfo: false,
    logWarnings: false,
    sourceType: "filesystem",
  });
  return (metadata.general ?? {}) as Metadata;
}

/** The run of an adapter, or without one that which wrote the base as its whole model; null for what is of other origin. */
async function readRun(adapter: string | null, base: string): Promise<CardRun | null> {
  try {
    const run = JSON.parse(await readFile(path.join(adapter ?? path.dirname(base), "run.json"), "utf8"));
    const wrote = adapter !== null || path.basename(run.result.model) === path.basename(base);
    return run.format === "stillroom-run" && wrote ? run : null;
  } catch {
    return null;
  }
}

function frontMatter({ base, measured, tag }: Card, { architecture }: Inspection, metadata: Metadata): object {
  const { license, languages } = metadata;
  const results = measured && [
    {
      task: { type: measured.task.kind === "generate" ? "text-generation" : "text-classification" },
      dataset: { name: measured.task.name, type: measured.task.name, split: measured.split },
      metrics: [{ type: measured.metric, value: measured.value.value }],
    },
  ];
  return {
    ...(license !== undefined && { license }),
    ...(languages !== undefined && { language: languages }),
    ...(base.name !== null && { base_model: base.name }),
    library_name: "gguf",
    tags: ["stillroom", "gguf", architecture, tag],
    ...(results && { "model-index": [{ name: measured.task.name, results }] }),
  };
}

async function madeOf({ file, base, made }: Card, info: Inspection, { license }: Metadata): Promise<string[]> {
  const name = path.basename(base.path);
  const parameters = `${info.parameters.toLocaleString("en")} parameters`;
  const rows: Line[] = [
    ["base", `${base.name ?? name}, ${name}, SHA-256 ${base.sha256}`],
    ["architecture", `${info.architecture}, ${parameters}, context ${info.context_length}`],
    ...made,
    ["file", `${info.bytes.toLocaleString("en")} bytes, SHA-256 ${await hashFile(file)}`],
    ["licence", license ?? "not said in the base's metadata"],
  ];
  return ["## Made of", table(["", ""], rows)];
}

/** Options of a run that a card tells of, in words. */
const optionWords = {
  ...{ method: "method", rank: "rank", alpha: "alpha", learningRate: "learning rate", batchSize: "batch size" },
  ...{ epochs: "epochs", steps: "steps asked for", seed: "seed", precision: "precision" },
};
/** The same of a distillation. */
const lessonWords = {
  ...{ teacher: "teacher", teacherAdapter: "the teacher's adapter", loss: "distillation loss" },
  ...{ labelWeight: "weight of the labels", temperature: "temperature", onPolicy: "on-policy share of the steps" },
  answers: "whose answers",
};

function trainedOn({ started, options, distillation = {}, task, data, result }: CardRun): string[] {
  const lines = (words: Readonly<Record<string, string>>, from: Record<string, unknown>) =>
    Object.entries(words).flatMap(([name, word]): Line[] =>
      from[name] === undefined ? [] : [[word, String(from[name])]],
    );
  const files = (name: string, value: unknown) => (name.startsWith("teacher") ? path.basename(String(value)) : value);
  const taught = Object.fromEntries(Object.entries(distillation).map(([name, value]) => [name, files(name, value)]));
  const rows: Line[] = [
    ["task", task.name],
    ["begun", started],
    ["training rows", `${data.rows}`],
    ...lines(optionWords, options),
    ...lines(lessonWords, taught),
  ];
  if (result)
    rows.push(
      ["steps", `${result.steps}, best ${result.best_step}`],
      ["loss", `${result.loss.first.toFixed(4)} to ${result.loss.last.toFixed(4)} (${lossUnit(options.head)})`],
    );
  return ["## Trained", table(["", ""], rows)];
}

function measured({ measured }: Card): string[] {
  if (!measured) return [];
  const { metric, where, before, value, also } = measured;
  const line = ([what, { value, low, high }]: Measure): Line => [
    what,
    low === null ? value.toFixed(3) : `${value.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`,
  ];
  const rows = [...before, ["this file", value] as Measure].map(line);
  return ["## Measured", `${metric} on ${where}, with 95 % intervals:`, table(["", metric], rows), also];
}

function limits({ measured }: Card): string[] {
  const only = measured
    ? `The figures hold for rows like those of ${measured.task.name}; for other uses nothing was measured.`
    : "No quality was measured when this file was made.";
  return ["## Limits", `${only} Fairness was not audited here: \`stillroom audit\` does that.`];
}

const nats = (value: number) => `${value.toPrecision(3)} nats`;

function table(head: Line, rows: Line[]): string {
  const safe = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");
  return [head, ["---", "---"], ...rows].map(([left, right]) => `| ${safe(left!)} | ${safe(right!)} |`).join("\n");
}
