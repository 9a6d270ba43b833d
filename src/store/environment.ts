// LMDB as the store uses it: one folder, six tables of bytes, transactions that are durable or an error. Knows no answer.
import { closeSync, fstatSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import type { Database, RootDatabase } from "lmdb";
import { reasonOf, StillroomError } from "../support/errors.js";

/** A table from bytes to bytes. */
export type Table = Database<Buffer, Uint8Array>;

/** docs/formats.md has what stands in each. */
const tableNames = ["answers", "aliases", "makers", "order", "meta", "vectors"] as const;

/** Reader processes at one time. */
const maxReaders = 1024;
const dataFile = "data.mdb";
const lockFile = "lock.mdb";

interface TableStats {
  pageSize: number;
  treeBranchPageCount: number;
  treeLeafPageCount: number;
  overflowPages: number;
  entryCount: number;
}

export class Environment {
  readonly answers: Table;
  readonly aliases: Table;
  readonly makers: Table;
  readonly order: Table;
  readonly meta: Table;
  readonly vectors: Table;
  #root: RootDatabase<Buffer, Uint8Array> | null;

  private constructor(
    readonly folder: string,
    root: RootDatabase<Buffer, Uint8Array>,
  ) {
    this.#root = root;
    const [answers, aliases, makers, order, meta, vectors] = tableNames.map((name) => {
      const table: Table | undefined = root.openDB({ name, encoding: "binary", keyEncoding: "binary" });
      if (table) return table;
      throw new StillroomError("input", `${folder} is no store of stillroom: it has no table ${name}`);
    });
    [this.answers, this.aliases, this.makers] = [answers!, aliases!, makers!];
    [this.order, this.meta, this.vectors] = [order!, meta!, vectors!];
  }

  /** For a reader there is a store. Throws "input" for one that is damaged as a whole, "usage" for a folder of other things. */
  static async open(folder: string, readOnly: boolean): Promise<Environment> {
    if (Environment.isThere(folder)) requireWhole(path.join(folder, dataFile));
    else requireEmpty(folder);
    // Loaded here, so that a program that opens no store does not wait for it.
    const { open } = await import("lmdb");
    // A folder's name may have a dot in it, which LMDB's binding takes for a file's. Without overlapping syncs a transaction is on the disk when its call returns, and a full disk is that call's error.
    const options = { encoding: "binary", keyEncoding: "binary", overlappingSync: false, noSubdir: false } as const;
    const root = guarded(folder, "open", () =>
      open<Buffer, Uint8Array>({ path: folder, ...options, readOnly, maxDbs: tableNames.length, maxReaders }),
    );
    try {
      return guarded(folder, "open", () => new Environment(folder, root));
    } catch (error) {
      await root.close();
      throw error;
    }
  }

  /** Runs the writes as one transaction; when it returns they are on the disk, when it throws none of them happened. */
  write<T>(work: () => T): T {
    const root = this.#requireOpen();
    return guarded(this.folder, "write", () => {
      try {
        return root.transactionSync(work);
      } finally {
        // Whoever reads next sees it, and no old page is held.
        root.resetReadTxn();
      }
    });
  }

  /** The value of a key where it lies, until the next call: for who reads often. */
  peek(table: Table, key: Uint8Array): Buffer | undefined {
    if (this.#root === null) this.#requireOpen();
    return table.getBinaryFast(key);
  }

  read<T>(work: () => T): T {
    this.#requireOpen();
    return guarded(this.folder, "read", work);
  }

  /** Bytes of the pages in use, and of the file, which keeps the pages that were given free for later. */
  size(): { used: number; file: number } {
    const tables = [this.answers, this.aliases, this.makers, this.order, this.meta, this.vectors];
    const used = tables.reduce((sum, table) => {
      const { pageSize, treeBranchPageCount, treeLeafPageCount, overflowPages } = table.getStats() as TableStats;
      return sum + pageSize * (treeBranchPageCount + treeLeafPageCount + overflowPages);
    }, 0);
    return { used, file: statSync(path.join(this.folder, dataFile)).size };
  }

  count(table: Table): number {
    return (table.getStats() as TableStats).entryCount;
  }

  /** Clears what processes that are gone have left in the table of readers, where it would hold old pages for ever. */
  clearReaders(): number {
    return this.#requireOpen().readerCheck();
  }

  /** A copy as of now, without the free pages, whatever is written meanwhile. */
  async copyTo(folder: string): Promise<void> {
    await this.#requireOpen()
      .backup(folder, true)
      .catch((error: Error) => {
        throw new StillroomError("io", `cannot write the copy ${folder}: ${error.message}`, { cause: error });
      });
  }

  /** Whether there is a store in a folder. Throws "io" for one that may not be looked into. */
  static isThere(folder: string): boolean {
    try {
      return statSync(path.join(folder, dataFile), { throwIfNoEntry: false }) !== undefined;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return false;
      const why = reasonOf(error, path.join(folder, dataFile));
      throw new StillroomError("io", `cannot look for a store in ${folder}: ${why}`, { cause: error });
    }
  }

  /** Closes it and removes its files. */
  async remove(): Promise<void> {
    await this.close();
    for (const name of [dataFile, lockFile]) await rm(path.join(this.folder, name), { force: true });
  }

  async close(): Promise<void> {
    const root = this.#root;
    this.#root = null;
    await root?.close();
  }

  #requireOpen(): RootDatabase<Buffer, Uint8Array> {
    if (this.#root) return this.#root;
    throw new StillroomError("usage", `the store ${this.folder} is closed`);
  }
}

/** Locks may lie in a folder that becomes a store, and nothing else. */
function requireEmpty(folder: string): void {
  const others = readdirSync(folder).filter((name) => !/^lock([-.].*)?$/.test(name));
  if (others.length > 0)
    throw new StillroomError(
      "usage",
      `${folder} is no store, and not empty: it holds ${others[0]}; choose another folder for the store`,
    );
}

const magic = 0xbeefc0de;
/** Of a page before its content. */
const pageHeader = 24;

/**
 * LMDB reads through a memory map and checks little: a file of something else, or one without its last pages, would end the process. So the two first
 * pages, of which the newer one counts, are looked at before. Throws "input".
 */
function requireWhole(file: string): void {
  const handle = openSync(file, "r");
  try {
    const first = Buffer.alloc(2 ** 17);
    const bytes = readSync(handle, first, 0, first.length, 0);
    const pageSize = first.readUInt32LE(pageHeader + 24);
    const heads = [0, pageSize].map((at) => {
      if (at + 512 > bytes || first.readUInt32LE(at + pageHeader) !== magic)
        throw new StillroomError("input", `${file} is no store of stillroom, or a damaged one`);
      return {
        lastPage: first.readBigUInt64LE(at + pageHeader + 120),
        transaction: first.readBigUInt64LE(at + pageHeader + 128),
      };
    });
    const { lastPage } = heads[0]!.transaction > heads[1]!.transaction ? heads[0]! : heads[1]!;
    const [is, should] = [fstatSync(handle).size, (Number(lastPage) + 1) * pageSize];
    if (is < should) throw new StillroomError("input", `${file} is cut off: it has ${is} bytes of ${should}`);
  } finally {
    closeSync(handle);
  }
}

/** LMDB's codes for a file that is none of its own. */
const damaged = [-30793, -30794, -30796, -30797];

function guarded<T>(folder: string, doing: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof StillroomError) throw error;
    const { code, message } = error as { code?: unknown; message: string };
    if (damaged.includes(code as number))
      throw new StillroomError("input", `${folder} is no store of stillroom, or a damaged one: ${message}`, {
        cause: error,
      });
    // LMDB tells a short write, which is what a full disk gives, as EIO.
    const full = doing === "write" && (code === 5 || code === 28) ? "; is the disk full?" : "";
    throw new StillroomError("io", `cannot ${doing} the store ${folder}: ${message}${full}`, { cause: error });
  }
}
