// The store: answers by the key of their request and by the texts that ask for them. One process writes, any number read. Owns the tables' meaning;
// upkeep.ts prunes and checks them, transfer.ts carries them elsewhere.
import { rmdir } from "node:fs/promises";
import { StillroomError, unexpected } from "../support/errors.js";
import { makeFolder } from "../support/files.js";
import { type FolderLock, lockFolder } from "../support/lock.js";
import { requireKnown } from "../task/index.js";
import {
  aliasOf,
  aliasRoom,
  laidAlias,
  type Normalisation,
  normalisations,
  requireNormalisations,
  writeAlias,
} from "./alias.js";
import { Environment } from "./environment.js";
import { type Maker, sha256 } from "./key.js";
import { type Answer, makerBytes, readAlias, type StoredRecord, unpackRecord } from "./record.js";
import {
  type Kept,
  keyBytes,
  makerId,
  nameNamespace,
  namespaceOf,
  removeFirst,
  sequenceOf,
  writeRecord,
} from "./tables.js";

/** How a store is opened. */
export interface OpenStoreOptions {
  /** Look up only: needs no lock, so that any number of processes may do it beside the one that writes (default false). */
  readOnly?: boolean | undefined;
  /** Whether a store is begun where there is none (default true; never with readOnly). */
  begin?: boolean | undefined;
  /** Answers of one namespace never meet those of another (default "default"). */
  namespace?: string | undefined;
  /** Largest size of the store's file, 16 MiB or more: the answers written first give way (default: none). */
  maxBytes?: number | undefined;
  /** Seconds after which answers that are written now are gone (default: never). */
  lifetime?: number | undefined;
  /** What is evened out in a text where it is not known exactly (default: all of it; none: exact texts only). */
  normalise?: readonly Normalisation[] | undefined;
}

/** An answer and what gave it. */
export interface StoredAnswer extends Answer {
  made_by: Maker;
}

/** An answer by the key of its request. */
export interface Found {
  key: Uint8Array;
  known: StoredAnswer;
}

/** What a text leads to, in the fields of `stillroom lookup`. */
export interface Lookup {
  key: string;
  hit: boolean;
  /** White space at its ends left out; null without a hit. */
  answer: string | null;
  made_by: Maker | null;
  /** Label → probability, for a choice among labels. */
  probabilities: Record<string, number> | null;
  /** Of a number, where one was fitted: its ends. */
  interval?: readonly [number, number];
  /** How the answer ended; "length": it was cut off at the request's limit. */
  ended: Answer["ended"] | null;
}

/** What a look-up tells of an answer. */
export function told({ text, probabilities, interval, ended }: Answer, made_by: Maker) {
  return { answer: text.trim(), made_by, probabilities, ...(interval && { interval }), ended };
}

/** An answer to be kept. */
export interface Entry {
  /** Of requestKey. */
  key: Uint8Array;
  answer: Answer;
  maker: Maker;
  /** Texts that ask for it. */
  texts?: readonly string[];
  /** Of requestKeys, for the request before its prompt was tokens. */
  laid?: readonly Uint8Array[];
}

/** Reads of this opened store. */
export interface StoreCounts {
  hits: number;
  misses: number;
  /** Records and aliases that were not what was written: misses as well. */
  damaged: number;
  /** Misses as well. */
  expired: number;
}

const optionNames = ["readOnly", "begin", "namespace", "maxBytes", "lifetime", "normalise"];
const leastBytes = 16 * 2 ** 20;
/** Written pages that are not given free yet, and those of the write under way, need room beside the pages in use. */
const usedShare = 0.8;
const format = { format: "stillroom-store", version: 1 };

export class Store {
  readonly counts: StoreCounts = { hits: 0, misses: 0, damaged: 0, expired: 0 };
  readonly folder: string;
  readonly #tables: Environment;
  readonly #namespace: Buffer;
  readonly #lock: FolderLock | null;
  /** Folders that were made for it, the uppermost first; null where the store was there before. */
  readonly #begun: readonly string[] | null;
  readonly #lifetime: number;
  readonly #maxBytes: number;
  readonly #kinds: readonly (readonly Normalisation[])[];
  readonly #makers = new Map<string, Maker>();
  /** Room for the keys of one read: a look-up makes nothing that has to be cleared away. */
  readonly #alias: Buffer;
  readonly #key = Buffer.alloc(keyBytes);
  #sequence: number;
  #closing: Promise<void> | null = null;

  /** @internal openStore makes stores. */
  constructor(
    tables: Environment,
    lock: FolderLock | null,
    options: OpenStoreOptions,
    begun: readonly string[] | null,
  ) {
    this.folder = tables.folder;
    this.#tables = tables;
    this.#lock = lock;
    this.#begun = begun;
    this.#namespace = namespaceOf(options.namespace);
    this.#lifetime = (options.lifetime ?? 0) * 1000;
    this.#maxBytes = options.maxBytes ?? Number.POSITIVE_INFINITY;
    this.#alias = aliasRoom(this.#namespace);
    const even = options.normalise ?? normalisations;
    this.#kinds = even.length === 0 ? [[]] : [[], even];
    this.#sequence = 1 + [...tables.order.getKeys({ reverse: true, limit: 1 })].reduce((_, key) => sequenceOf(key), 0);
  }

  /** @internal For the other files of this room. Throws "usage" after close. */
  get tables(): Environment {
    if (this.#closing) throw new StillroomError("usage", `the store ${this.folder} is closed`);
    return this.#tables;
  }

  /**
   * What is known for a text: as it is, else with what openStore's `normalise` evens out. Takes microseconds, loads no model, and gives only what was
   * written under that text and has not expired.
   */
  lookup(text: string): Lookup {
    const found = this.#byText(text);
    this.#count(found);
    if (typeof found === "string")
      return { key: text, hit: false, answer: null, made_by: null, probabilities: null, ended: null };
    return { key: text, hit: true, ...told(found.answer, this.maker(found.maker)) };
  }

  /** @internal The answer to a request, by its key. */
  get(key: Uint8Array): StoredAnswer | null {
    this.#key.set(this.#namespace);
    this.#key.set(key, this.#namespace.length);
    const found = this.tables.read(this.#read);
    this.#count(found);
    if (typeof found === "string") return null;
    return { ...found.answer, made_by: this.maker(found.maker) };
  }

  /** @internal The answer to a request that is laid out, by its key, and the key of the request. A miss is not counted: the request itself is asked for then. */
  laid(key: Uint8Array): Found | null {
    const found = this.tables.read(() => (this.#target(laidAlias(key, this.#namespace)) ? this.#read() : null));
    if (found === null || typeof found === "string") return null;
    this.counts.hits++;
    const known = { ...found.answer, made_by: this.maker(found.maker) };
    return { key: Buffer.from(this.#key.subarray(this.#namespace.length)), known };
  }

  /** @internal The same without what gave it. */
  answer(key: Uint8Array): Answer | null {
    const found = this.get(key);
    if (found === null) return null;
    const { made_by: _, ...answer } = found;
    return answer;
  }

  /** @internal Whether these texts lead to the request's answer; evened out they may lead to another's whose text comes to the same. */
  leads(key: Uint8Array, texts: readonly string[]): boolean {
    const to = this.#own(key);
    return texts.every((text) =>
      this.#kinds.every((names) => {
        if (!writeAlias(this.#alias, text, names)) return true;
        const target = this.#target(this.#alias);
        return target !== null && (names.length > 0 || target.equals(to));
      }),
    );
  }

  /** @internal Whether an alias does. */
  leadsBy(alias: Buffer, key: Uint8Array): boolean {
    return this.#target(alias)?.equals(this.#own(key)) === true;
  }

  /** @internal The answer that an alias leads to. */
  at(alias: Buffer): StoredAnswer | null {
    const found = this.tables.read(() => (this.#target(alias) === null ? "unknown" : this.#read()));
    return typeof found === "string" ? null : { ...found.answer, made_by: this.maker(found.maker) };
  }

  /** @internal What stands before all keys of its namespace. */
  get namespace(): Buffer {
    return this.#namespace;
  }

  /** @internal Keeps answers: when it is done they are on the disk, whatever happens to the process or the machine. */
  async put(entries: readonly Entry[]): Promise<void> {
    const written = Date.now();
    const expires = this.#lifetime === 0 ? 0 : written + this.#lifetime;
    await this.keep(
      entries.map(({ key, answer, maker, texts = [], laid = [] }) => {
        this.#makers.set(makerId(maker).toString("hex"), maker);
        const aliases = [...this.#aliases(texts), ...laid.map((one) => laidAlias(one, this.#namespace))];
        return { key: this.#own(key), record: { answer, written, expires }, maker, aliases };
      }),
    );
  }

  /** @internal put() of what has its times and its aliases already. */
  async keep(entries: readonly Kept[]): Promise<void> {
    const tables = this.#writable();
    const most = piece(this.#maxBytes);
    for (let at = 0; at < entries.length; at += most) {
      tables.write(() => {
        for (const entry of entries.slice(at, at + most)) writeRecord(tables, entry, this.#sequence++);
      });
      this.evict(this.#maxBytes);
    }
  }

  /** @internal The answers written first give way, some at a time, until the file has room for what comes. Gives their number. */
  evict(maxBytes: number): number {
    const tables = this.#writable();
    for (let removed = 0; ; ) {
      if (tables.size().used <= usedShare * maxBytes) return removed;
      const now = tables.write(() => removeFirst(tables, piece(maxBytes)));
      if (now === 0) return removed;
      removed += now;
    }
  }

  /** @internal Writes as one transaction. */
  write(work: () => void): void {
    this.#writable().write(work);
    this.evict(this.#maxBytes);
  }

  #writable(): Environment {
    if (this.#lock !== null) return this.tables;
    throw new StillroomError("usage", `the store ${this.folder} was opened for reading only`);
  }

  /** @internal What made the answers of an id, hexadecimal. */
  maker(name: string): Maker {
    let maker = this.#makers.get(name);
    if (maker === undefined) {
      const id = Buffer.from(name, "hex");
      const bytes = this.#tables.makers.get(id);
      if (!bytes || !sha256(bytes).subarray(0, makerBytes).equals(id)) {
        throw new StillroomError(
          "input",
          `${this.folder} is damaged: what made an answer is not known; run: stillroom store verify`,
        );
      }
      maker = JSON.parse(bytes.toString()) as Maker;
      this.#makers.set(name, maker);
    }
    return maker;
  }

  /** Waits for nothing but the files; any further call gives the same promise. */
  close(): Promise<void> {
    this.#closing ??= this.#tables.close().finally(() => this.#lock?.release());
    return this.#closing;
  }

  /** @internal close() after work that failed: a store that was begun for it, and that holds nothing, is gone then, and so are the folders that were made for it. */
  async abandon(): Promise<void> {
    if (this.#closing || this.#begun === null || !isEmpty(this.#tables)) return this.close();
    this.#closing = this.#tables.remove().finally(() => this.#lock?.release());
    await this.#closing;
    // A folder that another has put something into meanwhile stays.
    for (const made of [...this.#begun].reverse()) await rmdir(made).catch(() => undefined);
  }

  #own(key: Uint8Array): Buffer {
    return Buffer.concat([this.#namespace, key]);
  }

  #count(found: unknown): void {
    if (typeof found !== "string") this.counts.hits++;
    else {
      this.counts.misses++;
      if (found === "damaged" || found === "expired") this.counts[found]++;
    }
  }

  #byText(text: string): StoredRecord | Miss {
    if (typeof text !== "string") throw unexpected("a text", "key", text);
    const { tables } = this;
    return tables.read(() => {
      let miss: Miss = "unknown";
      for (const names of this.#kinds) {
        if (!writeAlias(this.#alias, text, names)) continue;
        const bytes = tables.peek(tables.aliases, this.#alias);
        if (!bytes) continue;
        const found = readAlias(this.#alias, bytes, this.#key) ? this.#read() : "damaged";
        if (typeof found !== "string") return found;
        // Another alias may still lead there.
        if (found === "damaged") this.counts.damaged++;
        else miss = found;
      }
      return miss;
    });
  }

  /** The record whose key stands in #key. */
  readonly #read = (): StoredRecord | Miss => {
    const bytes = this.#tables.peek(this.#tables.answers, this.#key);
    if (!bytes) return "unknown";
    const record = unpackRecord(this.#key, bytes);
    if (record === null) return "damaged";
    return record.expires !== 0 && record.expires <= Date.now() ? "expired" : record;
  };

  /** Of texts, exactly and evened out, the first before the second. */
  *#aliases(texts: readonly string[]): Generator<Buffer> {
    for (const text of texts) {
      for (const names of this.#kinds) {
        const alias = aliasOf(text, names, this.#namespace);
        if (alias !== null) yield alias;
      }
    }
  }

  #target(alias: Buffer): Buffer | null {
    const bytes = this.#tables.peek(this.#tables.aliases, alias);
    return bytes && readAlias(alias, bytes, this.#key) ? this.#key : null;
  }
}

type Miss = "unknown" | "damaged" | "expired";

/** Answers of one transaction: each touches a page or two in every table, and the pages of two transactions must find room. */
function piece(maxBytes: number): number {
  return Math.max(16, Math.min(4096, Math.floor(maxBytes / 2 ** 19)));
}

/**
 * Opens the folder of a store, or begins one. The process that writes holds it until `close`.
 *
 * @throws StillroomError "usage" for a wrong option, or at once where another process writes, naming it; "missing" with `readOnly` or without `begin` where there is no store;
 * "input" for a damaged one, "io" for the disk
 *
 * @example
 * ```ts
 * import { openStore } from "stillroom";
 * const store = await openStore("answers", { readOnly: true });
 * const { hit, answer, made_by } = store.lookup("Is a plum a drupe?");
 * console.log(hit ? `${answer} (${made_by?.model})` : "not known");
 * await store.close();
 * ```
 */
export async function openStore(folder: string, options: OpenStoreOptions = {}): Promise<Store> {
  checkOptions(folder, options);
  if ((options.readOnly || options.begin === false) && !Environment.isThere(folder))
    throw new StillroomError("missing", `there is no store in ${folder}`);
  if (options.readOnly) {
    const tables = await Environment.open(folder, true);
    return opened(tables, null, options, null);
  }
  const made = await makeFolder(folder);
  const lock = await lockFolder(folder);
  try {
    const begun = Environment.isThere(folder) ? null : made;
    const tables = await Environment.open(folder, false);
    return await opened(tables, lock, options, begun);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function opened(
  tables: Environment,
  lock: FolderLock | null,
  options: OpenStoreOptions,
  begun: readonly string[] | null,
): Promise<Store> {
  try {
    requireFormat(tables, lock !== null);
    if (lock) {
      tables.clearReaders();
      nameNamespace(tables, options.namespace ?? "default");
    }
    return new Store(tables, lock, options, begun);
  } catch (error) {
    await tables.close();
    throw error;
  }
}

function checkOptions(folder: string, options: OpenStoreOptions): void {
  requireKnown(options, optionNames, "openStore");
  if (typeof folder !== "string" || folder === "") throw unexpected("a folder", "store", folder);
  const { namespace, maxBytes, lifetime, normalise } = options;
  if (namespace !== undefined && (typeof namespace !== "string" || namespace === "" || namespace.length > 200))
    throw unexpected("a text of up to 200 characters", "namespace", namespace);
  requireMaxBytes(maxBytes);
  if (lifetime !== undefined && !(Number.isFinite(lifetime) && lifetime > 0))
    throw unexpected("a number of seconds above 0", "lifetime", lifetime);
  if (normalise !== undefined) requireNormalisations(normalise);
}

/** Throws "usage" for a size that no store can keep to. */
export function requireMaxBytes(maxBytes: number | undefined): void {
  if (maxBytes !== undefined && !(Number.isSafeInteger(maxBytes) && maxBytes >= leastBytes))
    throw unexpected(`a whole number of at least ${leastBytes}`, "maxBytes", maxBytes);
}

const formatKey = Buffer.from("format");
/** Of the tables' meta in every store: its format and a namespace. */
const leastMeta = 2;

const isEmpty = (tables: Environment): boolean =>
  tables.count(tables.answers) === 0 && tables.count(tables.meta) <= leastMeta;

function requireFormat(tables: Environment, writing: boolean): void {
  const found = tables.read(() => tables.meta.get(formatKey));
  if (found) {
    if (found.equals(Buffer.from(JSON.stringify(format)))) return;
    throw new StillroomError(
      "input",
      `${tables.folder} is a store of another version: ${found.toString("utf8", 0, 80)}`,
    );
  }
  if (!writing) throw new StillroomError("input", `${tables.folder} is no store of stillroom`);
  tables.write(() => tables.meta.putSync(formatKey, Buffer.from(JSON.stringify(format))));
}
