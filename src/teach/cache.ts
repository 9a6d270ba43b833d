// A teacher's cache on disk: a folder of cache.json and rows.bin, filled block by block and read row by row. Knows no model.
import { closeSync, openSync, readSync } from "node:fs";
import { type FileHandle, open, readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { cannot, StillroomError } from "../support/errors.js";
import { makeFolder, writeFileAtomic } from "../support/files.js";
import { type FolderLock, lockFolder } from "../support/lock.js";
import type { NativeTaught } from "../support/native.js";
import { CacheLayout, type CacheManifest, encodeRecord, type TeachingFacts } from "./format.js";

/** Computes what the teacher says about rows [first, last): one record a row, in order. */
export type TeachRows = (first: number, last: number) => Promise<{ taught: NativeTaught; counts: readonly number[] }[]>;

/** A cache that one process fills or reads. */
export class TeacherCache {
  #reader: number | null = null;

  private constructor(
    readonly folder: string,
    readonly layout: CacheLayout,
    readonly lock: FolderLock,
    /** Blocks that are there and whole, from the first on. */
    public whole: number,
    /** What was found damaged, in words; null where nothing was. */
    readonly damage: string | null,
  ) {}

  /**
   * Opens a folder's cache for these rows, or begins one. What a killed process left half written is cut off; from a damaged block on everything is
   * taken as missing, and `damage` says so.
   * Throws "input" naming the fields in which a cache that is there differs, for one without hidden states where they are needed, and for a folder of something
   * else; "usage" when another process works in it.
   *
   * @param positions - of each row
   * @param hidden - whether the teacher's hidden states are needed; a cache that is there may keep them all the same
   * @param own - of a run's own cache, which nobody named: what helps where it is of something else; null for a folder that was named
   */
  static async open(
    folder: string,
    { hidden_width, ...facts }: TeachingFacts,
    positions: readonly number[],
    hidden: boolean,
    own: string | null = null,
  ): Promise<TeacherCache> {
    const absolute = path.resolve(folder);
    await makeFolder(absolute);
    const lock = await lockFolder(absolute);
    try {
      const plain: CacheManifest = {
        ...kind,
        ...facts,
        row_count: positions.length,
        positions: positions.reduce((sum, count) => sum + count, 0),
      };
      const manifest = await requireFit(absolute, plain, { ...plain, hidden_width }, hidden, own);
      const layout = new CacheLayout(manifest, positions);
      const { whole, damage } = await verify(absolute, layout);
      return new TeacherCache(absolute, layout, lock, whole, damage);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /**
   * Opens a cache that is there and whole, whichever teacher filled it. Throws "missing" without one; "input" naming the fields in which it differs from what is
   * expected of it, and for one that is not whole or damaged; "usage" when another process works in it, and where it has texts that are not given.
   *
   * @param rowsOf - hashes, and the positions of so many rows, texts included
   */
  static async openWhole(
    folder: string,
    expected: Pick<TeachingFacts, "tokenizer" | "template">,
    rowsOf: (count: number) => Pick<TeachingFacts, "rows" | "texts"> & { positions: readonly number[] },
  ): Promise<TeacherCache> {
    const absolute = path.resolve(folder);
    const file = path.join(absolute, manifestName);
    const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw cannot("read", file, error);
      throw new StillroomError("missing", `expected a teacher's cache in ${folder}, found no ${manifestName}`);
    });
    const found = parse(text, file) as CacheManifest;
    const { positions, ...hashes } = rowsOf(Number(found.row_count));
    if (typeof found.texts === "string" && hashes.texts === null) {
      const message = `the teacher's cache ${absolute} was made with texts beside the task's rows: expected their file for texts, received none`;
      throw new StillroomError("usage", message, { options: ["texts"] });
    }
    const total = positions.reduce((sum, count) => sum + count, 0);
    const manifest = { ...found, ...kind, ...expected, ...hashes, row_count: positions.length, positions: total };
    requireSame(absolute, found, manifest);
    const lock = await lockFolder(absolute);
    const layout = new CacheLayout(manifest, positions);
    const { whole, damage } = await verify(absolute, layout).catch(async (error) => {
      await lock.release();
      throw error;
    });
    const cache = new TeacherCache(absolute, layout, lock, whole, damage);
    if (cache.complete) return cache;
    await cache.close();
    const why = damage ?? `${absolute} is not whole: ${whole} of ${layout.blocks} blocks are there`;
    throw new StillroomError("input", `${why}; the command that made it goes on with it`);
  }

  get complete(): boolean {
    return this.whole === this.layout.blocks;
  }

  /** Whether it keeps the teacher's hidden states: what fills it is to give them. */
  get hidden(): boolean {
    return this.layout.manifest.hidden_width !== undefined;
  }

  /** Of all records, once it is complete. */
  get bytes(): number {
    return this.layout.offsetOf(this.layout.blocks);
  }

  /** Computes the blocks that are missing. After each, it is on the disk; yields the rows that are there. Throws "io". */
  async *fill(teach: TeachRows): AsyncGenerator<number, void> {
    if (this.complete) return;
    const { layout } = this;
    const file = path.join(this.folder, rowsName);
    const handle = await open(file, "r+")
      .catch(() => open(file, "w+"))
      .catch((error) => {
        throw cannot("write", file, error);
      });
    try {
      for (let block = this.whole; block < layout.blocks; block++) {
        const [first, last] = layout.rowsOf(block);
        const records = (await teach(first, last)).flatMap(({ taught, counts }) => {
          let at = 0;
          return counts.map((count) => {
            at += count;
            return encodeRecord(taught, at - count, count);
          });
        });
        await append(handle, file, layout.offsetOf(block), layout.seal(block, Buffer.concat(records)));
        this.whole = block + 1;
        yield last;
      }
    } finally {
      await handle.close();
    }
  }

  /** What the teacher said about rows, one after the other, its hidden states only where they are wanted and kept. The cache is complete. Throws "io". */
  read(rows: Int32Array, hidden = false): NativeTaught {
    const { layout, folder } = this;
    const { top_k: topK, tail, hidden_width: width = 0 } = layout.manifest;
    const positions = rows.reduce((sum, row) => sum + layout.positionsOf(row), 0);
    const taught = { topK, tail, entries: new Uint32Array(positions * topK), tails: new Float32Array(positions) };
    const states = hidden && width > 0 ? new Uint16Array(positions * width) : null;
    const file = path.join(folder, rowsName);
    let at = 0;
    try {
      this.#reader ??= openSync(file, "r");
      for (const row of rows) {
        const { offset, bytes: whole } = layout.place(row);
        const count = layout.positionsOf(row);
        const own = count * 4 * (topK + 1);
        const bytes = states ? whole : own;
        const record = new Uint8Array(bytes);
        if (readSync(this.#reader, record, 0, bytes, offset) !== bytes) throw new Error("it is shorter than it was");
        taught.entries.set(new Uint32Array(record.buffer, 0, count * topK), at * topK);
        taught.tails.set(new Float32Array(record.buffer, count * topK * 4, count), at);
        states?.set(new Uint16Array(record.buffer, own), at * width);
        at += count;
      }
    } catch (error) {
      throw cannot("read", file, error);
    }
    return states ? { ...taught, hidden: { width, states } } : taught;
  }

  /** Idempotent; gives the folder free. */
  async close(): Promise<void> {
    if (this.#reader !== null) closeSync(this.#reader);
    this.#reader = null;
    await this.lock.release();
  }
}

const kind = { format: "stillroom-teacher-cache", version: 2 } as const;
const manifestName = "cache.json";
const rowsName = "rows.bin";

/** The manifest that holds, without hidden states or with them: what is there, found equal, or where nothing is, what is needed, written now. */
async function requireFit(
  folder: string,
  plain: CacheManifest,
  whole: CacheManifest,
  hidden: boolean,
  own: string | null,
): Promise<CacheManifest> {
  const anew = own === null ? null : `remove ${folder}, and the teacher is asked anew`;
  const file = path.join(folder, manifestName);
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw cannot("read", file, error);
  });
  if (text === null) {
    const others = (await readdir(folder)).filter((name) => !name.startsWith("lock") && !name.endsWith(".tmp"));
    if (others.length > 0) {
      const message = `${folder} holds no teacher's cache, but ${others[0]}; ${anew ?? "give another folder"}`;
      throw new StillroomError("usage", message);
    }
    const needed = hidden ? whole : plain;
    await writeFileAtomic(file, `${JSON.stringify(needed, null, 1)}\n`);
    return needed;
  }
  const found = parse(text, file, anew ?? remedy);
  const there = found.hidden_width === undefined ? plain : whole;
  requireSame(folder, found, there, own ?? remedy);
  if (!hidden || there === whole) return there;
  throw new StillroomError(
    "input",
    `the teacher's cache ${folder} keeps no hidden states; ${own ?? "make another one, in another folder, with stillroom teach --hidden"}`,
  );
}

/** Throws "input" naming the fields that differ. */
function requireSame(folder: string, found: Partial<CacheManifest>, manifest: CacheManifest, helps = remedy): void {
  const names = [...new Set([...Object.keys(manifest), ...Object.keys(found)])] as (keyof CacheManifest)[];
  const differing = names.filter((name) => JSON.stringify(found[name]) !== JSON.stringify(manifest[name]));
  if (differing.length === 0) return;
  const list = differing.map((name) => {
    const [there, here] = apart(found[name], manifest[name]);
    return `${name} (${there} there, ${here} here)`;
  });
  const other = `it was made with other ${list.join(", ")}`;
  throw new StillroomError("input", `the teacher's cache ${folder} does not fit: ${other}; ${helps}`);
}

function parse(text: string, file: string, helps = remedy): Partial<CacheManifest> {
  try {
    const found = JSON.parse(text) as Partial<CacheManifest> | null;
    if (found?.format === kind.format) return found;
  } catch {
    // Falls through to the one message for a file that is not ours.
  }
  throw new StillroomError("input", `${file} is damaged, or no teacher's cache; ${helps}`);
}

const remedy = "in another folder stillroom teach --out FOLDER, or distill --cache FOLDER, makes one that fits";

/** Two values that differ, as a message shows them: long ones are cut, but behind the place where they part. */
function apart(one: unknown, other: unknown): [string, string] {
  const [first, second] = [one, other].map((value) => JSON.stringify(value) ?? "nothing") as [string, string];
  let same = 0;
  while (first[same] === second[same]) same++;
  const most = Math.max(16, same + 4);
  const cut = (text: string) => (text.length > 40 && text.length > most ? `${text.slice(0, most)}…` : text);
  return [cut(first), cut(second)];
}

/** How many blocks are whole, from the first on, and what is wrong with the one behind them where it is not just missing. */
async function verify(folder: string, layout: CacheLayout): Promise<{ whole: number; damage: string | null }> {
  const file = path.join(folder, rowsName);
  const handle = await open(file, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw cannot("read", file, error);
  });
  if (handle === null) return { whole: 0, damage: null };
  try {
    const { size } = await handle.stat();
    for (let block = 0; block < layout.blocks; block++) {
      const [from, to] = [layout.offsetOf(block), layout.offsetOf(block + 1)];
      // Ends within a block: what was under way when a process was killed, or cut off since; missing either way.
      if (to > size) return { whole: block, damage: null };
      const bytes = new Uint8Array(to - from);
      await handle.read(bytes, 0, bytes.length, from);
      if (!layout.isWhole(block, bytes)) {
        const [first] = layout.rowsOf(block);
        return {
          whole: block,
          damage: `${file} is damaged behind byte ${from}: rows from ${first} on are asked again`,
        };
      }
    }
    return { whole: layout.blocks, damage: null };
  } finally {
    await handle.close();
  }
}

/** Writes a block where it belongs, cuts off what lay behind it, and makes it durable. */
async function append(handle: FileHandle, file: string, offset: number, bytes: Uint8Array): Promise<void> {
  try {
    await handle.truncate(offset);
    let done = 0;
    while (done < bytes.length)
      done += (await handle.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
    await handle.sync();
  } catch (error) {
    throw cannot("write", file, error);
  }
}
