// What belongs together in the tables: a record with its aliases and its place in the order of writing is written and removed as one. Opens nothing.
import { aliasBytes } from "./alias.js";
import type { Environment } from "./environment.js";
import { type Maker, sha256 } from "./key.js";
import { makerBytes, packAlias, packRecord, type StoredRecord, unpackHeader } from "./record.js";

const namespaceBytes = 8;
/** Of an answer: its namespace and the request's key. */
export const keyBytes = namespaceBytes + 32;

/** An answer with all that is kept beside it. */
export interface Kept {
  /** With its namespace. */
  key: Buffer;
  record: Pick<StoredRecord, "answer" | "written" | "expires">;
  maker: Maker;
  /** With their namespace. */
  aliases: readonly Buffer[];
}

/** Namespaces go into keys by the first bytes of a hash, and their names stand in meta. */
export function namespaceOf(name = "default"): Buffer {
  return sha256(Buffer.from(name)).subarray(0, namespaceBytes);
}

export function nameNamespace(tables: Environment, name: string): void {
  const key = namespaceKey(namespaceOf(name));
  if (!tables.read(() => tables.meta.get(key))) tables.write(() => tables.meta.putSync(key, Buffer.from(name)));
}

export function namespaceKey(id: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from("namespace:"), id]);
}

export function makerId(maker: Maker): Buffer {
  return sha256(Buffer.from(JSON.stringify(maker))).subarray(0, makerBytes);
}

/** Writes a record with its aliases and its place in the order; what stood under its key gives way. Within a transaction. */
export function writeRecord(tables: Environment, { key, record, maker, aliases }: Kept, sequence: number): void {
  const id = makerId(maker);
  if (!tables.makers.doesExist(id)) tables.makers.putSync(id, Buffer.from(JSON.stringify(maker)));
  const before = tables.answers.get(key);
  const old = before ? unpackHeader(before) : null;
  const kept = old ? (orderOf(tables, old.sequence, key)?.aliases ?? []) : [];
  if (old) tables.order.removeSync(orderKey(old.sequence));
  const all = [...kept, ...aliases.filter((alias) => !kept.some((one) => one.equals(alias)))];
  for (const alias of aliases) tables.aliases.putSync(alias, packAlias(alias, key));
  tables.answers.putSync(key, packRecord(key, { ...record, maker: id.toString("hex"), sequence }));
  tables.order.putSync(orderKey(sequence), Buffer.concat([key, ...all]));
}

/** Of an alias, in the place of its normalisations: the text leads there by its vector, which stands in a table of its own. */
export const nearKind = 0x40;
export const isNear = (alias: Uint8Array): boolean => alias[namespaceBytes] === nearKind;

/** Lets a text lead to a record by its vector, unless the record is gone. Within a transaction. */
export function writeNear(tables: Environment, alias: Buffer, key: Buffer, vector: Buffer): void {
  const record = tables.answers.get(key);
  const sequence = record && unpackHeader(record)?.sequence;
  const place = sequence === undefined ? null : orderOf(tables, sequence, key);
  if (!place) return;
  tables.aliases.putSync(alias, packAlias(alias, key));
  tables.vectors.putSync(alias, vector);
  if (!place.aliases.some((one) => one.equals(alias)))
    tables.order.putSync(orderKey(sequence!), Buffer.concat([key, ...place.aliases, alias]));
}

/** Removes a record, the aliases that lead to it, and its place in the order. Within a transaction. */
export function removeRecord(tables: Environment, sequence: number | null, key: Buffer): void {
  const place = sequence === null ? null : orderOf(tables, sequence, key);
  for (const alias of place?.aliases ?? []) {
    const bytes = tables.aliases.get(alias);
    if (!bytes?.subarray(0, key.length).equals(key)) continue;
    tables.aliases.removeSync(alias);
    if (isNear(alias)) tables.vectors.removeSync(alias);
  }
  if (place) tables.order.removeSync(orderKey(sequence!));
  tables.answers.removeSync(key);
}

/** Removes so many of the records that were written first, and says how many there were. Within a transaction. */
export function removeFirst(tables: Environment, count: number): number {
  const first = [...tables.order.getRange({ limit: count })];
  for (const { key, value } of first) removeRecord(tables, sequenceOf(key), Buffer.from(value.subarray(0, keyBytes)));
  return first.length;
}

/** The order's entry of a record: whose it is, and the aliases that were made for it. */
export function orderOf(tables: Environment, sequence: number, key: Buffer): { aliases: Buffer[] } | null {
  const bytes = tables.order.get(orderKey(sequence));
  if (!bytes?.subarray(0, keyBytes).equals(key)) return null;
  const width = namespaceBytes + aliasBytes;
  const count = Math.floor((bytes.length - keyBytes) / width);
  return {
    aliases: Array.from({ length: count }, (_, at) =>
      bytes.subarray(keyBytes + at * width, keyBytes + (at + 1) * width),
    ),
  };
}

/** A damaged record may name any number: none that is no sequence is looked for. */
function orderKey(sequence: number): Buffer {
  const bytes = Buffer.alloc(8);
  if (Number.isSafeInteger(sequence) && sequence >= 0) bytes.writeBigUInt64BE(BigInt(sequence));
  return bytes;
}

export function sequenceOf(key: Uint8Array): number {
  return Number(Buffer.from(key).readBigUInt64BE());
}
