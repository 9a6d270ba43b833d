// What of a teacher matters to a task, and what a student is worth beside it, measured on the same rows. Knows batches and models; writes nothing.
import type { Row } from "../dataset/index.js";
import { answerBatches } from "../export/index.js";
import { type Model, openModel } from "../model/index.js";
import type { Examples } from "../prompt/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import {
  type NativeBatch,
  type NativeEnergies,
  type NativeModel,
  type NativeStudentParts,
  native,
} from "../support/native.js";
import { chooseHeads, chooseLayers, largest, measurings } from "./choose.js";
import type { StudentProgress, StudentSettings, StudentSize } from "./options.js";
import { wantedTokens } from "./vocabulary.js";

/** What a student is known by once its file is open, in the fields of `stillroom student --json`. */
export interface Measured {
  parameters: number;
  /** Tokens of its tokenizer. */
  vocabulary: number;
  /** Mean over the answer tokens of the measured rows, in nats; the student's before any training. */
  loss: { teacher: number; student: number };
  /** Of the measured rows' prompts and answers, as each of the two cuts them. */
  tokens: { teacher: number; student: number };
}

/** Losses of one model, each a mean over tokens, in nats. */
interface Losses {
  answers: number;
  /** Of the tokens of prompts, where they were asked for. */
  prompts: number;
}

/** The measurings of one student. */
export class Measuring {
  readonly #batches: readonly NativeBatch[];

  constructor(
    readonly teacher: Model,
    readonly rows: readonly Row[],
    readonly examples: Examples,
    readonly settings: StudentSettings,
  ) {
    this.#batches = this.#batchesOf(teacher, true);
  }

  /** What stays of the teacher, for a student of this size. */
  async parts(size: StudentSize): Promise<NativeStudentParts> {
    const { info } = this.teacher;
    const stay = await this.#layers(Math.min(size.layers, info.layers));
    const layers = [...stay, ...Array<number>(size.layers - stay.length).fill(-1)];
    const sizes = ["width", "feedForward", "heads", "keyValueHeads"] as const;
    const zeros = (count: number) => new Float64Array(info.layers * count);
    // Where all stays, nothing is to be weighed.
    const energies = sizes.every((name) => size[name] === info[name])
      ? { feedForward: zeros(info.feedForward), heads: zeros(info.heads), width: zeros(info.width) }
      : await this.#energies();
    const of = (name: keyof NativeEnergies, layer: number) =>
      energies[name].subarray(layer * info[name], (layer + 1) * info[name]);
    // Of a new layer only the counts matter.
    const feedForward = layers.map((layer) => largest(of("feedForward", Math.max(layer, 0)), size.feedForward));
    const attention = layers.map((layer) => chooseHeads(of("heads", Math.max(layer, 0)), info, size));
    const read = Float64Array.from({ length: info.width }, (_, channel) =>
      stay.reduce((sum, layer) => sum + of("width", layer)[channel]!, 0),
    );
    return {
      ...{ layers: Int32Array.from(layers), width: largest(read, size.width), feedForward },
      heads: attention.map(({ heads }) => heads),
      keyValueHeads: attention.map(({ keyValueHeads }) => keyValueHeads),
      ...{ tokens: await this.#tokens(), seed: this.settings.seed ?? 0 },
    };
  }

  /** Opens a student's file and compares it with its teacher. */
  async student(file: string): Promise<Measured> {
    const { signal } = this.settings;
    const student = await openModel(file, { threads: this.teacher.threads, signal });
    try {
      const progress = (from: number) => (done: number) => this.#tell("measure", from + done / 2);
      const batches = this.#batchesOf(student, true);
      const loss = {
        teacher: (await this.#losses(this.teacher.native, this.#batches, progress(0))).answers,
        student: (await this.#losses(student.native, batches, progress(0.5))).answers,
      };
      const count = (model: Model) => this.#batchesOf(model, false).reduce((sum, { tokens }) => sum + tokens.length, 0);
      const tokens = { teacher: count(this.teacher), student: count(student) };
      return { parameters: student.info.parameters, vocabulary: student.info.vocabulary, loss, tokens };
    } finally {
      await student.close();
    }
  }

  #batchesOf(model: Model, sharePrefix: boolean): NativeBatch[] {
    const { task } = this.settings;
    const batches = answerBatches(model, task, this.rows, sharePrefix, this.examples);
    if (batches.length > 0) return batches;
    throw new StillroomError(
      "input",
      `none of the training rows of ${task.name} fits the context of ${model.info.path}`,
    );
  }

  async #losses(
    model: NativeModel,
    batches: readonly NativeBatch[],
    progress: (done: number) => void,
    everyToken = false,
  ): Promise<Losses> {
    const sums = { answers: 0, prompts: 0 };
    const counts = { answers: 0, prompts: 0 };
    for (const [index, batch] of batches.entries()) {
      throwIfCancelled(this.settings.signal, "making a student");
      const found = await model.score(everyToken ? withPrompts(batch) : batch, null);
      const answers = batch.queryPositions.length;
      for (const [query, value] of found.entries()) {
        const part = query < answers ? "answers" : "prompts";
        sums[part] -= value;
        counts[part]++;
      }
      progress((index + 1) / batches.length);
    }
    return { answers: sums.answers / counts.answers, prompts: sums.prompts / Math.max(1, counts.prompts) };
  }

  async #layers(keep: number): Promise<number[]> {
    const { info, threads } = this.teacher;
    const most = measurings(info.layers, keep);
    let measured = 0;
    return chooseLayers(info.layers, keep, async (kept) => {
      // The weights are mapped from the file: opening costs little.
      const layers = Int32Array.from(kept);
      const part = await native().openModel(info.path, { threads, variant: null, layers });
      try {
        const progress = (done: number) => this.#tell("layers", (measured + done) / most);
        const { answers, prompts } = await this.#losses(part, this.#batches, progress, true);
        return answers + prompts;
      } finally {
        measured++;
        await part.close();
      }
    });
  }

  async #energies(): Promise<NativeEnergies> {
    const importance = native().createImportance();
    for (const [index, batch] of this.#batches.entries()) {
      throwIfCancelled(this.settings.signal, "making a student");
      await this.teacher.native.collectImportance(batch, importance);
      this.#tell("channels", (index + 1) / this.#batches.length);
    }
    return this.teacher.native.energies(importance);
  }

  async #tokens(): Promise<NativeStudentParts["tokens"]> {
    const { task, vocabulary, signal } = this.settings;
    if (vocabulary === undefined) return null;
    const [texts, size] = typeof vocabulary === "number" ? [task, vocabulary] : [vocabulary, null];
    return wantedTokens(this.teacher, texts, size, {
      ...{ signal, prompt: this.settings.prompt },
      onProgress: (done) => this.#tell("vocabulary", done),
    });
  }

  #tell(phase: StudentProgress["phase"], done: number): void {
    this.settings.onProgress?.({ phase, done });
  }
}

/** A batch that asks for the tokens of its prompts as well, behind the queries that it has: of each segment, for those behind its first. */
function withPrompts(batch: NativeBatch): NativeBatch {
  const { tokens, segments } = batch;
  const known = new Set(batch.queryPositions);
  const places: number[] = [];
  for (let at = 0; at < segments.length; at += 3) {
    const [start, length] = [segments[at]!, segments[at + 1]!];
    for (let place = start; place + 1 < start + length; place++) if (!known.has(place)) places.push(place);
  }
  return {
    ...{ tokens, segments },
    queryPositions: Int32Array.from([...batch.queryPositions, ...places]),
    queryTokens: Int32Array.from([...batch.queryTokens, ...places.map((place) => tokens[place + 1]!)]),
  };
}
