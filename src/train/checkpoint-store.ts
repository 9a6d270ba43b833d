// The checkpoints of a run folder: the newest two are kept, and a damaged newest one gives way to the one before it.
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { StillroomError } from "../support/errors.js";
import { type FileSystem, fileSystem, makeFolder, writeFileAtomic } from "../support/files.js";
import { type Checkpoint, type CheckpointSource, decodeCheckpoint, encodeCheckpoint } from "./checkpoint.js";

/** A checkpoint that was found, and the newer ones that could not be used. */
export interface FoundCheckpoint {
  file: string;
  checkpoint: Checkpoint;
  /** One message for each damaged file that was passed over. */
  damaged: string[];
}

const kept = 2;
const name = /^step-(\d{9})\.checkpoint$/;

/** Writes and finds checkpoints in one folder. Owns the files step-NNNNNNNNN.checkpoint in it, and their temporary files. */
export class CheckpointStore {
  constructor(
    readonly folder: string,
    readonly files: FileSystem = fileSystem,
  ) {}

  /** Writes a checkpoint durably, then removes all but the newest two. Throws "io"; older checkpoints are untouched then. */
  async write(checkpoint: CheckpointSource): Promise<{ file: string; bytes: number }> {
    await makeFolder(this.folder);
    const file = path.join(this.folder, `step-${String(checkpoint.step).padStart(9, "0")}.checkpoint`);
    await writeFileAtomic(file, encodeCheckpoint(checkpoint), this.files);
    await this.#keepNewest(path.basename(file));
    return { file, bytes: (await stat(file)).size };
  }

  /** The newest checkpoint that can be read, or null in a folder without any. Throws "input" when all of them are damaged. */
  async latest(): Promise<FoundCheckpoint | null> {
    const damaged: string[] = [];
    for (const found of await this.#names()) {
      const file = path.join(this.folder, found);
      try {
        return { file, checkpoint: decodeCheckpoint(await readFile(file), file), damaged };
      } catch (error) {
        damaged.push((error as Error).message);
      }
    }
    if (damaged.length === 0) return null;
    throw new StillroomError("input", `no checkpoint can be used: ${damaged.join("; ")}`);
  }

  /** Removes what a killed process left half written. */
  async tidy(): Promise<void> {
    for (const found of await list(this.folder)) {
      if (found.endsWith(".tmp")) await this.#remove(found);
    }
  }

  /** Removes what is older than the newest two, and what is newer than the one just written: damaged ones that were passed over. */
  async #keepNewest(newest: string): Promise<void> {
    const names = await this.#names();
    const first = names.indexOf(newest);
    for (const [index, old] of names.entries()) {
      if (index >= first && index < first + kept) continue;
      await this.#remove(old);
    }
  }

  async #remove(found: string): Promise<void> {
    const file = path.join(this.folder, found);
    try {
      await this.files.remove(file);
    } catch (error) {
      throw new StillroomError("io", `cannot remove ${file}: ${(error as Error).message}`, { cause: error });
    }
  }

  /** Names of checkpoints, newest first. */
  async #names(): Promise<string[]> {
    return (await list(this.folder))
      .filter((found) => name.test(found))
      .sort()
      .reverse();
  }
}

async function list(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return [];
    throw new StillroomError("io", `cannot read ${folder}: ${(error as Error).message}`, { cause: error });
  }
}
