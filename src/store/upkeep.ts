// Looking after a store: what is in it, whether it is what was written, and what may go. Goes through the tables page by page.
import { setImmediate } from "node:timers/promises";
import { throwIfCancelled } from "../support/cancelled.js";
import { unexpected } from "../support/errors.js";
import { requireKnown } from "../task/index.js";
import type { Table } from "./environment.js";
import type { Maker } from "./key.js";
import { type Fit, fitsOf, unpackNear } from "./near.js";
import { readAlias, unpackHeader, unpackRecord } from "./record.js";
import { requireMaxBytes, type Store } from "./store.js";
import { keyBytes, namespaceKey, namespaceOf, orderOf, removeRecord, sequenceOf } from "./tables.js";

/** The fields of `stillroom store stats --json`. */
export interface StoreStats {
  store: string;
  answers: number;
  /** What leads to them: texts, exact and evened out, and prompts that are laid out. */
  aliases: number;
  /** Texts of these that lead to them by their vectors. */
  vectors: number;
  /** What was fitted for look-ups by similarity. */
  similarity: (Fit & { model: string })[];
  /** Answers whose time is over, but which were not removed yet. */
  expired: number;
  /** Of the pages in use, and of the file, which keeps free pages for later. */
  used_bytes: number;
  file_bytes: number;
  /** ISO 8601; null in an empty store. */
  oldest: string | null;
  newest: string | null;
  /** Answers by namespace. */
  namespaces: Record<string, number>;
  /** What made them, most first. */
  made_by: (Maker & { answers: number })[];
}

/** The fields of `stillroom store verify --json`. */
export interface StoreVerification {
  store: string;
  answers: number;
  aliases: number;
  /** Texts of these that lead to answers by their vectors. */
  vectors: number;
  /** Answers, aliases and vectors that are not what was written: look-ups treat them as unknown, `store prune` removes them. */
  damaged: number;
  /** The first 100. */
  bad: { table: string; key: string; reason: string }[];
}

/** What is removed beside answers that have expired and what is damaged. */
export interface PruneOptions {
  /** Answers written so many seconds ago or more. */
  olderThan?: number | undefined;
  /** All answers of this namespace. */
  namespace?: string | undefined;
  /** The answers written first, until the store fits. */
  maxBytes?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** The fields of `stillroom store prune --json`. */
export interface PruneResult {
  store: string;
  /** Answers, altogether. */
  removed: number;
  /** Of these. */
  expired: number;
  /** Of these, and aliases that led nowhere or were damaged. */
  damaged: number;
  answers: number;
  used_bytes: number;
  file_bytes: number;
}

const pageRows = 1000;
/** Damaged rows and bad lines that are named, of those that are counted. */
export const badShown = 100;

/** The rows of a table in the order of their keys, some at a time, with the event loop in between; what is removed meanwhile is left out. */
export async function* pagesOf(
  table: Table,
  signal: AbortSignal | undefined,
  doing: string,
): AsyncGenerator<{ key: Buffer; value: Buffer }[]> {
  for (let start: Buffer | undefined; ; ) {
    throwIfCancelled(signal, doing);
    const from = start === undefined ? {} : { start, exclusiveStart: true };
    const rows = [...table.getRange({ ...from, limit: pageRows })].map(({ key, value }) => ({
      key: Buffer.from(key),
      value,
    }));
    if (rows.length === 0) return;
    yield rows;
    start = rows.at(-1)!.key;
    await setImmediate();
  }
}

/**
 * What a store holds. Reads the head of every record.
 *
 * @example
 * ```ts
 * import { openStore, storeStats } from "stillroom";
 * const store = await openStore("answers", { readOnly: true });
 * const { answers, used_bytes, namespaces } = await storeStats(store);
 * console.log(answers, used_bytes, namespaces);
 * await store.close();
 * ```
 */
export async function storeStats(store: Store, { signal }: { signal?: AbortSignal } = {}): Promise<StoreStats> {
  const { tables } = store;
  const [namespaces, makers] = [new Map<string, number>(), new Map<string, number>()];
  let [oldest, newest, expired] = [Number.POSITIVE_INFINITY, 0, 0];
  for await (const rows of pagesOf(tables.answers, signal, "counting")) {
    for (const { key, value } of rows) {
      const header = unpackHeader(value);
      if (header === null) continue;
      add(namespaces, key.toString("hex", 0, keyBytes - 32));
      add(makers, header.maker);
      if (header.expires !== 0 && header.expires <= Date.now()) expired++;
      oldest = Math.min(oldest, header.written);
      newest = Math.max(newest, header.written);
    }
  }
  const { used, file } = tables.size();
  const named = [...namespaces].map(([id, count]): [string, number] => {
    const name = tables.meta.get(namespaceKey(Buffer.from(id, "hex")));
    return [name?.toString() ?? id, count];
  });
  const by = [...makers].sort(([, a], [, b]) => b - a);
  return {
    store: store.folder,
    answers: tables.count(tables.answers),
    aliases: tables.count(tables.aliases),
    vectors: tables.count(tables.vectors),
    similarity: fitsOf(store),
    expired,
    used_bytes: used,
    file_bytes: file,
    oldest: newest === 0 ? null : new Date(oldest).toISOString(),
    newest: newest === 0 ? null : new Date(newest).toISOString(),
    namespaces: Object.fromEntries(named.sort(([a], [b]) => (a < b ? -1 : 1))),
    made_by: by.map(([id, answers]) => ({ ...store.maker(id), answers })),
  };
}

function add(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

/**
 * Reads everything that a store holds and compares it with its checksums.
 *
 * @example
 * ```ts
 * import { openStore, verifyStore } from "stillroom";
 * const store = await openStore("answers", { readOnly: true });
 * const { damaged, bad } = await verifyStore(store);
 * if (damaged > 0) console.error(bad);
 * await store.close();
 * ```
 */
export async function verifyStore(store: Store, { signal }: { signal?: AbortSignal } = {}): Promise<StoreVerification> {
  const { tables } = store;
  const result: StoreVerification = { store: store.folder, answers: 0, aliases: 0, vectors: 0, damaged: 0, bad: [] };
  const report = (table: string, key: Buffer, reason: string | null) => {
    if (reason === null) return;
    if (result.damaged++ < badShown) result.bad.push({ table, key: key.toString("hex"), reason });
  };
  for await (const rows of pagesOf(tables.answers, signal, "verifying")) {
    result.answers += rows.length;
    for (const { key, value } of rows) report("answers", key, answerFault(store, key, value));
  }
  for await (const rows of pagesOf(tables.aliases, signal, "verifying")) {
    result.aliases += rows.length;
    for (const { key, value } of rows) report("aliases", key, aliasFault(store, key, value));
  }
  for await (const rows of pagesOf(tables.vectors, signal, "verifying")) {
    result.vectors += rows.length;
    for (const { key, value } of rows) report("vectors", key, vectorFault(store, key, value));
  }
  return result;
}

function answerFault(store: Store, key: Buffer, value: Buffer): string | null {
  const record = key.length === keyBytes ? unpackRecord(key, value) : null;
  if (record === null) return "is not what was written";
  if (orderOf(store.tables, record.sequence, key) === null) return "has no place in the order of writing";
  try {
    store.maker(record.maker);
    return null;
  } catch {
    return "is of an unknown maker";
  }
}

/** A text that leads somewhere by its vector has an alias; one without is found by nobody. */
function vectorFault({ tables }: Store, key: Buffer, value: Buffer): string | null {
  if (unpackNear(key, value) === null) return "is not what was written";
  return tables.aliases.doesExist(key) ? null : "is of no alias";
}

function aliasFault({ tables }: Store, key: Buffer, value: Buffer): string | null {
  const to = Buffer.alloc(keyBytes);
  if (!readAlias(key, value, to)) return "is not what was written";
  return tables.answers.doesExist(to) ? null : "leads to no answer";
}

/**
 * Removes answers that have expired, what is damaged, and what is asked for. The file keeps the room for later answers; `backupStore` makes one without it.
 *
 * @example
 * ```ts
 * import { openStore, pruneStore } from "stillroom";
 * const store = await openStore("answers");
 * console.log((await pruneStore(store, { olderThan: 30 * 86400 })).removed);
 * await store.close();
 * ```
 */
export async function pruneStore(store: Store, options: PruneOptions = {}): Promise<PruneResult> {
  requireKnown(options, ["olderThan", "namespace", "maxBytes", "signal"], "pruneStore");
  const { olderThan, maxBytes, signal } = options;
  if (olderThan !== undefined && !(Number.isFinite(olderThan) && olderThan >= 0))
    throw unexpected("a number of seconds", "olderThan", olderThan);
  requireMaxBytes(maxBytes);
  const { tables } = store;
  const namespace = options.namespace === undefined ? null : namespaceOf(options.namespace);
  const now = Date.now();
  const counts = { removed: 0, expired: 0, damaged: 0 };
  const unwanted = (key: Buffer, value: Buffer): boolean => {
    const header = unpackHeader(value);
    if (header === null || answerFault(store, key, value) !== null) counts.damaged++;
    else if (header.expires !== 0 && header.expires <= now) counts.expired++;
    else if (namespace?.equals(key.subarray(0, namespace.length))) return true;
    else return olderThan !== undefined && header.written <= now - 1000 * olderThan;
    return true;
  };
  for await (const rows of pagesOf(tables.answers, signal, "pruning")) {
    const going = rows.filter(({ key, value }) => unwanted(key, value));
    counts.removed += going.length;
    store.write(() => {
      for (const { key, value } of going) removeRecord(tables, unpackHeader(value)?.sequence ?? null, key);
    });
  }
  for await (const rows of pagesOf(tables.aliases, signal, "pruning")) {
    const going = rows.filter(({ key, value }) => aliasFault(store, key, value) !== null);
    counts.damaged += going.length;
    store.write(() => {
      for (const { key } of going) tables.aliases.removeSync(key);
    });
  }
  for await (const rows of pagesOf(tables.vectors, signal, "pruning")) {
    const going = rows.filter(({ key, value }) => vectorFault(store, key, value) !== null);
    counts.damaged += going.length;
    store.write(() => {
      for (const { key } of going) {
        tables.vectors.removeSync(key);
        tables.aliases.removeSync(key);
      }
    });
  }
  for await (const rows of pagesOf(tables.order, signal, "pruning")) {
    const going = rows.filter(({ key, value }) => {
      const record = tables.answers.get(value.subarray(0, keyBytes));
      return !record || unpackHeader(record)?.sequence !== sequenceOf(key);
    });
    store.write(() => {
      for (const { key } of going) tables.order.removeSync(key);
    });
  }
  if (maxBytes !== undefined) counts.removed += store.evict(maxBytes);
  const { used, file } = tables.size();
  return { store: store.folder, ...counts, answers: tables.count(tables.answers), used_bytes: used, file_bytes: file };
}
