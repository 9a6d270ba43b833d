// Reads and checks a task file: every mistake is an error that names the file and the path of the field. Reads no data.
import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { parseDocument } from "yaml";
import type { z } from "zod";
import { reasonOf, StillroomError, unexpected } from "../support/errors.js";
import { nearestName } from "./nearest.js";
import {
  answerSchema,
  auditSchema,
  dataSchema,
  promptSchema,
  sourceSchema,
  splitSchema,
  taskSchema,
  wanted,
} from "./schema.js";
import { parseTemplate, templateFields } from "./template.js";
import {
  type AuditSettings,
  boundedGaps,
  isDrawn,
  isNumber,
  metricsOf,
  type Source,
  type SourceFormat,
  type Split,
  type Task,
  type TaskKind,
  taskKinds,
} from "./types.js";

const fileLimit = 4 * 1024 * 1024;
const formatsByExtension: Record<string, SourceFormat> = {
  ".jsonl": "jsonl",
  ".ndjson": "jsonl",
  ".csv": "csv",
  ".tsv": "tsv",
  ".parquet": "parquet",
};

/**
 * Reads a task file (YAML or JSON) and checks all of it but the data that it names.
 *
 * @param options.data - folder that replaces the task file's own folder in relative paths of data
 * @throws StillroomError "input", naming the file and the field
 * @example
 * ```ts
 * import { readTask } from "stillroom";
 * const task = await readTask("examples/fruit/task.yaml");
 * console.log(task.name, task.kind, task.metric);
 * ```
 */
export async function readTask(file: string, options: { data?: string } = {}): Promise<Task> {
  const absolute = path.resolve(file);
  const known = { ...parsed(taskSchema, await readMapping(absolute), absolute, "") };
  const kind = checkKind(known.kind, absolute);
  const prompt = checkPrompt(parsed(promptSchema, known.prompt, absolute, "prompt"), known.prompt, absolute);
  const answer = parsed(answerSchema, known.answer ?? {}, absolute, "answer");
  const data = parsed(dataSchema, known.data, absolute, "data");
  const task: Task = {
    name: known.name,
    kind,
    file: absolute,
    data: {},
    prompt: { ...definedOnly(prompt) },
    answer: {
      field: answer.field,
      ...(answer.labels && { labels: checkLabels(answer.labels, kind, absolute) }),
      ...(answer.separator !== undefined && { separator: checkSeparator(answer.separator, kind, absolute) }),
    },
    metric: checkMetric(known.metric, kind, absolute),
    maxTokens: checkMaxTokens(known.maxTokens, kind, absolute),
  };
  if (known.audit !== undefined) task.audit = checkAudit(known.audit, kind, absolute);
  if (options.data !== undefined) task.folder = path.resolve(options.data);
  const folder = task.folder ?? path.dirname(absolute);
  if (data.train !== undefined) task.data.train = readSource(data.train, "data.train", folder, absolute);
  for (const split of ["test", "validation"] as const) {
    const part = data[split];
    if (part === undefined) continue;
    task.data[split] =
      isMapping(part) && "from" in part
        ? readSplit(part, `data.${split}`, absolute)
        : readSource(part, `data.${split}`, folder, absolute);
  }
  checkDrawn(task);
  checkTemplate(task.prompt.template, task.answer.field, { file: task.file, name: "prompt.template" });
  return task;
}

async function readMapping(file: string): Promise<unknown> {
  let text: string;
  try {
    if ((await stat(file)).size > fileLimit)
      throw unexpected(`at most ${fileLimit} bytes`, file, "a larger file", "input");
    text = new TextDecoder("utf-8", { fatal: true }).decode(await readFile(file));
  } catch (error) {
    if (error instanceof StillroomError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const kind = code === "EACCES" || code === "EPERM" || code === "EIO" ? "io" : "input";
    throw new StillroomError(kind, `cannot read the task file ${file}: ${unreadable(error, file)}`, { cause: error });
  }
  try {
    if (path.extname(file).toLowerCase() === ".json") return JSON.parse(text);
    const document = parseDocument(text, { prettyErrors: true });
    const [wrong] = document.errors;
    if (wrong?.code === "MULTIPLE_DOCS") throw new Error("it holds more than one document");
    if (wrong) throw wrong;
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new StillroomError("input", `${file} is not a readable task file: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function unreadable(error: unknown, file: string): string {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ERR_ENCODING_INVALID_ENCODED_DATA" ? "it is not valid UTF-8" : reasonOf(error, file);
}

/** Checks one mapping of the task file; `at` is its path in the file, "" for the file itself. */
function parsed<S extends z.ZodObject>(schema: S, value: unknown, file: string, at: string): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues.find((one) => one.code === "unrecognized_keys") ?? result.error.issues[0]!;
  const inner = issue.path.map(String);
  if (issue.code === "unrecognized_keys") {
    const wrong = issue.keys[0]!;
    const names = Object.keys(schema.shape);
    const nearest = nearestName(wrong, names);
    const hint = nearest === null ? `; known are ${names.join(", ")}` : `; did you mean ${nearest}?`;
    throw new StillroomError(
      "input",
      `${file}: unknown field ${[at, ...inner, wrong].filter(Boolean).join(".")}${hint}`,
    );
  }
  const received = inner.reduce<unknown>((part, key) => (part as Record<string, unknown> | undefined)?.[key], value);
  throw unexpected(wanted(issue), fieldName(file, at, ...inner), received, "input");
}

function fieldName(file: string, ...parts: string[]): string {
  const at = parts.filter(Boolean).join(".");
  return at ? `${at} in ${file}` : file;
}

function checkKind(kind: unknown, file: string): TaskKind {
  if ((taskKinds as readonly unknown[]).includes(kind)) return kind as TaskKind;
  throw wrongName(`one of ${taskKinds.join(", ")}`, fieldName(file, "kind"), kind, taskKinds);
}

function checkMetric(metric: string | undefined, kind: TaskKind, file: string): string {
  const known: readonly string[] = metricsOf[kind];
  if (metric === undefined) return known[0]!;
  if (known.includes(metric)) return metric;
  throw wrongName(`one of ${known.join(", ")} (kind ${kind})`, fieldName(file, "metric"), metric, known);
}

/** {@link unexpected}, with the nearest of the names that would do. */
function wrongName(what: string, field: string, given: unknown, known: readonly string[]): StillroomError {
  const nearest = typeof given === "string" ? nearestName(given, known) : null;
  const hint = nearest === null ? "" : `; did you mean ${nearest}?`;
  return new StillroomError("input", `${unexpected(what, field, given).message}${hint}`);
}

function checkMaxTokens(maxTokens: number | undefined, kind: TaskKind, file: string): number {
  if (maxTokens !== undefined && kind !== "generate") {
    throw new StillroomError("input", `${file}: maxTokens is for kind generate, not ${kind}`);
  }
  return maxTokens ?? 64;
}

function checkPrompt(
  prompt: z.output<typeof promptSchema>,
  given: unknown,
  file: string,
): z.output<typeof promptSchema> {
  if (prompt.template.trim() === "" && !prompt.chat) {
    const { template } = given as { template?: unknown };
    const field = fieldName(file, "prompt.template");
    throw unexpected("a Jinja template over the fields of a row", field, template, "input");
  }
  parseTemplate(prompt.template, fieldName(file, "prompt.template"));
  return prompt;
}

function checkAudit(audit: unknown, kind: TaskKind, file: string): AuditSettings {
  const settings = parsed(auditSchema, audit, file, "audit");
  // A bound that nothing is held to would always hold.
  const [mine, others] = kind === "regress" ? (["numbers", "labels"] as const) : (["labels", "numbers"] as const);
  const stray = boundedGaps[others].find((name) => settings.bounds?.[name] !== undefined);
  if (stray !== undefined) {
    const known = boundedGaps[mine].join(", ");
    throw new StillroomError(
      "input",
      `${file}: audit.bounds.${stray} is of ${others}, and the task is of kind ${kind}: known are ${known}`,
    );
  }
  if (kind === "regress" && settings.positive !== undefined)
    throw new StillroomError("input", `${file}: audit.positive is a label, and the task is of kind regress`);
  for (const [attribute, groups] of Object.entries(settings.terms ?? {})) {
    if (Object.keys(groups).length >= 2) continue;
    throw unexpected("two groups or more", fieldName(file, `audit.terms.${attribute}`), groups, "input");
  }
  return definedOnly(settings) as AuditSettings;
}

function checkLabels(labels: Record<string, string>, kind: TaskKind, file: string): Record<string, string> {
  const at = fieldName(file, "answer.labels");
  if (kind === "generate")
    throw new StillroomError(
      "input",
      `${file}: answer.labels is for kinds classify, multilabel and regress, not ${kind}`,
    );
  // White space around an answer is left out: "x" and "x " would have the same tokens.
  const texts = Object.values(labels).map((text) => text.trim());
  const word = Object.keys(labels).find((value) => kind === "regress" && !isNumber(value));
  if (word !== undefined) throw unexpected("numbers, with the texts that stand for them,", at, word, "input");
  if (texts.length < 2) throw unexpected("two labels or more", at, labels, "input");
  if (texts.includes("")) throw unexpected("a text for every value", at, labels, "input");
  const twice = texts.find((text, index) => texts.indexOf(text) !== index);
  if (twice !== undefined)
    throw new StillroomError("input", `${at}: two values have the same text ${JSON.stringify(twice)}`);
  return labels;
}

function checkSeparator(separator: string, kind: TaskKind, file: string): string {
  if (kind === "multilabel") return separator;
  throw new StillroomError("input", `${file}: answer.separator is for kind multilabel, not ${kind}`);
}

function readSplit(part: object, at: string, file: string): Split {
  const split = parsed(splitSchema, part, file, at);
  if (split.stratify !== undefined && split.group !== undefined) {
    throw new StillroomError("input", `${file}: ${at} takes stratify or group, not both`);
  }
  return definedOnly(split) as Split;
}

function readSource(part: unknown, at: string, folder: string, file: string): Source {
  const source = parsed(sourceSchema, typeof part === "string" ? { path: part } : part, file, at);
  const extension = path.extname(source.path).toLowerCase();
  const format = source.format ?? formatsByExtension[extension];
  if (format === undefined) {
    const known = Object.keys(formatsByExtension).join(", ");
    throw unexpected(
      `a file ending in ${known} (or a format beside it)`,
      fieldName(file, `${at}.path`),
      source.path,
      "input",
    );
  }
  return { path: path.resolve(folder, source.path), format, columns: source.columns ?? Object.create(null) };
}

function checkDrawn(task: Task): void {
  for (const [name, part] of Object.entries(task.data)) {
    if (!isDrawn(part)) continue;
    const from = task.data[part.from];
    if (from === undefined || isDrawn(from)) {
      throw new StillroomError(
        "input",
        `${task.file}: data.${name}.from names ${part.from}, and data.${part.from} is no file`,
      );
    }
  }
  if (Object.keys(task.data).length === 0) {
    throw new StillroomError("input", `${task.file}: data names no file; give train, test or both`);
  }
}

/** Throws "input" for a template that is no Jinja, or prints the answer's field; name: of the template in its file. */
export function checkTemplate(template: string, answer: string, { file, name }: { file: string; name: string }): void {
  const { all } = templateFields(parseTemplate(template, fieldName(file, name)));
  if (all.includes(answer) && !["messages", "conversations"].includes(answer)) {
    throw new StillroomError(
      "input",
      `${file}: ${name} prints ${answer}, which is answer.field: the prompt would hold its own answer`,
    );
  }
}

function isMapping(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function definedOnly<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, part]) => part !== undefined)) as never;
}
