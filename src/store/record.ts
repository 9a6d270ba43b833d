// An answer as the bytes that the store keeps, with a checksum over them and their key. Trusts no byte that it reads.
import { sha256 } from "./key.js";

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
  logProbabilities: TokenChoice[] | null;
}

/** As decode's TokenLogProbability, with those most likely in its place. */
interface TokenChoice {
  token: number;
  logProbability: number;
  mostLikely: { token: number; logProbability: number }[];
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
export const checksumBytes = 8;

/** The first bytes of SHA-256 over the parts, one behind the other. */
export function checksum(...parts: Uint8Array[]): Buffer {
  return sha256(Buffer.concat(parts)).subarray(0, checksumBytes);
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
  checksum(key, bytes.subarray(0, -checksumBytes)).copy(bytes, bytes.length - checksumBytes);
  return bytes;
}

/** The record, or null where it is not what was written under this key. */
export function unpackRecord(key: Uint8Array, bytes: Buffer): StoredRecord | null {
  const header = unpackHeader(bytes);
  if (header === null) return null;
  const content = bytes.subarray(0, -checksumBytes);
  if (!checksum(key, content).equals(bytes.subarray(-checksumBytes))) return null;
  return { ...header, answer: JSON.parse(content.toString("utf8", headerBytes)) as Answer };
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
  return Buffer.concat([key, checksum(alias, key)]);
}

export function unpackAlias(alias: Uint8Array, bytes: Buffer): Buffer | null {
  if (bytes.length <= checksumBytes) return null;
  const key = bytes.subarray(0, -checksumBytes);
  return checksum(alias, key).equals(bytes.subarray(-checksumBytes)) ? key : null;
}
