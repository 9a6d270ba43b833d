// Files that are either whole or absent: temporary name, fsync, rename, fsync of the folder. Knows no format.
import { createHash, randomBytes } from "node:crypto";
import { createReadStream, statSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { cannot, isAbsent, reasonOf, StillroomError } from "./errors.js";
import { alive } from "./processes.js";

/** The calls that a write is made of, so that a test can let the nth of them fail. */
export interface FileSystem {
  open(file: string, flags: string): Promise<Pick<FileHandle, "write" | "sync" | "close">>;
  rename(from: string, to: string): Promise<void>;
  remove(file: string): Promise<void>;
}

/** The real file system. */
export const fileSystem: FileSystem = { open, rename, remove: (file) => rm(file, { force: true }) };

/**
 * Writes a file so that its name always stands for whole content, also after SIGKILL, power loss or a full disk.
 * Throws "io" naming the file; the temporary file is removed then.
 *
 * @param data - one piece, or several that are written one after the other
 */
export async function writeFileAtomic(
  file: string,
  data: string | Uint8Array | Iterable<Uint8Array>,
  files: FileSystem = fileSystem,
): Promise<void> {
  const temporary = temporaryName(file);
  try {
    const handle = await files.open(temporary, "wx");
    try {
      for (const piece of pieces(data)) await writeAll(handle, piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await files.rename(temporary, file);
    await syncFolder(path.dirname(file), files);
  } catch (error) {
    await files.remove(temporary).catch(() => undefined);
    cannotWrite(file, error);
  }
}

/** A file that is written piece by piece, and has its name once it is whole. */
export class WholeFile {
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #bytes = 0;

  private constructor(
    readonly file: string,
    readonly temporary: string,
    readonly handle: FileHandle,
  ) {}

  /** Throws "io" naming the file. */
  static async create(file: string): Promise<WholeFile> {
    await requireWritable(file);
    await removeLeftovers(path.dirname(file), `${path.basename(file)}.`);
    const temporary = temporaryName(file);
    return new WholeFile(file, temporary, await open(temporary, "wx").catch((error) => cannotWrite(file, error)));
  }

  /** Gathers small pieces, and writes them together. Throws "io" naming the file. */
  async write(piece: Uint8Array): Promise<void> {
    this.#waiting.push(piece);
    this.#waitingBytes += piece.byteLength;
    if (this.#waitingBytes >= 1 << 18) await this.#flush();
  }

  /** Puts the file in its place, and gives its size. */
  async finish(): Promise<number> {
    await this.#flush();
    try {
      await this.handle.sync();
      await this.handle.close();
      await rename(this.temporary, this.file);
      await syncFolder(path.dirname(this.file));
    } catch (error) {
      cannotWrite(this.file, error);
    }
    return this.#bytes;
  }

  /** Leaves nothing. */
  async discard(): Promise<void> {
    await this.handle.close().catch(() => undefined);
    await rm(this.temporary, { force: true });
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#waitingBytes = 0;
    await writeAll(this.handle, bytes).catch((error) => cannotWrite(this.file, error));
    this.#bytes += bytes.length;
  }
}

/** Removes temporary files of a folder whose processes were killed, of those with such a beginning. */
export async function removeLeftovers(folder: string, beginning: string): Promise<void> {
  const names = await readdir(folder);
  for (const name of names.filter((one) => one.startsWith(beginning))) {
    const pid = Number(/\.(\d+)-[0-9a-f]{8}\.tmp$/.exec(name)?.[1]);
    if (pid > 0 && !alive(pid)) await rm(path.join(folder, name), { force: true });
  }
}

function cannotWrite(file: string, error: unknown): never {
  const { code } = error as NodeJS.ErrnoException;
  const why = code === "ENOENT" ? `there is no folder ${path.dirname(file)}` : reasonOf(error, file);
  throw new StillroomError("io", `cannot write ${file}: ${why}`, { cause: error });
}

/** Throws "missing" where there is no such file, else "io". */
export function cannotRead(file: string, error: unknown): never {
  throw cannot("read", file, error, isAbsent(error) ? "missing" : "io");
}

/** Whether a folder lies there. Throws "io" where this user may not look. */
export function isFolder(place: string): boolean {
  try {
    return statSync(place, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw cannot("read", place, error);
  }
}

/** Throws "io", as writeFileAtomic would, where a file cannot be written: for long work whose result goes there. */
export async function requireWritable(file: string): Promise<void> {
  const temporary = temporaryName(file);
  try {
    const found = await stat(file).catch(() => null);
    // A rename would put a plain file in the place of a pipe or of /dev/null.
    if (found && !found.isFile())
      throw new Error(`it is ${found.isDirectory() ? "a folder" : "no plain file"}; choose another file`);
    await (await open(temporary, "wx")).close();
    await rm(temporary);
  } catch (error) {
    cannotWrite(file, error);
  }
}

/**
 * Makes a folder and those above it; one that is there is left as it is. Gives those that it made, the uppermost first. Throws "io" naming the folder.
 * Node's own recursive mkdir never ends where a folder that exists takes no entries, as under /proc.
 */
export async function makeFolder(folder: string): Promise<string[]> {
  const made: string[] = [];
  try {
    await makeUpTo(path.resolve(folder), made);
    return made;
  } catch (error) {
    throw new StillroomError("io", `cannot make the folder ${folder}: ${reasonOf(error, path.resolve(folder))}`, {
      cause: error,
    });
  }
}

async function makeUpTo(folder: string, made: string[]): Promise<void> {
  const above = path.dirname(folder);
  const known = await stat(folder).catch(() => null);
  if (known?.isDirectory()) return;
  if (known) throw new Error(`${folder} is there and is no folder; move it away, or choose another name`);
  if (above !== folder) await makeUpTo(above, made);
  try {
    await mkdir(folder);
    made.push(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** SHA-256 of a file, streamed. */
export async function hashFile(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** Makes renames and removals in a folder durable. Windows has no such call: there it does nothing. */
export async function syncFolder(folder: string, files: FileSystem = fileSystem): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await files.open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a whole file that another wrote appear under its name, durably. Throws "io". */
export async function placeFile(temporary: string, file: string): Promise<void> {
  try {
    const handle = await open(temporary, "r+");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    await syncFolder(path.dirname(file));
  } catch (error) {
    cannotWrite(file, error);
  }
}

/** A name beside a file for what is not whole yet. */
export function temporaryName(file: string): string {
  return `${file}.${process.pid}-${randomBytes(4).toString("hex")}.tmp`;
}

function pieces(data: string | Uint8Array | Iterable<Uint8Array>): Iterable<Uint8Array> {
  if (typeof data === "string") return [Buffer.from(data)];
  return data instanceof Uint8Array ? [data] : data;
}

/** A write may take less than it was given: goes on until all is written. */
async function writeAll(handle: Pick<FileHandle, "write">, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.byteLength) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done);
    if (bytesWritten === 0) throw new Error("the file system took no bytes");
    done += bytesWritten;
  }
}
