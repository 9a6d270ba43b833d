// Texts that lead to answers by their vectors: aliases of a kind of their own, found by a scan of all of them, and the fit without which none is used.
// Knows no model.
import { StillroomError } from "../support/errors.js";
import type { NativePooling } from "../support/native.js";
import { checksum } from "./checksum.js";
import { canonical, type Maker, sha256 } from "./key.js";
import { vectorBytes, vectorOf } from "./record.js";
import type { Store } from "./store.js";
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

/** All vectors of a space and namespace in memory, one behind the other; read again when the store has others. */
export class NearIndex {
  #rows: { alias: Buffer; text: string }[] = [];
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

  /** The nearest text whose answer is known, and that answer; null where none is as near as the threshold. */
  find(vector: Float32Array, threshold: number) {
    this.#refresh();
    const near: { row: number; similarity: number }[] = [];
    for (let row = 0; row < this.#rows.length; row++) {
      const similarity = product(this.#vectors, row * this.width, vector);
      if (similarity >= threshold) near.push({ row, similarity });
    }
    for (const { row, similarity } of near.sort((a, b) => b.similarity - a.similarity)) {
      const { alias, text } = this.#rows[row]!;
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
    const found: Float32Array[] = [];
    this.#rows = [];
    for (const { key, value } of tables.vectors.getRange({ start, end })) {
      const alias = Buffer.from(key);
      const one = unpackNear(alias, value);
      if (!one?.space.equals(this.space) || one.vector.length !== this.width) continue;
      this.#rows.push({ alias, text: one.text });
      found.push(one.vector);
    }
    this.#vectors = new Float32Array(found.length * this.width);
    for (const [row, vector] of found.entries()) this.#vectors.set(vector, row * this.width);
    this.#seen = now;
  }
}

/** The inner product of a vector and that at a place among others: in four sums, which the processor adds side by side. */
function product(all: Float32Array, from: number, vector: Float32Array): number {
  const { length } = vector;
  let [a, b, c, d] = [0, 0, 0, 0];
  let at = 0;
  for (; at + 3 < length; at += 4) {
    a += all[from + at]! * vector[at]!;
    b += all[from + at + 1]! * vector[at + 1]!;
    c += all[from + at + 2]! * vector[at + 2]!;
    d += all[from + at + 3]! * vector[at + 3]!;
  }
  for (; at < length; at++) a += all[from + at]! * vector[at]!;
  return a + b + (c + d);
}
