// The public ladder(): one task from a bare prompt to a quantised student, every rung on the same held-out rows. Composes the jobs; computes nothing.
import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { performance } from "node:perf_hooks";
import {
  type Evaluation,
  evaluateWith,
  type Metrics,
  readPredictions,
  type ScoringProgress,
  withPredictor,
} from "../evaluate/index.js";
import { inspect } from "../model/index.js";
import { readPromptFile, type Selection } from "../prompt/index.js";
import { makeStudent, type StudentProgress } from "../student/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { makeFolder, writeFileAtomic } from "../support/files.js";
import { lockFolder } from "../support/lock.js";
import { watchMemory } from "../support/memory.js";
import { rethrow } from "../support/native.js";
import type { Task } from "../task/index.js";
import { distill } from "./distill.js";
import { adapterBytes } from "./distill-table.js";
import { type Fairness, fairnessOf } from "./fairness.js";
import { type LadderOptions, type LadderSettings, ladderIdentity, ladderSettings } from "./ladder-options.js";
import { prompt } from "./prompt.js";
import { tune } from "./tune.js";

/** Rows that prompts are chosen by. */
const promptRows = 100;

export type RungName = "zero-shot" | "few-shot" | "tuned" | "student" | "quantised student";

/** A rung: a model on the test rows, what it costs, and what it bought. */
export interface LadderRung {
  rung: RungName;
  /** Of the prompt. */
  shots: number;
  /** The prompt file; null for the task's own prompt. */
  prompt: string | null;
  /** How the examples are chosen; null without any. */
  select: Selection | null;
  /** The GGUF, and the adapter that it was run with. */
  model: string;
  adapter: string | null;
  rows: number;
  metrics: Metrics;
  /** Of McNemar's exact test against the rung before; null for the first. */
  p_value: number | null;
  /** How unevenly it treats groups, on the same rows. */
  fairness: Fairness;
  rows_per_second: number;
  /** What the process grew by while it answered, the mapped file included; null where the system does not tell. */
  memory_bytes: number | null;
  /** Of the GGUF, and the adapter's. */
  bytes: number;
  /** To make what answers, training included; the answering itself is not counted. */
  seconds: number;
}

/** The result of ladder(), in the fields of `stillroom ladder --json`. */
export interface LadderResult {
  task: string;
  /** Name of the task's metric. */
  metric: string;
  /** The folder of all that was made. */
  out: string;
  rungs: LadderRung[];
}

/** ladder.json: the rungs that are done, and what they depend on. */
interface LadderFile {
  format: "stillroom-ladder";
  version: 2;
  identity: Record<string, unknown>;
  rungs: LadderRung[];
}

/**
 * Climbs from a bare prompt over the best of several few-shot prompts, tuning and distilling to a quantised student, and measures each on the same test rows. All that is made lies in
 * one folder; a ladder that was cut off goes on from there, and within a rung that trains from its last checkpoint.
 *
 * @throws StillroomError "usage" for a wrong option, a task of kind regress or multilabel, a folder of another ladder, or one in which another process works; "input" for the task's data or a model that
 * cannot be tuned; "gate" for a student that quantising harms (cause: the {@link LadderResult} of the rungs before, the student's among them); "io" for the disk; "cancelled" on abort
 *
 * @example
 * ```ts
 * import { ladder, readTask } from "stillroom";
 * const task = await readTask("sst2/task.yaml");
 * const { rungs } = await ladder(task, { model: "model.gguf", out: "runs/ladder", limit: 2000 });
 * for (const { rung, metrics, bytes } of rungs) console.log(rung, metrics[task.metric]?.value, bytes);
 * ```
 */
export async function ladder(task: Task, options: LadderOptions): Promise<LadderResult> {
  const settings = ladderSettings(options);
  if (task.kind === "regress" || task.kind === "multilabel") {
    const remedy = "prompt, tune and eval do, and compare shows their results side by side";
    throw new StillroomError(
      "usage",
      `a student learns words, so a ladder takes no task of kind ${task.kind} such as ${task.name}: ${remedy}`,
    );
  }
  if (!task.data.test)
    throw new StillroomError("input", `${task.file} has no test rows: a ladder measures every rung on data.test`);
  const { model, layers } = await inspect(settings.model);
  if ((settings.layers ?? 0) > layers)
    throw unexpected(`a whole number up to the model's ${layers}`, "layers", settings.layers);
  const out = path.resolve(settings.out);
  await makeFolder(out);
  const lock = await lockFolder(out);
  try {
    const climb = new Climb(task, settings, out, model);
    await climb.open();
    return await climb.run(settings.layers ?? Math.ceil(layers / 3));
  } catch (error) {
    return rethrow(error);
  } finally {
    await lock.release();
  }
}

class Climb {
  #rungs: LadderRung[] = [];
  #identity: Record<string, unknown>;

  constructor(
    readonly task: Task,
    readonly settings: LadderSettings,
    readonly out: string,
    readonly model: string,
  ) {
    this.#identity = ladderIdentity(task, model, settings);
  }

  get #file(): string {
    return path.join(this.out, "ladder.json");
  }

  /** Takes up what an earlier process left. Throws "usage" where that was another ladder. */
  async open(): Promise<void> {
    const text = await readFile(this.#file, "utf8").catch(() => null);
    if (text === null) return;
    const before = parseLadder(this.#file, text);
    const names = new Set([...Object.keys(before.identity), ...Object.keys(this.#identity)]);
    for (const name of names) {
      const both = [before.identity[name], this.#identity[name]];
      const [was, is] = both.map((value) => (value === undefined ? "not given" : JSON.stringify(value)));
      if (was === is) continue;
      const message = `${this.out} holds a ladder with ${name} ${was}, now ${is}; give what it was begun with, or another folder`;
      throw new StillroomError("usage", message, { options: ["out", name] });
    }
    this.#rungs = before.rungs;
  }

  async run(layers: number): Promise<LadderResult> {
    const { model, out } = this;
    const adapter = path.join(out, "tuned");
    const distilled = path.join(out, "distilled");
    await this.#rung("zero-shot", { model });
    const chosen = path.join(out, "prompt.json");
    await this.#rung("few-shot", { model, prompt: chosen }, () => this.#choosePrompt(chosen));
    await this.#rung("tuned", { model, adapter }, () => this.#tune(adapter));
    let harm: string | null = null;
    const distill = async () => {
      harm = await this.#distill(distilled, adapter, layers);
    };
    await this.#rung("student", { model: path.join(distilled, "model.gguf") }, distill);
    const quantized = path.join(distilled, "quantized.gguf");
    await this.#rung("quantised student", { model: quantized }, async () => {
      // Not there where this ladder, or the one that it goes on from, came no further than the gate.
      if (harm === null && !(await stat(quantized).catch(() => null))) await distill();
      // What the rungs before came to is not lost with a student that quantising harms.
      if (harm !== null) throw new StillroomError("gate", harm, { cause: this.#result() });
    });
    return this.#result();
  }

  #result(): LadderResult {
    const { task, out } = this;
    return { task: task.name, metric: task.metric, out, rungs: this.#rungs };
  }

  /** One rung: what makes it, then the test rows. One that is done is not done again. */
  async #rung(
    rung: RungName,
    { model, adapter, prompt }: { model: string; adapter?: string; prompt?: string },
    make?: () => Promise<void>,
  ): Promise<void> {
    if (this.#rungs.some((done) => done.rung === rung)) return;
    const { onEvent, checkLimit: limit, seed, threads, precision, signal } = this.settings;
    onEvent?.({ type: "begin", rung });
    const started = performance.now();
    await make?.();
    const seconds = (performance.now() - started) / 1000;
    const last = this.#rungs.at(-1);
    const memory = watchMemory();
    const predictions = this.#predictions(rung);
    const options = {
      ...({ model, adapter, prompt, split: "test", limit, seed, threads, precision, signal, predictions } as const),
      against: last && this.#predictions(last.rung),
      onProgress: (progress: ScoringProgress) => onEvent?.({ type: "scoring", rung, progress }),
    };
    const done = await withPredictor(this.task, options, async (predictor) => {
      const found = await evaluateWith(predictor, options);
      const grown = memory();
      const fairness = await fairnessOf(predictor, await readPredictions(predictions), options.onProgress);
      return { found, fairness, memory: grown };
    });
    const select = prompt === undefined ? null : (await readPromptFile(prompt, this.task)).select;
    const bytes = (await stat(model)).size + (adapter === undefined ? 0 : await adapterBytes(adapter));
    await this.#keep(rungOf(rung, done, { select, bytes, seconds }));
  }

  #predictions(rung: RungName): string {
    return path.join(this.out, `${rung.replace(" ", "-")}.predictions.jsonl`);
  }

  async #keep(rung: LadderRung): Promise<void> {
    this.#rungs.push(rung);
    const file: LadderFile = { format: "stillroom-ladder", version: 2, identity: this.#identity, rungs: this.#rungs };
    await writeFileAtomic(this.#file, `${JSON.stringify(file, null, 2)}\n`);
    this.settings.onEvent?.({ type: "end", rung });
  }

  /** The best of the ways to choose examples, on few validation rows; its file is the rung's. */
  async #choosePrompt(save: string): Promise<void> {
    const { shots, limit, seed, threads, precision, signal, onEvent } = this.settings;
    await prompt(this.task, {
      ...{ model: this.model, shots: [shots], select: ["random", "similar", "diverse"], compare: true, save },
      ...{ limit: promptRows, pool: limit, seed, threads, precision, signal },
      onProgress: (progress) => onEvent?.({ type: "scoring", rung: "few-shot", progress }),
    });
  }

  async #tune(out: string): Promise<void> {
    const { epochs, learningRate, limit, seed, threads, precision, signal, onEvent } = this.settings;
    const common = { limit, seed, threads, precision, signal, resume: true };
    const work = tune(this.task, { model: this.model, out, epochs, learningRate, ...common });
    for await (const event of work) onEvent?.({ type: "tune", rung: "tuned", event });
  }

  /** The student and, if that does it no harm, the quantised one; else the gate's sentence on it. */
  async #distill(out: string, teacherAdapter: string, layers: number): Promise<string | null> {
    const {
      studentEpochs,
      studentLearningRate,
      quantize,
      checkLimit,
      limit,
      seed,
      threads,
      precision,
      signal,
      onEvent,
    } = this.settings;
    const student = path.join(this.out, "student.gguf");
    const rung = "student";
    if (!(await stat(student).catch(() => null))) {
      const onProgress = (progress: StudentProgress) => onEvent?.({ type: "student", rung, progress });
      await makeStudent({ teacher: this.model, task: this.task, layers, out: student, threads, signal, onProgress });
    }
    // All weights of the student are trained, which is exact only.
    const common = { limit, seed, threads, signal, resume: true };
    const teacher = { teacher: this.model, teacherAdapter, teacherPrecision: precision, student, quantize, checkLimit };
    const work = distill(this.task, {
      ...teacher,
      out,
      epochs: studentEpochs,
      learningRate: studentLearningRate,
      ...common,
    });
    try {
      for await (const event of work) onEvent?.({ type: "distill", rung, event });
      return null;
    } catch (error) {
      if (error instanceof StillroomError && error.code === "gate") return error.message;
      throw error;
    }
  }
}

function rungOf(
  rung: RungName,
  { found, fairness, memory }: { found: Evaluation; fairness: Fairness; memory: number | null },
  made: { select: Selection | null; bytes: number; seconds: number },
): LadderRung {
  const { shots, prompt, model, adapter, rows, metrics, against, rows_per_second } = found;
  const p_value = against?.p_value ?? null;
  const measured = { rows, metrics, p_value, fairness, rows_per_second, memory_bytes: memory };
  return { rung, shots, prompt, model, adapter, ...measured, ...made };
}

/** Throws "input" for a file that no ladder of this version wrote. */
function parseLadder(file: string, text: string): LadderFile {
  try {
    const found = JSON.parse(text) as LadderFile;
    if (found.format === "stillroom-ladder" && found.version === 2) return found;
  } catch {
    // Falls through to the one message for a file that is not ours.
  }
  throw new StillroomError("input", `${file} is not of a ladder of this version; give another folder`);
}
