// Which answered rows stand before which question: drawn once, chosen once for what they cover, or the nearest to each row by the model's own embeddings.
// Knows rows and vectors; lays out nothing (prompt/).
import type { Row } from "../dataset/index.js";
import { embedRows } from "../embed/index.js";
import type { Model } from "../model/index.js";
import { chooseExamples, compileSubject, Space, UnsuitableRow } from "../prompt/index.js";
import { Random } from "../support/random.js";
import type { Task } from "../task/index.js";
import { encodePrompt } from "../tokens/index.js";
import type { Label } from "./scoring.js";

/** The examples of a prompt. */
export interface Shots {
  /** How many a row gets. */
  readonly count: number;
  /** Those of a row, in the order in which they are shown. */
  readonly of: (row: Row) => readonly Row[];
  /** Awaited with the rows that `of` will be asked for. */
  prepare(rows: readonly Row[]): Promise<void>;
  /** Sets of examples as rows get them: the one that all get, or some. What a prompt says to nothing is looked at behind them. */
  sets(): Promise<readonly (readonly Row[])[]>;
}

/** The same examples before every row. A row that is among them is not shown its own answer. */
export function fixedShots(task: Task, rows: readonly Row[]): Shots {
  const subject = compileSubject(task);
  const subjects = rows.map(subject);
  const of = (row: Row) => {
    const own = rows.length === 0 ? "" : subject(row);
    return subjects.includes(own) ? rows.filter((_, index) => subjects[index] !== own) : rows;
  };
  return { count: rows.length, of, prepare: async () => undefined, sets: async () => [rows] };
}

/** Rows whose examples stand for those of all, where each row has its own. */
const setsOfSimilar = 8;

/** The k rows of the pool that are most like the row, the most alike last: next to the question. */
export function similarShots(pool: Neighbours, k: number): Shots {
  // A row is asked about again with each of its variants, and the whole pool would be looked through each time.
  const known = new WeakMap<Row, readonly Row[]>();
  const of = (row: Row) => {
    const found = known.get(row) ?? pool.nearest(row, k);
    known.set(row, found);
    return found;
  };
  return {
    count: k,
    of,
    prepare: (rows) => pool.prepare(rows),
    sets: async () => {
      await pool.space();
      return pool.rows.slice(0, setsOfSimilar).map(of);
    },
  };
}

/** k rows of the pool that together cover it; where there is room for each label, as many of each as can be. In an order drawn by the seed. */
export async function diverseExamples(
  pool: Neighbours,
  { shots, seed, labels }: { shots: number; seed: number; labels: readonly Label[] },
): Promise<Row[]> {
  const space = await pool.space();
  const ofLabel = labels.map(({ value }) => [...pool.rows.keys()].filter((index) => pool.rows[index]!.value === value));
  const groups = ofLabel.filter((group) => group.length > 0);
  if (groups.length === 0 || shots < groups.length) {
    const chosen = space.spread(shots, seed);
    return new Random(seed).shuffle(chosen.map((index) => pool.rows[index]!));
  }
  // The same share of each label as chooseExamples gives it.
  const quota = chooseExamples(pool.rows, { shots, seed, labels });
  const chosen = groups.flatMap((group) => {
    const { value } = pool.rows[group[0]!]!;
    return space.spread(quota.filter((row) => row.value === value).length, seed, group);
  });
  return new Random(seed).shuffle(chosen.map((index) => pool.rows[index]!));
}

/** Rows to look for neighbours in. Their vectors are computed when they are first needed, those of other rows once each. */
export class Neighbours {
  #space: Promise<Space> | null = null;
  #known: Space | null = null;
  readonly #vectors = new WeakMap<Row, Float32Array>();
  readonly #subject: (row: Row) => string;
  readonly #subjects: string[];

  /** @param model - whose embeddings say what is alike; without an adapter, so that what it is shown does not change with one */
  constructor(
    readonly model: Model,
    task: Task,
    readonly rows: readonly Row[],
    readonly signal?: AbortSignal | undefined,
  ) {
    this.#subject = compileSubject(task);
    this.#subjects = rows.map(this.#subject);
  }

  space(): Promise<Space> {
    this.#space ??= this.#embed(this.rows).then((vectors) => {
      this.#known = new Space(vectors);
      return this.#known;
    });
    return this.#space;
  }

  async prepare(rows: readonly Row[]): Promise<void> {
    await this.space();
    await this.#embed(rows.filter((row) => this.#suits(row)));
  }

  /** A row that does not suit the template has no neighbours: nearest says why, as it is said of any row that is asked about. */
  #suits(row: Row): boolean {
    try {
      this.#subject(row);
      return true;
    } catch (error) {
      if (error instanceof UnsuitableRow) return false;
      throw error;
    }
  }

  /** The nearest last. Never a row that asks the same. */
  nearest(row: Row, k: number): Row[] {
    const own = this.#subject(row);
    const found = this.#known!.nearest(this.#vectors.get(row)!, k, (index) => this.#subjects[index] === own);
    return found.reverse().map((index) => this.rows[index]!);
  }

  async #embed(rows: readonly Row[]): Promise<Float32Array[]> {
    const { model } = this;
    const missing = rows.filter((row) => !this.#vectors.has(row));
    const tokens = missing.map((row) => {
      const piece = { text: this.#subject(row), control: false };
      return encodePrompt(model.tokenizer, { pieces: [piece], answer: "" }).subarray(0, model.info.contextLength);
    });
    const full = tokens.filter(({ length }) => length > 0);
    const vectors = await embedRows({ model, lora: null, pooling: "mean", signal: this.signal }, full);
    let next = 0;
    // A text without a token is like no other.
    for (const [place, row] of missing.entries()) {
      this.#vectors.set(row, tokens[place]!.length > 0 ? vectors[next++]! : new Float32Array(model.info.width));
    }
    return rows.map((row) => this.#vectors.get(row)!);
  }
}
