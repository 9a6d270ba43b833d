// What a tuning run leaves in its folder beside the loop's own files: run.json, and the adapter in both formats or the whole model.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { z } from "zod";
import { type Head, isHeadTensor, writeAdapterFolder, writeHead } from "../adapter/index.js";
import { cardFile } from "../export/index.js";
import { type Model, packageRoot } from "../model/index.js";
import { cannot, isAbsent, StillroomError } from "../support/errors.js";
import { type NativeLora, type NativeWeights, native, rethrow, translated } from "../support/native.js";
import type { Task } from "../task/index.js";
import type {
  Fingerprint,
  FoundCheckpoint,
  Rewound,
  RunPlan,
  TrainEvent,
  TuneOptions,
  TuneSettings,
} from "../train/index.js";
import type { Lesson } from "./lesson.js";
import type { TuneData } from "./tune-data.js";
import type { TuneResult } from "./tune-result.js";

/** The machine and the versions that worked on a run. Threads and variant decide the bytes together with the fingerprint. */
export interface Machine {
  cpu: string;
  cores: number;
  memory_bytes: number;
  platform: string;
  threads: number;
  variant: string;
  node: string;
  stillroom: string;
}

/** run.json: everything that is needed to repeat the run. */
export interface RunFile {
  format: "stillroom-run";
  version: 1;
  started: string;
  /** Options that repeat the run; `out` and `resume` are left to the caller. */
  options: Omit<TuneOptions, "out" | "resume" | "signal">;
  /** Of distill: the teacher and the loss. */
  distillation?: Record<string, unknown>;
  task: Task & { sha256: string };
  model: { path: string; bytes: number; sha256: string; architecture: string; name: string | null };
  /** This, the plan and the fingerprint are null until the teacher of a distillation was asked. */
  data: {
    rows: number;
    bad_rows: number;
    truncated_rows: number;
    dropped_rows: number;
    validation_rows: number;
  } | null;
  plan: RunPlan | null;
  fingerprint: Fingerprint | null;
  machine: Machine;
  /** Absent until the run has ended. */
  result?: unknown;
}

/** What is read of a run.json that this version wrote, before its options are checked one by one. */
const runParts = z.looseObject({
  started: z.string(),
  options: z.looseObject({}),
  distillation: z.looseObject({}).optional(),
  task: z.looseObject({ name: z.string(), sha256: z.string() }),
  model: z.looseObject({ path: z.string(), sha256: z.string() }),
  ...{ data: z.looseObject({}).nullable(), plan: z.looseObject({}).nullable() },
  fingerprint: z.looseObject({}).nullable(),
  machine: z.looseObject({ cpu: z.string(), threads: z.number(), variant: z.string(), stillroom: z.string() }),
});

/** This machine, with the threads and kernels that the model runs on. */
export function machineOf(model: Model, variant: string | null): Machine {
  const { version } = JSON.parse(readFileSync(path.join(packageRoot(), "package.json"), "utf8")) as { version: string };
  return {
    cpu: os.cpus()[0]?.model ?? "unknown",
    cores: native().cores,
    memory_bytes: os.totalmem(),
    platform: `${process.platform}-${process.arch}`,
    threads: model.threads,
    variant: variant ?? native().variants[0] ?? "portable",
    node: process.version,
    stillroom: version,
  };
}

/** The run.json of a folder; null where there is none. Throws "input" for one that is not ours. */
export async function readRunFile(file: string): Promise<RunFile | null> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (isAbsent(error)) return null;
    throw cannot("read", file, error);
  }
  let what = "is damaged";
  try {
    const run = JSON.parse(text) as Partial<RunFile> | null;
    if (run?.format !== "stillroom-run") what = "is of no run of stillroom";
    else if (run.version !== 1) what = `is of another version (${run.version}, here 1)`;
    else {
      const { success, error } = runParts.safeParse(run);
      if (success) return run as RunFile;
      what = `is damaged in ${error.issues[0]!.path.join(".")}`;
    }
  } catch {
    // Not JSON.
  }
  throw new StillroomError("input", `${file} ${what}: ${putBack}`);
}

/** The same of a run that a command goes on with. Throws "usage", too, where that is the other command's. */
export async function readRunOf(command: "tune" | "distill", file: string): Promise<RunFile | null> {
  const run = await readRunFile(file);
  if (run === null) return null;
  const own = run.distillation === undefined ? "tune" : "distill";
  if (own !== command)
    throw new StillroomError("usage", `${path.dirname(file)} holds a run of ${own}: resume it with ${own}`);
  return run;
}

const putBack = "put it back as the run wrote it, or give another folder";

/** Of a run before its first step, and from then on. */
export type StartedRun = { [name in keyof RunFile]: NonNullable<RunFile[name]> };

/** Throws "input" naming the run.json whose options `check` refuses: nobody gave them now. */
export async function requireOptions(file: string, check: () => unknown): Promise<void> {
  try {
    await check();
  } catch (error) {
    const { code, message, options } = translated(error);
    if (code !== "usage") throw error;
    const wrong = `${file} is damaged: ${message}; ${putBack}`;
    throw new StillroomError("input", wrong, { cause: error, options });
  }
}

/** What a run.json tells of. */
export interface RunSubject {
  task: Task;
  lesson: Pick<Lesson<never>, "options"> | null;
  settings: TuneSettings;
  before: RunFile | null;
  model: Model;
}

/** run.json before a teacher is asked. */
export function describeAsking(subject: RunSubject, modelHash: string): RunFile {
  return { ...describeSubject(subject, modelHash), data: null, plan: null, fingerprint: null };
}

/** run.json before the first step. */
export function describeRun(
  subject: RunSubject,
  data: TuneData,
  plan: RunPlan,
  known: { fingerprint: Fingerprint; modelHash: string; validationRows: number },
): StartedRun {
  return {
    ...describeSubject(subject, known.modelHash),
    data: {
      rows: data.train.length,
      bad_rows: data.badRows,
      truncated_rows: data.truncatedRows,
      dropped_rows: data.droppedRows,
      validation_rows: known.validationRows,
    },
    plan,
    fingerprint: known.fingerprint,
  };
}

function describeSubject(
  { task, lesson, settings, before, model }: RunSubject,
  modelHash: string,
): Omit<StartedRun, "data" | "plan" | "fingerprint"> {
  const { info } = model;
  return {
    format: "stillroom-run",
    version: 1,
    started: before?.started ?? new Date().toISOString(),
    options: optionsOf(settings, info.path),
    ...(lesson && { distillation: lesson.options }),
    task: { ...task, sha256: hashTask(task) },
    model: {
      path: info.path,
      bytes: info.fileBytes,
      sha256: modelHash,
      architecture: info.architecture,
      name: info.name,
    },
    machine: machineOf(model, settings.variant),
  };
}

/** The settings that were given or have a fixed default, as options that repeat the run. */
function optionsOf(settings: TuneSettings, model: string): RunFile["options"] {
  const { out: _out, resume: _resume, ...rest } = { ...settings, model };
  return Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null));
}

/** Options without those that are undefined. */
export function definedOptions(options: TuneOptions): TuneOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never;
}

/** Options of a resumed run: those given now, and for the rest those that it was begun with. */
export function mergeOptions(before: RunFile["options"], now: TuneOptions): TuneOptions {
  const given = definedOptions(now);
  const { epochs, steps, ...rest } = before;
  const length = given.epochs === undefined && given.steps === undefined ? { epochs, steps } : {};
  return { ...rest, ...length, ...given };
}

/** What a run that goes on should know: damaged checkpoints or none, damaged lines, and another machine than before. */
export function* resumeWarnings(
  { found, rewound }: { found: FoundCheckpoint | null; rewound: Rewound },
  before: RunFile | null,
  run: RunFile,
  folder: string,
): Generator<Extract<TrainEvent, { type: "warning" }>, void> {
  for (const message of found?.damaged ?? []) {
    yield { type: "warning", kind: "checkpoint", message: `${message}; going on from step ${found!.checkpoint.step}` };
  }
  if (!before) return;
  // One that stopped while its teacher was asked never had a step, nor a checkpoint to miss.
  if (!found && before.fingerprint !== null) {
    yield { type: "warning", kind: "checkpoint", message: `${folder} ${withoutCheckpoint(before, rewound.lastStep)}` };
    return;
  }
  for (const message of rewound.damaged) yield { type: "warning", kind: "metrics", message };
  const names = ["cpu", "threads", "variant", "stillroom"] as const;
  const differing = names.filter((name) => before.machine[name] !== run.machine[name]);
  if (differing.length === 0) return;
  const list = differing.map((name) => `${name} ${before.machine[name]}, now ${run.machine[name]}`).join("; ");
  yield {
    type: "warning",
    kind: "machine",
    message: `the run was begun with ${list}: its bytes may differ from an undisturbed run's`,
  };
}

/** What is known of a run without a checkpoint, which cannot say itself whether it had one. */
function withoutCheckpoint({ result }: RunFile, lastStep: number): string {
  const none = "holds no checkpoint of a step";
  const again = "the run begins again at step 1";
  if (result !== undefined) return `${none}, though the run had ended: they were removed; ${again}`;
  if (lastStep === 0) return `${none}, and metrics.jsonl no step: ${again}`;
  const steps = `metrics.jsonl tells of steps up to ${lastStep}`;
  return `${none}, and ${steps}: it stopped before its first checkpoint, or they were removed; ${again}`;
}

/** What a task says, wherever its file lies; how it is audited changes no run. */
export function taskWords({ file: _, folder: __, audit: ___, ...task }: Task): Omit<Task, "file" | "folder" | "audit"> {
  return task;
}

export function hashTask(task: Task): string {
  return createHash("sha256")
    .update(JSON.stringify(taskWords(task)))
    .digest("hex");
}

/** Writes what was trained, each file whole or not at all: adapter/ (PEFT) and adapter.gguf, head.safetensors, or model.gguf. */
export async function writeTrained(
  folder: string,
  {
    parameters,
    model,
    head,
    name,
  }: { parameters: NativeLora | NativeWeights; model: Model; head: Head | null; name: string },
): Promise<Pick<TuneResult, "adapter" | "head" | "model" | "card">> {
  if ("save" in parameters) {
    const file = path.join(folder, "model.gguf");
    await parameters.save(file);
    return { adapter: null, head: null, model: file, card: cardFile(file) };
  }
  const written = head && (await writeHead(folder, parameters, head));
  const adapter = parameters.options.targets.length > 0 ? await writeAdapters(folder, parameters, model, name) : null;
  return { adapter, head: written, model: null, card: null };
}

async function writeAdapters(folder: string, lora: NativeLora, model: Model, name: string) {
  const { options } = lora;
  const tensors = lora.tensors().filter((tensor) => !isHeadTensor(tensor));
  const peft = path.join(folder, "adapter");
  const gguf = path.join(folder, "adapter.gguf");
  const baseModel = model.info.name ?? path.basename(model.info.path);
  await writeAdapterFolder({ folder: peft, tensors, options, info: model.info, baseModel });
  // llama.cpp scales by alpha / rank: an rsLoRA adapter's alpha is written so that this is alpha / sqrt(rank).
  const alpha = options.rsLora ? options.alpha * Math.sqrt(options.rank) : options.alpha;
  await native().writeAdapter(gguf, tensors, { architecture: model.info.architecture, alpha, name }).catch(rethrow);
  return { peft, gguf };
}
