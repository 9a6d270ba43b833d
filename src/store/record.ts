// An answer as the bytes that the store keeps, with a checksum over them and their key. Trusts no byte that it reads.
import type { DecodedRow } from "../decode/index.js";
import { checksum } from "./checksum.js";

/** What was answered. */
export interface Answer {
  /** The text as the model gave it; of labels, the most likely one. */
  text: string;
  /** Of a closed set of labels: label → probability. */
  probabilities: Record<string, number> | null;
  /** Of a number, where one was fitted: its ends. */
  interval?: readonly [number, number] | undefined;
  /** As of a decoded row; "label" for the choice of one, "embedding" for a vector. "length" says that the text was cut at the request's own limit. */
  ended: "end" | "stop" | "length" | "grammar" | "label" | "embedding";
  promptTokens: number;
  answerTokens: number;
  /** For each token of the answer, where the request asked for it. */
  logProbabilities: DecodedRow["logProbabilities"];
  /** Where a vector was asked for; then the text is empty. */
  embedding?: Float32Array | undefined;
}

/** What stands beside an answer. Times in milliseconds since 1970. */
export interface RecordHeader {
  /** Key of the maker, hexadecimal. */
  maker: string;
  written: number;
  /** 0: never. */
  expires: number;
  /** Its place in the order of writing. */
  sequence: number;
}

export interface StoredRecord extends RecordHeader {
  answer: Answer;
}

const version = 1;
export const makerBytes = 8;
const endings: readonly Answer["ended"][] = ["end", "stop", "length", "grammar", "label", "embedding"];
/** Beside the ending: the text's UTF-16 is broken, and stands as it is. */
const broken = 0x80;
/** Beside the ending: an interval stands behind the labels. */
const between = 0x40;
const intervalBytes = 16;

// Where the fields of a record stand (docs/formats.md).
const at = { ended: 1, maker: 2, written: 10, expires: 18, sequence: 26, tokens: 34, text: 42, labels: 46 } as const;
const headerBytes = 50;
const checksumBytes = 4;

/** The record's bytes: a header of `at`, the parts as docs/formats.md has them, and the checksum over key and all of it. */
export function packRecord(key: Uint8Array, record: StoredRecord): Buffer {
  const { text, probabilities, interval, ended, promptTokens, answerTokens, logProbabilities, embedding } =
    record.answer;
  const whole = text.isWellFormed();
  const labels = probabilities === null ? "" : JSON.stringify(Object.keys(probabilities));
  const values = Float64Array.from(Object.values(probabilities ?? {}));
  const parts = [
    Buffer.from(text, whole ? "utf8" : "utf16le"),
    Buffer.from(labels),
    Buffer.from(values.buffer),
    interval
      ? Buffer.from(Float64Array.from(interval).buffer)
      : embedding
        ? vectorBytes(embedding)
        : Buffer.from(logProbabilities === null ? "" : JSON.stringify(logProbabilities)),
  ];
  const bytes = Buffer.concat([Buffer.alloc(headerBytes), ...parts, Buffer.alloc(checksumBytes)]);
  bytes[0] = version;
  bytes[at.ended] = endings.indexOf(ended) | (whole ? 0 : broken) | (interval ? between : 0);
  bytes.write(record.maker, at.maker, makerBytes, "hex");
  bytes.writeDoubleLE(record.written, at.written);
  bytes.writeDoubleLE(record.expires, at.expires);
  bytes.writeDoubleLE(record.sequence, at.sequence);
  bytes.writeUInt32LE(promptTokens, at.tokens);
  bytes.writeUInt32LE(answerTokens, at.tokens + 4);
  bytes.writeUInt32LE(parts[0]!.length, at.text);
  bytes.writeUInt32LE(parts[1]!.length, at.labels);
  const end = bytes.length - checksumBytes;
  bytes.writeUInt32LE(checksum(key, bytes, end), end);
  return bytes;
}

/** The record, or null where it is not what was written under this key. Keeps none of the bytes. */
export function unpackRecord(key: Uint8Array, bytes: Buffer): StoredRecord | null {
  const header = unpackHeader(bytes);
  if (header === null) return null;
  const view = viewOf(bytes);
  const end = bytes.length - checksumBytes;
  if (checksum(key, bytes, end) !== view.getUint32(end, true)) return null;
  const ended = bytes[at.ended]!;
  const textEnd = headerBytes + view.getUint32(at.text, true);
  const labelsEnd = textEnd + view.getUint32(at.labels, true);
  const text = bytes.toString(ended & broken ? "utf16le" : "utf8", headerBytes, textEnd);
  const choice = labelsEnd === textEnd ? null : lastChoice.of(bytes, textEnd, labelsEnd);
  const rest = labelsEnd + (choice === null ? 0 : 8 * choice.labels.length);
  const answered = endings[ended & ~(broken | between)]!;
  const isVector = answered === "embedding";
  if (isVector && (end - rest) % 4 !== 0) return null;
  const hasInterval = (ended & between) !== 0;
  if (hasInterval && end - rest !== intervalBytes) return null;
  return {
    maker: header.maker,
    written: header.written,
    expires: header.expires,
    sequence: header.sequence,
    answer: {
      text,
      probabilities: choice === null ? null : probabilitiesOf(choice, view, labelsEnd),
      ended: answered,
      promptTokens: view.getUint32(at.tokens, true),
      answerTokens: view.getUint32(at.tokens + 4, true),
      logProbabilities:
        rest === end || isVector || hasInterval
          ? null
          : (JSON.parse(bytes.toString("utf8", rest, end)) as Answer["logProbabilities"]),
      ...(isVector && { embedding: vectorOf(bytes.subarray(rest, end)) }),
      ...(hasInterval && { interval: [view.getFloat64(rest, true), view.getFloat64(rest + 8, true)] as const }),
    },
  };
}

/** A vector's numbers as f32, little-endian, where they lie. */
export const vectorBytes = ({ buffer, byteOffset, byteLength }: Float32Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

/** And back, into memory of its own. */
export function vectorOf({ buffer, byteOffset, length }: Buffer): Float32Array {
  return new Float32Array(buffer.slice(byteOffset, byteOffset + length) as ArrayBuffer);
}

/** What a record says as all its neighbours say it is not read again: of the last one, its bytes and what they mean. */
class Last<T> {
  #bytes = Buffer.alloc(0);
  #value: T | null = null;

  constructor(readonly read: (bytes: Buffer) => T) {}

  of(bytes: Buffer, from: number, to: number): T {
    const known = this.#bytes;
    let same = this.#value !== null && known.length === to - from;
    for (let place = 0; same && place < known.length; place++) same = known[place] === bytes[from + place];
    if (!same) {
      this.#bytes = Buffer.from(bytes.subarray(from, to));
      this.#value = this.read(this.#bytes);
    }
    return this.#value!;
  }
}

/** Labels, and an object that has a field for each: one that is assigned to never is the object's prototype. */
interface Choice {
  labels: readonly string[];
  shape: Record<string, number>;
}

const lastMaker = new Last((bytes) => bytes.toString("hex"));
const lastChoice = new Last((bytes): Choice => {
  const labels = JSON.parse(bytes.toString()) as string[];
  return { labels, shape: Object.fromEntries(labels.map((label) => [label, 0])) };
});

function probabilitiesOf({ labels, shape }: Choice, view: DataView, from: number): Record<string, number> {
  const probabilities = { ...shape };
  for (let place = 0; place < labels.length; place++)
    probabilities[labels[place]!] = view.getFloat64(from + 8 * place, true);
  return probabilities;
}

let lastView: DataView = new DataView(new ArrayBuffer(0));

/** A view of bytes: of those that LMDB reads into, the same again and again. Numbers come out of it ten times as fast as out of a Buffer. */
function viewOf(bytes: Buffer): DataView {
  const { buffer, byteOffset } = bytes;
  if (lastView.buffer !== buffer || lastView.byteOffset !== byteOffset) lastView = new DataView(buffer, byteOffset);
  return lastView;
}

/** An answer as other databases keep it for the stores of many machines: a record of no maker (the key knows it) and no time. */
export function packAnswer(key: Uint8Array, answer: Answer): Buffer {
  return packRecord(key, { maker: "00".repeat(makerBytes), written: 0, expires: 0, sequence: 0, answer });
}

export function unpackAnswer(key: Uint8Array, bytes: Buffer): Answer | null {
  return unpackRecord(key, bytes)?.answer ?? null;
}

/** What stands before the answer, unchecked; null where there are too few bytes, or another version's. */
export function unpackHeader(bytes: Buffer): RecordHeader | null {
  if (bytes.length < headerBytes + checksumBytes || bytes[0] !== version) return null;
  const view = viewOf(bytes);
  return {
    maker: lastMaker.of(bytes, at.maker, at.maker + makerBytes),
    written: view.getFloat64(at.written, true),
    expires: view.getFloat64(at.expires, true),
    sequence: view.getFloat64(at.sequence, true),
  };
}

/** An alias's value: the key that it leads to, and the checksum over both. */
export function packAlias(alias: Uint8Array, key: Uint8Array): Buffer {
  const bytes = Buffer.alloc(key.length + checksumBytes);
  bytes.set(key);
  bytes.writeUInt32LE(checksum(alias, key, key.length), key.length);
  return bytes;
}

/** The key that an alias leads to, into room for it; false where it is not what was written. */
export function readAlias(alias: Uint8Array, bytes: Buffer, key: Uint8Array): boolean {
  const end = key.length;
  if (bytes.length !== end + checksumBytes || checksum(alias, bytes, end) !== viewOf(bytes).getUint32(end, true))
    return false;
  for (let place = 0; place < end; place++) key[place] = bytes[place]!;
  return true;
}
