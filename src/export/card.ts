// The model card beside an exported GGUF: Markdown with the Hub's front matter, from what was measured or read, and nothing else.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { stringify } from "yaml";
import type { Model } from "../model/index.js";
import type { PromptFile } from "../prompt/index.js";
import { StillroomError } from "../support/errors.js";
import { hashFile, writeFileAtomic } from "../support/files.js";
import { counted } from "../support/words.js";
import type { Task } from "../task/index.js";
import type { ExportResult } from "./export.js";

/** What a card tells of, besides the result. */
export interface CardFacts {
  base: Model;
  /** Of the gate; null without one. */
  check: Task | null;
  /** What the rows of the gate were asked by; null for the task's own prompt. */
  prompt: PromptFile | null;
}

/** By this a card of ours is known: it may be replaced. */
const mark = "<!-- written by stillroom export -->";

/** The card of an exported file: the same name, .md in place of .gguf. */
export function cardFile(out: string): string {
  return `${out.replace(/\.gguf$/i, "")}.md`;
}

/** Throws "usage" where a file of somebody else has the card's name. */
export async function requireOwnCard(file: string): Promise<void> {
  const text = await readFile(file, "utf8").catch(() => null);
  if (text === null || text.includes(mark)) return;
  const message = `${file} is the name of the model card, and holds something else; move it, or choose another file for the model`;
  throw new StillroomError("usage", message, { options: ["out"] });
}

/** Writes the card of a file that is in place. */
export async function writeCard(result: ExportResult, facts: CardFacts): Promise<void> {
  const metadata = await readMetadata(result.out);
  const run = result.adapter === null ? null : await readRun(result.adapter);
  const front = stringify(frontMatter(result, facts, metadata));
  const body = [
    `# ${path.basename(result.out)}`,
    mark,
    "Made by stillroom. Every figure on this page was measured when the file was made; what is not here was not measured.",
    ...(await madeOf(result, facts, metadata)),
    ...(run ? trainedOn(run) : []),
    ...measured(result, facts),
    ...limits(result, facts),
  ];
  await writeFileAtomic(result.card, `---\n${front}---\n\n${body.join("\n\n")}\n`);
}

/** The general.* metadata of a GGUF that was opened before. */
interface Metadata {
  license?: string;
  languages?: string[];
  name?: string;
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

/** What run.json says of an adapter's training; null for an adapter of other origin. */
interface Run {
  started: string;
  options: Record<string, unknown>;
  task: { name: string };
  data: { rows: number };
  result?: { steps: number; rows: number; loss: { first: number; last: number }; best_step: number };
}

async function readRun(adapter: string): Promise<Run | null> {
  try {
    const run = JSON.parse(await readFile(path.join(adapter, "run.json"), "utf8"));
    return run.format === "stillroom-run" ? run : null;
  } catch {
    return null;
  }
}

function frontMatter(
  { gate, type }: ExportResult,
  { base, check }: CardFacts,
  { license, languages }: Metadata,
): object {
  const results = gate &&
    check && [
      {
        task: { type: check.kind === "generate" ? "text-generation" : "text-classification" },
        dataset: { name: check.name, type: check.name, split: gate.split },
        metrics: [{ type: gate.metric.name, value: gate.metric.quantized.value }],
      },
    ];
  return {
    ...(license !== undefined && { license }),
    ...(languages !== undefined && { language: languages }),
    ...(base.info.name !== null && { base_model: base.info.name }),
    library_name: "gguf",
    tags: ["stillroom", "gguf", base.info.architecture, type.toLowerCase()],
    ...(results && { "model-index": [{ name: check.name, results }] }),
  };
}

async function madeOf(result: ExportResult, { base }: CardFacts, { license }: Metadata): Promise<string[]> {
  const { info } = base;
  const rows: [string, string][] = [
    [
      "base",
      `${info.name ?? path.basename(info.path)}, ${path.basename(info.path)}, SHA-256 ${await hashFile(info.path)}`,
    ],
    [
      "architecture",
      `${info.architecture}, ${info.parameters.toLocaleString("en")} parameters, context ${info.contextLength}`,
    ],
    ["adapter", result.adapter === null ? "none" : `${path.basename(result.adapter)}, merged in f32`],
    ["type", result.type],
    ["importance matrix", result.imatrix_tokens === null ? "none" : `of ${result.imatrix_tokens} tokens`],
    ["file", `${result.bytes.toLocaleString("en")} bytes, SHA-256 ${await hashFile(result.out)}`],
    ["licence", license ?? "not said in the base's metadata"],
  ];
  return ["## Made of", table(["", ""], rows)];
}

function trainedOn({ started, options, task, data, result }: Run): string[] {
  const given = ["method", "rank", "alpha", "learningRate", "batchSize", "epochs", "steps", "seed", "precision"];
  const rows: [string, string][] = [
    ["task", task.name],
    ["begun", started],
    ["training rows", `${data.rows}`],
    ...given
      .filter((name) => options[name] !== undefined)
      .map((name): [string, string] => [name, String(options[name])]),
  ];
  if (result)
    rows.push(
      ["steps", `${result.steps}, best ${result.best_step}`],
      ["loss", `${result.loss.first.toFixed(4)} to ${result.loss.last.toFixed(4)} nats`],
    );
  return ["## Trained", table(["", ""], rows)];
}

function measured({ gate }: ExportResult, { check, prompt }: CardFacts): string[] {
  if (!gate || !check) return [];
  const { name, adapter, merged, quantized } = gate.metric;
  const behind = prompt ? `, each behind a prompt file's ${counted(prompt.shots, "example")} (${prompt.select})` : "";
  const line = (what: string, { value, low, high }: { value: number; low: number; high: number }): [string, string] => [
    what,
    `${value.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`,
  ];
  const rows = [
    ...(adapter ? [line("with the adapter at run time", adapter)] : []),
    line("merged", merged),
    line("this file", quantized),
  ];
  return [
    "## Measured",
    `${name} on ${gate.rows} ${gate.split} rows of ${check.name}${behind}, with 95 % intervals:`,
    table(["", name], rows),
    `KL(merged ‖ this file) is ${gate.kl.merged_quantized.toPrecision(3)} nats a position over ${gate.positions} positions; at ${(100 * gate.top1_agreement).toFixed(1)} % of them both have the same most likely token.`,
  ];
}

function limits({ gate }: ExportResult, { check }: CardFacts): string[] {
  const only =
    gate && check
      ? `The figures hold for rows like those of ${check.name}; for other uses nothing was measured.`
      : "No quality was measured when this file was made.";
  return ["## Limits", `${only} Fairness was not audited here: \`stillroom audit\` does that.`];
}

function table(head: [string, string], rows: [string, string][]): string {
  const safe = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");
  return [head, ["---", "---"], ...rows].map(([left, right]) => `| ${safe(left!)} | ${safe(right!)} |`).join("\n");
}
