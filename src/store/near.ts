// Texts that lead to answers by their vectors: aliases of a kind of their own, found by a scan of all of them, and the fit without which none is used.
// Knows no model.
import { StillroomError } from "../support/errors.js";
import { type NativePooling, native } from "../support/native.js";
import { checksum } from "./checksum.js";
import { canonical, type Maker, sha256 } from "./key.js";
import { vectorBytes, vectorOf } from "./record.js";
import type { Store, StoredAnswer } from "./store.js";
import { nearKind, writeNear } from "./tables.js";

/** A share with its 95 % interval. */
interface Share {
  value: number;
  low: number;
  high: number;
}

/** From which similarity on two texts count as one, and what pairs that the threshold was not fitted on say of it. */
export interface Fit {
  pooling: NativePooling;
  threshold: number;
  /** The bound that it was held to: of the interval's upper end. */
  max_false_hits: number;
  /** Pairs that the threshold was fitted on. */
  fitted: { pairs: number; hits: number; false_hits: number };
  /** Pairs that it was measured on. Of the hits, the false ones; of the pairs that mean the same, those that are hits. */
  held_out: { pairs: number; same: number; hits: number; false_hits: number; false_hit_rate: Share; found: Share };
}

/** A text that leads to an answer, and its vector of length 1. */
export interface Near {
  /** Of the answer's request. */
  key: Uint8Array;
  text: string;
  vector: Float32Array;
}

const decisive = ({ model: _, ...rest }: Maker) => rest;
const fitPrefix = "similarity:";
const fitKey = (maker: Maker) => Buffer.from(`${fitPrefix}${sha256(canonical(decisive(maker))).toString("hex", 0, 8)}`);
const digestOf = (text: string) => sha256(Buffer.from(text)).toString("hex", 0, 16);

/** Keeps a fit for who made the vectors; one before it gives way. */
export function keepFit(store: Store, maker: Maker, fit: Fit): void {
  const text = JSON.stringify({ maker, fit });
  store.write(() => store.tables.meta.putSync(fitKey(maker), Buffer.from(`${digestOf(text)}${text}`)));
}

/** The fit of who makes vectors; null where there is none. Throws "input" for a damaged one. */
export function fitOf(store: Store, maker: Maker): Fit | null {
  const bytes = store.tables.read(() => store.tables.meta.get(fitKey(maker)));
  return bytes ? unpackFit(store, bytes).fit : null;
}

function unpackFit(store: Store, bytes: Buffer): { maker: Maker; fit: Fit } {
  const [digest, text] = [bytes.toString("utf8", 0, 32), bytes.toString("utf8", 32)];
  if (digestOf(text) === digest) return JSON.parse(text) as { maker: Maker; fit: Fit };
  throw new StillroomError("input", `${store.folder}: the fit of its similarity is not what was written; fit it again`);
}

/** All fits of a store, with the names of their models. */
export function fitsOf(store: Store): (Fit & { model: string })[] {
  const { tables } = store;
  const rows = tables.read(() => [
    ...tables.meta.getRange({ start: Buffer.from(fitPrefix), end: Buffer.from(`${fitPrefix}~`) }),
  ]);
  return rows.map(({ value }) => {
    const { maker, fit } = unpackFit(store, value);
    return { model: maker.model, ...fit };
  });
}

const spaceBytes = 8;
const headBytes = spaceBytes + 4;

/** Where vectors may be compared: those of one maker and pooling, of length 1. */
export function spaceOf(maker: Maker, pooling: NativePooling): Buffer {
  return sha256(canonical(["stillroom space", 1, decisive(maker), pooling, "l2"])).subarray(0, spaceBytes);
}

function aliasOf(store: Store, space: Buffer, text: string): Buffer {
  const hash = sha256(Buffer.concat([space, Buffer.from(text, "utf16le")]));
  return Buffer.concat([store.namespace, Buffer.of(nearKind), hash]);
}

/** Keeps texts by their vectors, as one transaction; those whose answer is gone are left out. */
export function keepNear(store: Store, space: Buffer, entries: readonly Near[]): void {
  store.write(() => {
    for (const { key, text, vector } of entries) {
      const alias = aliasOf(store, space, text);
      const width = Buffer.alloc(4);
      width.writeUInt32LE(vector.length);
      const body = Buffer.concat([space, width, vectorBytes(vector), Buffer.from(text, "utf16le"), Buffer.alloc(4)]);
      body.writeUInt32LE(checksum(alias, body, body.length - 4), body.length - 4);
      writeNear(store.tables, alias, Buffer.concat([store.namespace, key]), body);
    }
  });
}

/** Whether a text leads to the request's answer by its vector. */
export const leadsNear = (store: Store, space: Buffer, key: Uint8Array, text: string): boolean =>
  store.leadsBy(aliasOf(store, space, text), key);

/** What stands in the table of vectors; null where it is not what was written. */
export function unpackNear(alias: Buffer, bytes: Buffer): { space: Buffer; vector: Float32Array; text: string } | null {
  const end = bytes.length - 4;
  if (end < headBytes || checksum(alias, bytes, end) !== bytes.readUInt32LE(end)) return null;
  const middle = headBytes + 4 * bytes.readUInt32LE(spaceBytes);
  if (middle > end) return null;
  return {
    space: bytes.subarray(0, spaceBytes),
    vector: vectorOf(bytes.subarray(headBytes, middle)),
    text: bytes.toString("utf16le", middle, end),
  };
}

/** A known text that is near to a vector, and its answer. */
interface NearText {
  text: string;
  /** The cosine. */
  similarity: number;
  answer: StoredAnswer;
}

/** A text by its place among the vectors. */
interface NearRow {
  alias: Buffer;
  text: string;
}

/** Vectors that are looked for in one go through all that are known. */
const together = 16;

/** All vectors of a space and namespace in memory, one behind the other; read again when the store has others. */
export class NearIndex {
  #rows: readonly NearRow[] = [];
  /** (rows, width) Never written to again: a scan may be under way. */
  #vectors = new Float32Array(0);
  #seen = -1;

  constructor(
    readonly store: Store,
    readonly space: Buffer,
    readonly width: number,
  ) {}

  /** Texts. */
  get size(): number {
    this.#refresh();
    return this.#rows.length;
  }

  /**
   * For each vector the nearest text whose answer is known; null for none, and where none is as near as the threshold. All vectors are looked through, in f32 and off
   * the JavaScript thread; what that finds is multiplied again in f64, so that its rounding decides nothing.
   */
  async find(asked: readonly (Float32Array | null)[], threshold: number): Promise<(NearText | null)[]> {
    this.#refresh();
    const [rows, vectors, { width }] = [this.#rows, this.#vectors, this];
    const found: (NearText | null)[] = asked.map(() => null);
    const given = [...asked.entries()].filter((one): one is [number, Float32Array] => one[1] !== null);
    for (let at = 0; at < given.length; at += together) {
      const now = given.slice(at, at + together);
      const packed = new Float32Array(now.length * width);
      for (const [one, [, vector]] of now.entries()) packed.set(vector, one * width);
      const pairs = await native().nearRows(width, vectors, packed, threshold - roundingOf(width));
      const near = now.map((): { row: number; similarity: number }[] => []);
      for (let pair = 0; pair < pairs.length; pair += 2) {
        const [one, row] = [pairs[pair]!, pairs[pair + 1]!];
        const similarity = innerProduct(now[one]![1], vectors, row * width);
        if (similarity >= threshold) near[one]!.push({ row, similarity });
      }
      for (const [one, [place]] of now.entries()) found[place] = this.#firstKnown(rows, near[one]!);
    }
    return found;
  }

  #firstKnown(rows: readonly NearRow[], near: { row: number; similarity: number }[]): NearText | null {
    for (const { row, similarity } of near.sort((a, b) => b.similarity - a.similarity)) {
      const { alias, text } = rows[row]!;
      const answer = this.store.at(alias);
      if (answer) return { text, similarity, answer };
    }
    return null;
  }

  #refresh(): void {
    const { tables } = this.store;
    const now = tables.count(tables.vectors);
    if (now === this.#seen) return;
    const start = Buffer.concat([this.store.namespace, Buffer.of(nearKind)]);
    const end = Buffer.concat([this.store.namespace, Buffer.of(nearKind + 1)]);
    const rows: NearRow[] = [];
    // Room for those of other spaces and namespaces too: pages that are not written to are none.
    const vectors = new Float32Array(now * this.width);
    for (const { key, value } of tables.vectors.getRange({ start, end, limit: now })) {
      const alias = Buffer.from(key);
      const one = unpackNear(alias, value);
      if (!one?.space.equals(this.space) || one.vector.length !== this.width) continue;
      vectors.set(one.vector, rows.length * this.width);
      rows.push({ alias, text: one.text });
    }
    [this.#rows, this.#vectors, this.#seen] = [rows, vectors.subarray(0, rows.length * this.width), now];
  }
}

/** How far an inner product of two vectors of length 1 in f32 may lie from the exact one, in any order of its sums (docs/numerics.md). */
const roundingOf = (width: number): number => 2 * width * 2 ** -24;

/** Of a vector and the one that begins at a place, in f64. */
export function innerProduct(vector: Float32Array, others: Float32Array, from = 0): number {
  let sum = 0;
  for (let at = 0; at < vector.length; at++) sum += vector[at]! * others[from + at]!;
  return sum;
}
