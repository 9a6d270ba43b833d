// An answer as the bytes that the store keeps, with a checksum over them and their key. Trusts no byte that it reads.
import type { DecodedRow } from "../decode/index.js";
import { checksum } from "./checksum.js";

/** What was answered. */
export interface Answer {
  /** The text as the model gave it; of labels, the most likely one. */
  text: string;
  /** Of a closed set of labels: label → probability. */
  probabilities: Record<string, number> | null;
  /** As of a decoded row; "label" for the choice of one. "length" says that the text was cut at the request's own limit. */
  ended: "end" | "stop" | "length" | "grammar" | "label";
  promptTokens: number;
  answerTokens: number;
  /** For each token of the answer, where the request asked for it. */
  logProbabilities: DecodedRow["logProbabilities"];
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
const endings: readonly Answer["ended"][] = ["end", "stop", "length", "grammar", "label"];
/** Beside the ending: the text's UTF-16 is broken, and stands as it is. */
const broken = 0x80;

// Where the fields of a record stand (docs/formats.md).
const at = { ended: 1, maker: 2, written: 10, expires: 18, sequence: 26, tokens: 34, text: 42, labels: 46 } as const;
const headerBytes = 50;
const checksumBytes = 4;

/** The record's bytes, in the order of `at`; then text, labels as JSON, their probabilities (f64), log-probabilities as JSON; the checksum over key and all of it. */
export function packRecord(key: Uint8Array, record: StoredRecord): Buffer {
  const { text, probabilities, ended, promptTokens, answerTokens, logProbabilities } = record.answer;
  const whole = text.isWellFormed();
  const labels = probabilities === null ? "" : JSON.stringify(Object.keys(probabilities));
  const values = Float64Array.from(Object.values(probabilities ?? {}));
  const parts = [
    Buffer.from(text, whole ? "utf8" : "utf16le"),
    Buffer.from(labels),
    Buffer.from(values.buffer),
    Buffer.from(logProbabilities === null ? "" : JSON.stringify(logProbabilities)),
  ];
  const bytes = Buffer.concat([Buffer.alloc(headerBytes), ...parts, Buffer.alloc(checksumBytes)]);
  bytes[0] = version;
  bytes[at.ended] = endings.indexOf(ended) | (whole ? 0 : broken);
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
  const end = bytes.length - checksumBytes;
  if (checksum(key, bytes, end) !== bytes.readUInt32LE(end)) return null;
  const ended = bytes[at.ended]!;
  const textEnd = headerBytes + bytes.readUInt32LE(at.text);
  const labelsEnd = textEnd + bytes.readUInt32LE(at.labels);
  const text = bytes.toString(ended & broken ? "utf16le" : "utf8", headerBytes, textEnd);
  const choice = labelsEnd === textEnd ? null : choiceOf(bytes.toString("utf8", textEnd, labelsEnd));
  const rest = labelsEnd + 8 * (choice?.labels.length ?? 0);
  const answer: Answer = {
    text,
    probabilities: choice && probabilitiesOf(choice, bytes, labelsEnd),
    ended: endings[ended & ~broken]!,
    promptTokens: bytes.readUInt32LE(at.tokens),
    answerTokens: bytes.readUInt32LE(at.tokens + 4),
    logProbabilities:
      rest === end ? null : (JSON.parse(bytes.toString("utf8", rest, end)) as Answer["logProbabilities"]),
  };
  return { ...header, answer };
}

/** Labels, and an object that has a field for each: one that is assigned to never is the object's prototype. */
interface Choice {
  labels: readonly string[];
  shape: Record<string, number>;
}

/** The labels of a task are the same in all of its records: those that were read last are not read again. */
let last: { json: string; choice: Choice } = { json: "[]", choice: { labels: [], shape: {} } };

function choiceOf(json: string): Choice {
  if (json !== last.json) {
    const labels = JSON.parse(json) as string[];
    last = { json, choice: { labels, shape: Object.fromEntries(labels.map((label) => [label, 0])) } };
  }
  return last.choice;
}

function probabilitiesOf({ labels, shape }: Choice, bytes: Buffer, from: number): Record<string, number> {
  const probabilities = { ...shape };
  for (let place = 0; place < labels.length; place++)
    probabilities[labels[place]!] = bytes.readDoubleLE(from + 8 * place);
  return probabilities;
}

/** What stands before the answer, unchecked; null where there are too few bytes, or another version's. */
export function unpackHeader(bytes: Buffer): RecordHeader | null {
  if (bytes.length < headerBytes + checksumBytes || bytes[0] !== version) return null;
  return {
    maker: bytes.toString("hex", at.maker, at.maker + makerBytes),
    written: bytes.readDoubleLE(at.written),
    expires: bytes.readDoubleLE(at.expires),
    sequence: bytes.readDoubleLE(at.sequence),
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
  if (bytes.length !== end + checksumBytes || checksum(alias, bytes, end) !== bytes.readUInt32LE(end)) return false;
  for (let place = 0; place < end; place++) key[place] = bytes[place]!;
  return true;
}
