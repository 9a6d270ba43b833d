// The public ladder(): one task from a bare prompt to a quantised student, every rung on the same held-out rows. Composes the jobs; computes nothing.
import { stat } from "node:fs/promises";
import path from "node:path";
import { type BadRow, placeOf, readRows } from "../dataset/index.js";
import {
  type Evaluation,
  evaluateWith,
  headless,
  type Metrics,
  mcnemar,
  type PairTest,
  readPredictions,
  rightRows,
  type ScoringProgress,
  tooFewExamples,
  withPredictor,
} from "../evaluate/index.js";
import { inspect, notTunable } from "../model/index.js";
import { readPromptFile, type Selection } from "../prompt/index.js";
import { goingOn } from "../support/cancelled.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { makeFolder } from "../support/files.js";
import { lockFolder } from "../support/lock.js";
import { watchMemory } from "../support/memory.js";
import { translated } from "../support/native.js";
import { requireTask, type Task } from "../task/index.js";
import { compare } from "./compare.js";
import { adapterBytes } from "./distill-table.js";
import { type Fairness, fairnessOf } from "./fairness.js";
import { LadderFile } from "./ladder-file.js";
import { choosePrompt, distilStudent, quantiseUnder, tuneModel, tuneStudent } from "./ladder-make.js";
import { type LadderOptions, type LadderSettings, ladderIdentity, ladderSettings } from "./ladder-options.js";

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
  /** Bad rows that were left out: of the test rows, and of `few-shot` and `tuned` of the training and validation rows too. */
  errors: number;
  metrics: Metrics;
  /** Against the rung before, on the rows that both answered: of McNemar's exact test; of numbers and sets of labels, of a paired permutation test of the metric. null for the first. */
  p_value: number | null;
  /** How unevenly it treats groups, on the same rows. */
  fairness: Fairness;
  rows_per_second: number;
  /** What the process grew by at most while it answered, the mapped file included, after what earlier work had left was given back; null where the system does not tell. */
  memory_bytes: number | null;
  /** Of the GGUF, and the adapter's. */
  bytes: number;
  /** To make what answers: training, and what processes that were cut off spent on it (but for the last five seconds of a killed one). The answering itself is not counted. */
  seconds: number;
}

/** What of a ladder is not as usual: of a task that a head answers, and of a student that quantising harms. */
export interface LadderNote {
  rung: RungName;
  /** Whether it is among the rungs. */
  climbed: boolean;
  why: string;
}

/** The result of ladder(), in the fields of `stillroom ladder --json`. */
export interface LadderResult {
  task: string;
  /** Name of the task's metric. */
  metric: string;
  /** The folder of all that was made. */
  out: string;
  rungs: LadderRung[];
  /** What p_value is of. */
  test: PairTest["test"];
  notes: LadderNote[];
}

/**
 * Climbs from a bare prompt over the best of several few-shot prompts, tuning and distilling to a quantised student, and measures each on the same test rows. All that is made lies in
 * one folder; a ladder that was cut off goes on from there, and within a rung that trains from its last checkpoint.
 *
 * @throws StillroomError "usage" for a wrong option, a folder of another ladder, or one in which another process works; "input" for the task's data or a model that
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
  requireTask(task);
  const settings = ladderSettings(options);
  if (!task.data.test)
    throw new StillroomError("input", `${task.file} has no test rows: a ladder measures every rung on data.test`);
  await requireExamples(task, settings);
  const { model, layers, tunable, reason } = await inspect(settings.model);
  if (!tunable) throw notTunable({ path: model, reason });
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
    throw goingOn(translated(error), "the same again");
  } finally {
    await lock.release();
  }
}

class Climb {
  #file: LadderFile;
  /** Bad rows that were told, by file and line. */
  #told = new Set<string>();

  constructor(
    readonly task: Task,
    readonly settings: LadderSettings,
    readonly out: string,
    readonly model: string,
  ) {
    this.#file = new LadderFile(out, ladderIdentity(task, model, settings));
  }

  /** Takes up what an earlier process left. Throws what {@link LadderFile.open} throws. */
  open(): Promise<void> {
    return this.#file.open();
  }

  async run(layers: number): Promise<LadderResult> {
    const { model, out, task } = this;
    const adapter = path.join(out, "tuned");
    const distilled = path.join(out, "distilled");
    const teaching = { out: distilled, teacherAdapter: adapter, layers };
    if (headless(task) === null) {
      await this.#rung("zero-shot", { model });
      const chosen = path.join(out, "prompt.json");
      await this.#rung("few-shot", { model, prompt: chosen }, async (leftOut) =>
        leftOut(await choosePrompt(this, chosen, (bad) => this.#tell("few-shot", bad))),
      );
    }
    await this.#rung("tuned", { model, adapter }, async (leftOut) => leftOut(await tuneModel(this, adapter)));
    if (isHeaded(task)) {
      const student = path.join(out, "student.gguf");
      await this.#rung("student", { model: student, adapter: distilled }, () => tuneStudent(this, teaching));
      const quantized = path.join(out, "quantized.gguf");
      await this.#rung("quantised student", { model: quantized, adapter: distilled }, async () => {
        this.#requireUnharmed(await quantiseUnder(this, { model: student, under: distilled, out: quantized }));
      });
      return this.#result();
    }
    let harm: string | null = null;
    const distil = async () => {
      harm = await distilStudent(this, teaching);
    };
    await this.#rung("student", { model: path.join(distilled, "model.gguf") }, distil);
    const quantized = path.join(distilled, "quantized.gguf");
    await this.#rung("quantised student", { model: quantized }, async () => {
      // Not there where this ladder, or the one that it goes on from, came no further than the gate.
      if (harm === null && !(await stat(quantized).catch(() => null))) await distil();
      this.#requireUnharmed(harm);
    });
    return this.#result();
  }

  /** Throws "gate" with a sentence of it. What the rungs before came to is not lost with a student that quantising harms. */
  #requireUnharmed(harm: string | null): void {
    if (harm !== null) throw new StillroomError("gate", harm, { cause: this.#result(harm) });
  }

  /** harm: what the gate says of a quantised student; null where it says nothing against one. */
  #result(harm: string | null = null): LadderResult {
    const { task, out } = this;
    const test = isHeaded(task) ? "permutation" : "mcnemar";
    return { task: task.name, metric: task.metric, out, rungs: this.#file.rungs, test, notes: notesOf(task, harm) };
  }

  /** One rung: what makes it, and says how many bad rows it left out, then the test rows. One that is done is not done again. */
  async #rung(
    rung: RungName,
    { model, adapter, prompt }: { model: string; adapter?: string; prompt?: string },
    make?: (leftOut: (badRows: number) => void) => Promise<void>,
  ): Promise<void> {
    if (this.#file.rungs.some((done) => done.rung === rung)) return;
    const { onEvent, checkLimit: limit, seed, threads, precision, strict, signal } = this.settings;
    onEvent?.({ type: "begin", rung });
    let unmade = 0;
    const leftOut = (badRows: number) => {
      unmade = badRows;
    };
    const seconds = make ? await this.#file.timed(rung, () => make(leftOut)) : 0;
    const last = this.#file.rungs.at(-1);
    const memory = await watchMemory();
    const predictions = this.#predictions(rung);
    const options = {
      ...({ model, adapter, prompt, split: "test", predictions } as const),
      ...{ limit, seed, threads, precision, strict, signal },
      onProgress: (progress: ScoringProgress) => onEvent?.({ type: "scoring", rung, progress }),
      onBad: (bad: BadRow) => this.#tell(rung, bad),
    };
    const done = await withPredictor(this.task, options, async (predictor) => {
      const found = await evaluateWith(predictor, options);
      const grown = memory();
      const fairness = await fairnessOf(predictor, await readPredictions(predictions), (progress) =>
        onEvent?.({ type: "swaps", rung, progress }),
      );
      return { found, fairness, memory: grown };
    });
    const select = prompt === undefined ? null : (await readPromptFile(prompt, this.task)).select;
    const bytes = (await stat(model)).size + (adapter === undefined ? 0 : await adapterBytes(adapter));
    const p_value = last ? await this.#test(last.rung, rung) : null;
    const errors = unmade + done.found.errors;
    const kept = rungOf(rung, done, { errors, select, bytes, seconds, p_value });
    await this.#file.keep(kept);
    onEvent?.({ type: "end", rung: kept });
  }

  /** On the rows that both rungs answered: behind examples the longest may not fit. Of numbers and sets, which are not only right or wrong, by the metric. */
  async #test(one: RungName, other: RungName): Promise<number> {
    const { task } = this;
    const files = [this.#predictions(one), this.#predictions(other)] as const;
    if (isHeaded(task)) return (await compare(task, files, { seed: this.settings.seed })).pairs[0]!.p_value;
    const [before, after] = [await readPredictions(files[0]), await readPredictions(files[1])];
    const known = new Map(before.map((row) => [row.index, row]));
    const both = after.filter(({ index }) => known.has(index));
    const earlier = both.map(({ index }) => known.get(index)!);
    return mcnemar(rightRows(task, earlier), rightRows(task, both)).exact;
  }

  #predictions(rung: RungName): string {
    return path.join(this.out, `${rung.replace(" ", "-")}.predictions.jsonl`);
  }

  /** A rung that leaves out what another one left out says nothing new. */
  #tell(rung: RungName, bad: BadRow): void {
    const place = placeOf(bad);
    if (!this.#told.has(place)) this.settings.onEvent?.({ type: "bad", rung, bad });
    this.#told.add(place);
  }
}

/** Throws "input" where there are fewer training rows than examples are asked for, before a rung is climbed. */
async function requireExamples(task: Task, { shots, limit, signal }: LadderSettings): Promise<void> {
  if (headless(task) !== null) return;
  const { rows } = await readRows(task, "train", { limit: Math.min(limit ?? shots, shots), signal });
  if (rows.length < shots) throw tooFewExamples(task, rows.length, shots);
}

/** Whether what tuning leaves is a head, which no GGUF holds and no words teach. */
const isHeaded = ({ kind }: Task): boolean => kind === "regress" || kind === "multilabel";

function notesOf(task: Task, harm: string | null): LadderNote[] {
  const harmed: LadderNote[] = harm === null ? [] : [{ rung: "quantised student", climbed: false, why: harm }];
  if (!isHeaded(task)) return harmed;
  const why = headless(task);
  const prompted = why === null ? [] : (["zero-shot", "few-shot"] as const);
  const taught =
    task.kind === "regress" ? "numbers half-way between the rows' and the tuned model's" : "the rows' own sets";
  const measured: LadderNote = {
    rung: "quantised student",
    climbed: true,
    why: "quantised under its adapter and head, with which the gate measures it",
  };
  return [
    ...prompted.map((rung) => ({ rung, climbed: false, why: why! })),
    {
      rung: "student",
      climbed: true,
      why: `a head is not distilled: the student tunes an adapter and a head, on ${taught}`,
    },
    ...(harm === null ? [measured] : harmed),
  ];
}

function rungOf(
  rung: RungName,
  { found, fairness, memory }: { found: Evaluation; fairness: Fairness; memory: number | null },
  made: Pick<LadderRung, "p_value" | "errors" | "select" | "bytes" | "seconds">,
): LadderRung {
  const { shots, prompt, model, adapter, rows, metrics, rows_per_second } = found;
  const measured = { rows, metrics, fairness, rows_per_second, memory_bytes: memory };
  return { rung, shots, prompt, model, adapter, ...measured, ...made };
}
