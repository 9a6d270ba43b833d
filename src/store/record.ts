// An answer as the bytes that the store keeps, with a checksum over them and their key. Trusts no byte that it reads.
import type { DecodedRow } from "../decode/index.js";

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
  /** Of the maker. */
  maker: Buffer;
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
const headerBytes = 1 + makerBytes + 3 * 8;
const checksumBytes = 4;

const table = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** CRC-32 (as of zlib) over a key and the bytes behind it, the first `length` of them. Against damage, not against forgery. */
export function checksum(key: Uint8Array, bytes: Uint8Array, length: number): number {
  let crc = -1;
  for (let at = 0; at < key.length; at++) crc = table[(crc ^ key[at]!) & 255]! ^ (crc >>> 8);
  for (let at = 0; at < length; at++) crc = table[(crc ^ bytes[at]!) & 255]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** u8 version, maker, f64 written, f64 expires, f64 sequence; the answer as JSON; the checksum over key and all of it. */
export function packRecord(key: Uint8Array, record: StoredRecord): Buffer {
  const answer = Buffer.from(JSON.stringify(record.answer));
  const bytes = Buffer.alloc(headerBytes + answer.length + checksumBytes);
  bytes[0] = version;
  bytes.set(record.maker, 1);
  const numbers = [record.written, record.expires, record.sequence];
  for (const [place, value] of numbers.entries()) bytes.writeDoubleLE(value, 1 + makerBytes + 8 * place);
  answer.copy(bytes, headerBytes);
  const end = bytes.length - checksumBytes;
  bytes.writeUInt32LE(checksum(key, bytes, end), end);
  return bytes;
}

/** The record, or null where it is not what was written under this key. */
export function unpackRecord(key: Uint8Array, bytes: Buffer): StoredRecord | null {
  const header = unpackHeader(bytes);
  if (header === null) return null;
  const end = bytes.length - checksumBytes;
  if (checksum(key, bytes, end) !== bytes.readUInt32LE(end)) return null;
  return { ...header, answer: JSON.parse(bytes.toString("utf8", headerBytes, end)) as Answer };
}

/** An answer as other databases keep it for the stores of many machines: a record of no maker (the key knows it) and no time. */
export function packAnswer(key: Uint8Array, answer: Answer): Buffer {
  return packRecord(key, { maker: Buffer.alloc(makerBytes), written: 0, expires: 0, sequence: 0, answer });
}

export function unpackAnswer(key: Uint8Array, bytes: Buffer): Answer | null {
  return unpackRecord(key, bytes)?.answer ?? null;
}

/** What stands before the answer, unchecked; null where there are too few bytes, or another version's. */
export function unpackHeader(bytes: Buffer): RecordHeader | null {
  if (bytes.length < headerBytes + checksumBytes || bytes[0] !== version) return null;
  const number = (place: number) => bytes.readDoubleLE(1 + makerBytes + 8 * place);
  const maker = bytes.subarray(1, 1 + makerBytes);
  return { maker, written: number(0), expires: number(1), sequence: number(2) };
}

/** An alias's value: the key that it leads to, and the checksum over both. */
export function packAlias(alias: Uint8Array, key: Uint8Array): Buffer {
  const bytes = Buffer.alloc(key.length + checksumBytes);
  bytes.set(key);
  bytes.writeUInt32LE(checksum(alias, key, key.length), key.length);
  return bytes;
}

export function unpackAlias(alias: Uint8Array, bytes: Buffer): Buffer | null {
  const end = bytes.length - checksumBytes;
  if (end <= 0 || checksum(alias, bytes, end) !== bytes.readUInt32LE(end)) return null;
  return bytes.subarray(0, end);
}
