// The layout of a teacher's cache: where each row's record lies in rows.bin, and what cache.json says. Knows no file and no model.
import { createHash } from "node:crypto";
import type { NativeTail, NativeTaught } from "../support/native.js";

/** What decides the content of a cache. */
export interface TeachingFacts {
  /** SHA-256 of the teacher's file. */
  teacher: string;
  /** Of the adapter: SHA-256 of its tensors and options, or of its file; null without one. */
  adapter: string | null;
  /** SHA-256 over the texts of all tokens. */
  tokenizer: string;
  /** SHA-256 of what lays the rows out: the task's prompt and answers, and the chat template where it is used. */
  template: string;
  /** SHA-256 over the tokens of the task's rows. */
  rows: string;
  /** Over those of texts of no task; null without any. */
  texts: string | null;
  top_k: number;
  /** What is kept of the other tokens. */
  tail: NativeTail;
  temperature: number;
  precision: string;
  /** Who ran the teacher: "stillroom" or "llama.cpp". */
  engine: string;
  /** Values of a hidden state of the teacher. */
  hidden_width: number;
}

/** cache.json. */
export interface CacheManifest extends Omit<TeachingFacts, "hidden_width"> {
  format: "stillroom-teacher-cache";
  version: 2;
  /** How many rows, and positions of all of them. */
  row_count: number;
  positions: number;
  /** Where hidden states are kept. */
  hidden_width?: number;
}

/** Rows of a block: what a killed process may have to compute again. */
export const blockRows = 128;
const hashBytes = 32;
/** An entry that says nothing. */
export const noEntry = 0xffffffff;
/** Of an entry, those of −ln p, in so many steps a nat; the token stands above them (native/core/taught.h). */
const codeBits = 14;
const codeSteps = 512;

/** Where everything lies. */
export class CacheLayout {
  /** (rows + 1) Positions before each row. */
  readonly #before: Float64Array;
  readonly #key: Buffer;

  constructor(
    readonly manifest: CacheManifest,
    positions: readonly number[],
  ) {
    this.#before = new Float64Array(positions.length + 1);
    for (const [row, count] of positions.entries()) this.#before[row + 1] = this.#before[row]! + count;
    this.#key = createHash("sha256").update(JSON.stringify(manifest)).digest();
  }

  get rows(): number {
    return this.#before.length - 1;
  }

  get blocks(): number {
    return Math.ceil(this.rows / blockRows);
  }

  /** Bytes of a position: its entries, the tail, and the hidden state where it is kept. */
  get stride(): number {
    const { top_k, hidden_width = 0 } = this.manifest;
    return 4 * (top_k + 1) + 2 * hidden_width;
  }

  positionsOf(row: number): number {
    return this.#before[row + 1]! - this.#before[row]!;
  }

  /** Rows of a block: the first, and one past the last. */
  rowsOf(block: number): [number, number] {
    return [block * blockRows, Math.min(this.rows, (block + 1) * blockRows)];
  }

  /** Where a block begins; of the number of blocks, the size of the file. */
  offsetOf(block: number): number {
    return this.#before[Math.min(this.rows, block * blockRows)]! * this.stride + block * hashBytes;
  }

  /** Where a row's record lies. */
  place(row: number): { offset: number; bytes: number } {
    const block = Math.floor(row / blockRows);
    return {
      offset: this.#before[row]! * this.stride + block * hashBytes,
      bytes: this.positionsOf(row) * this.stride,
    };
  }

  /** A block as it lies in the file: its rows' records and their hash, which only this block of this cache has. */
  seal(block: number, records: Uint8Array): Buffer {
    return Buffer.concat([records, this.#hash(block, records)]);
  }

  /** Whether the bytes from a block's place on are that block. */
  isWhole(block: number, bytes: Uint8Array): boolean {
    const records = bytes.subarray(0, bytes.length - hashBytes);
    return this.#hash(block, records).equals(bytes.subarray(records.length));
  }

  #hash(block: number, records: Uint8Array): Buffer {
    return createHash("sha256").update(this.#key).update(Int32Array.of(block)).update(records).digest();
  }
}

/** What an entry says: a token, and the probability that it stands for, at least that of a draw. */
export function decodeEntry(entry: number, draw: number): { token: number; probability: number } {
  const own = Math.exp(-(entry & ((1 << codeBits) - 1)) / codeSteps);
  return { token: entry >>> codeBits, probability: Math.max(own, draw) };
}

/** The entry with its token by another number. */
export function renamedEntry(entry: number, token: number): number {
  return ((token << codeBits) | (entry & ((1 << codeBits) - 1))) >>> 0;
}

/** A row's record: the entries of its positions, then their tails, then their hidden states where there are any. */
export function encodeRecord({ topK, entries, tails, hidden }: NativeTaught, first: number, count: number): Buffer {
  const part = (array: Uint32Array | Float32Array | Uint16Array, each: number) => {
    const own = array.subarray(first * each, (first + count) * each);
    return Buffer.from(own.buffer, own.byteOffset, own.byteLength);
  };
  return Buffer.concat([part(entries, topK), part(tails, 1), ...(hidden ? [part(hidden.states, hidden.width)] : [])]);
}
