// Equality of two requests: everything that can change an answer, in one canonical encoding, and its SHA-256. Knows no text and no disk.
import crypto from "node:crypto";
import type { Calibration } from "../adapter/index.js";
import type { NativeDecodeRequest, NativePooling } from "../support/native.js";

/** What answers. */
export interface Maker {
  /** The model's name as people know it; no part of the key. */
  model: string;
  /** SHA-256 of the model's file. */
  weights: string;
  /** Of an adapter its values, wherever they lie, and what they are multiplied by; null without one. */
  adapter: { sha256: string; scale: number | null } | null;
  /** The program and its version, and which of its engines: "stillroom 0.1.0". */
  engine: string;
  /** What the products round to, and which kernels compute them: both change last bits, and so a close choice. */
  precision: string;
  variant: string;
}

/** An answer in words is asked for, of the decoder. */
export interface TextRequest extends Omit<NativeDecodeRequest, "pieces"> {
  kind: "text";
}

/** Probabilities of a closed set of labels are asked for. */
export interface LabelsRequest {
  kind: "labels";
  prompt: Int32Array;
  labels: readonly { text: string; tokens: Int32Array }[];
  /** For each label the probability by which its own is divided; undefined: none is. */
  prior?: readonly number[] | undefined;
  /** For each label the number that it stands for, where the answer is what is expected of them; undefined: the answer is a label. */
  values?: readonly number[] | undefined;
  /** What is made of the answer before it is given; undefined: nothing. */
  calibration?: Calibration | undefined;
}

/** The vector of a text is asked for. */
export interface EmbeddingRequest {
  kind: "embedding";
  prompt: Int32Array;
  pooling: NativePooling;
  /** To L2 norm 1. */
  normalisation: "l2";
}

export type Request = TextRequest | LabelsRequest | EmbeddingRequest;

/** A request whose prompt is laid out but no tokens yet: the text stands for them, and limits that depend on their number may be left open. */
export type LaidRequest = { laid: string } & (
  | (Omit<TextRequest, "prompt" | "maxTokens"> & { maxTokens: number | null })
  | Omit<LabelsRequest, "prompt">
);

/** Raised when the encoding below changes: keys of another version are other keys. */
const version = 1;

/** The key of a request to a maker: 32 bytes, equal exactly where nothing that can change the answer differs. */
export function requestKey(maker: Maker, request: Request): Uint8Array {
  return requestKeys(maker)(request);
}

/**
 * requestKey for the many requests of a job: its maker as it is now is encoded once, and so are labels that the requests share, which do not change. A request
 * that is laid out only has a key of its own; its maker must name what makes the tokens.
 */
export function requestKeys(maker: Maker): (request: Request | LaidRequest) => Uint8Array {
  const { model: _, ...decisive } = maker;
  const front = Buffer.concat([tagged("a", 4), ...["stillroom request", version, decisive].map(canonical)]);
  const encoded = new WeakMap<object, Buffer>();
  return (request) => {
    if (request.kind === "labels") {
      for (const part of [request.labels, request.calibration])
        if (part && !encoded.has(part)) encoded.set(part, canonical(part));
    }
    const pieces = [front];
    append(pieces, essential(request), encoded);
    return sha256(Buffer.concat(pieces));
  };
}

/** A request without what cannot change its answer. */
function essential(request: Request | LaidRequest): Record<string, unknown> {
  if (request.kind !== "text") return { ...request };
  const { topK, topP, minP, seed, repetitionWindow, repetitionPenalty, stop, temperature, ...rest } = request;
  // The most likely token is drawn from no candidates, and a penalty of 1 or over no tokens is none. The first of several stop texts ends the answer.
  const drawn = temperature === 0 ? null : { temperature, topK, topP, minP, seed };
  const penalised = repetitionPenalty !== 1 && repetitionWindow > 0;
  const penalty = penalised ? { repetitionPenalty, repetitionWindow } : null;
  return { ...rest, stop: [...new Set(stop)].sort(), drawn, penalty };
}

/** A key as text, for a map. */
export const keyText = (key: Uint8Array): string => Buffer.from(key).toString("hex");

export const hashBytes = 32;

type InOneCall = (name: string, data: string | Uint8Array, as: "buffer" | "base64") => Buffer | string;
/** Newer versions of Node have it in one call, which takes half the time; a text comes out in a third of a buffer's. */
const inOneCall = (crypto as { hash?: InOneCall }).hash;

export function sha256(bytes: Uint8Array): Buffer {
  return inOneCall
    ? (inOneCall("sha256", bytes, "buffer") as Buffer)
    : crypto.createHash("sha256").update(bytes).digest();
}

/** SHA-256 of a text's UTF-8, or of bytes, in base64. */
export function sha256Text(data: string | Uint8Array): string {
  return inOneCall
    ? (inOneCall("sha256", data, "base64") as string)
    : crypto.createHash("sha256").update(data).digest("base64");
}

/**
 * Bytes that are equal exactly where two values are: a tag and, where the length varies, a u32 count before each value; numbers are f64, texts
 * UTF-16 (so that no two texts become one), tokens i32, fields sorted by name; all little-endian. A missing field and one that is undefined are the same.
 */
export function canonical(value: unknown): Buffer {
  const pieces: Buffer[] = [];
  append(pieces, value);
  return Buffer.concat(pieces);
}

/** @param encoded - what stands for values that were encoded before */
function append(pieces: Buffer[], value: unknown, encoded?: WeakMap<object, Buffer>): void {
  const before = typeof value === "object" && value !== null ? encoded?.get(value) : undefined;
  if (before !== undefined) pieces.push(before);
  else if (value === null) pieces.push(Buffer.from("n"));
  else if (typeof value === "boolean") pieces.push(Buffer.from(value ? "t" : "f"));
  else if (typeof value === "number") pieces.push(Buffer.from("d"), float64(value));
  else if (typeof value === "string") {
    const bytes = Buffer.from(value, "utf16le");
    pieces.push(tagged("s", bytes.length), bytes);
  } else if (value instanceof Int32Array) {
    pieces.push(tagged("i", value.length), Buffer.from(value.buffer, value.byteOffset, value.byteLength));
  } else if (Array.isArray(value)) {
    pieces.push(tagged("a", value.length));
    for (const item of value) append(pieces, item, encoded);
  } else {
    const fields = Object.entries(value as object).filter(([, field]) => field !== undefined);
    pieces.push(tagged("o", fields.length));
    for (const [name, field] of fields.sort(([a], [b]) => (a < b ? -1 : 1))) {
      append(pieces, name);
      append(pieces, field, encoded);
    }
  }
}

function tagged(tag: string, count: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes.write(tag, "latin1");
  bytes.writeUInt32LE(count, 1);
  return bytes;
}

/** -0 and 0 are the same number. */
function float64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value === 0 ? 0 : value);
  return bytes;
}
