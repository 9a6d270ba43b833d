// The checkpoints of a run folder: the newest two are kept, and a damaged newest one gives way to the one before it. Beside them the best
// weights that they may need, where those are too large for a checkpoint.
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { cannot, StillroomError } from "../support/errors.js";
import { type FileSystem, fileSystem, isFolder, makeFolder, writeFileAtomic } from "../support/files.js";
import { Checkpoint, type CheckpointSource, encodeCheckpoint } from "./checkpoint.js";

/** A checkpoint that was found, and the newer ones that could not be used. */
export interface FoundCheckpoint {
  file: string;
  checkpoint: Checkpoint;
  /** One message for each damaged file that was passed over. */
  damaged: string[];
}

const kept = 2;
const name = /^(step|best)-(\d{9})\.checkpoint$/;
type Kind = "step" | "best";

/** Writes and finds checkpoints in one folder. Owns the files step- and best-NNNNNNNNN.checkpoint in it, and their temporary files. */
export class CheckpointStore {
  constructor(
    readonly folder: string,
    readonly files: FileSystem = fileSystem,
  ) {}

  /** Writes a checkpoint durably, then removes all but the newest two. Throws "io"; older checkpoints are untouched then. */
  async write(checkpoint: CheckpointSource): Promise<{ file: string; bytes: number }> {
    const file = await this.#write("step", checkpoint);
    await this.#keepNewest(path.basename(file));
    return { file, bytes: (await stat(file)).size };
  }

  /** Writes the weights of a best step durably. It is kept as long as a kept checkpoint has none newer before it. */
  async writeBest(checkpoint: CheckpointSource): Promise<void> {
    await this.#write("best", checkpoint);
  }

  /** The weights of a best step. Throws "input" when the file is missing or damaged. */
  async best(step: number): Promise<Checkpoint> {
    return Checkpoint.open(this.#file("best", step)).catch((error) => {
      if (error instanceof StillroomError) throw error;
      throw new StillroomError("input", `cannot read the weights of the best step: ${(error as Error).message}`, {
        cause: error,
      });
    });
  }

  /**
   * The newest checkpoint that can be read, with the best weights that lie beside it, or null in a folder without any: best weights alone are
   * none to go on from. Throws "input" when all of them are damaged, or a folder has the name of one.
   */
  async latest(): Promise<FoundCheckpoint | null> {
    for (const found of [...(await this.#names("step")), ...(await this.#names("best"))]) {
      const file = path.join(this.folder, found);
      // No checkpoint could take its place, and not after all of the steps before that one.
      if (isFolder(file))
        throw new StillroomError("input", `${file} is a folder, and has a checkpoint's name; move it away`);
    }
    const damaged: string[] = [];
    for (const found of await this.#names("step")) {
      const file = path.join(this.folder, found);
      try {
        const checkpoint = await Checkpoint.open(file);
        // Not after all of the steps that are left.
        const { best, progress } = checkpoint.header;
        if (best === null && progress.best && progress.best.step !== checkpoint.step)
          await this.best(progress.best.step);
        return { file, checkpoint, damaged };
      } catch (error) {
        damaged.push(error instanceof StillroomError ? error.message : cannot("read", file, error).message);
      }
    }
    if (damaged.length === 0) return null;
    const remedy = `without ${this.folder}, resume begins again at step 1`;
    throw new StillroomError("input", `no checkpoint can be used: ${damaged.join("; ")}; ${remedy}`);
  }

  /** Removes what a killed process left half written, and best weights of steps after this one: the run takes them again. */
  async tidy(step: number): Promise<void> {
    for (const found of await list(this.folder)) {
      if (found.endsWith(".tmp")) await this.#remove(found);
    }
    for (const found of await this.#names("best")) if (stepOf(found) > step) await this.#remove(found);
  }

  async #write(kind: Kind, checkpoint: CheckpointSource): Promise<string> {
    await makeFolder(this.folder);
    const file = this.#file(kind, checkpoint.step);
    await writeFileAtomic(file, encodeCheckpoint(checkpoint), this.files);
    return file;
  }

  #file(kind: Kind, step: number): string {
    return path.join(this.folder, `${kind}-${String(step).padStart(9, "0")}.checkpoint`);
  }

  /** Removes what is older than the newest two, what is newer than the one just written (damaged ones that were passed over), and best weights that none of the two needs. */
  async #keepNewest(newest: string): Promise<void> {
    const names = await this.#names("step");
    const first = names.indexOf(newest);
    const keep = names.slice(first, first + kept);
    for (const old of names) if (!keep.includes(old)) await this.#remove(old);
    const best = await this.#names("best");
    const needed = keep.map((checkpoint) => best.find((found) => stepOf(found) <= stepOf(checkpoint)));
    for (const old of best) if (!needed.includes(old)) await this.#remove(old);
  }

  async #remove(found: string): Promise<void> {
    const file = path.join(this.folder, found);
    try {
      await this.files.remove(file);
    } catch (error) {
      throw cannot("remove", file, error);
    }
  }

  /** Names of files of a kind, newest first. */
  async #names(kind: Kind): Promise<string[]> {
    return (await list(this.folder))
      .filter((found) => name.exec(found)?.[1] === kind)
      .sort()
      .reverse();
  }
}

function stepOf(found: string): number {
  return Number(name.exec(found)?.[2]);
}

async function list(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return [];
    throw cannot("read", folder, error);
  }
}
