// The files of a RUN folder but the checkpoints' content: run.json, metrics.jsonl, validation.jsonl, and who may write them.
import { access, readdir, rm, rmdir } from "node:fs/promises";
import path from "node:path";
import { StillroomError } from "../support/errors.js";
import { makeFolder, writeFileAtomic } from "../support/files.js";
import { type FolderLock, lockFolder } from "../support/lock.js";
import { CheckpointStore } from "./checkpoint-store.js";
import { type Rewound, StepLines } from "./step-lines.js";

/** What a run writes beside run.json. In a folder without a run.json these are somebody else's. */
const ownNames = [
  ...["metrics.jsonl", "validation.jsonl", "checkpoints"],
  ...["adapter", "adapter.gguf", "model.gguf", "model.md", "quantized.gguf", "quantized.md"],
];

/** A locked run folder. */
export class RunFolder {
  #asking = false;
  readonly metrics: StepLines;
  readonly validations: StepLines;
  readonly checkpoints: CheckpointStore;

  private constructor(
    readonly folder: string,
    readonly lock: FolderLock,
    /** Folders that were not there before. */
    readonly made: readonly string[],
  ) {
    this.metrics = new StepLines(path.join(folder, "metrics.jsonl"), true);
    this.validations = new StepLines(path.join(folder, "validation.jsonl"), false);
    this.checkpoints = new CheckpointStore(path.join(folder, "checkpoints"));
  }

  /** Makes and locks the folder. Throws "usage" when another process works in it, or when it holds a run and resume is false. */
  static async open(folder: string, resume: boolean): Promise<RunFolder> {
    const absolute = path.resolve(folder);
    const made = await makeFolder(absolute);
    const run = new RunFolder(absolute, await lockFolder(absolute), made);
    if (!resume && (await run.holdsRun())) {
      await run.close();
      throw new StillroomError(
        "usage",
        `${absolute} already holds a run; continue it with resume, or give another folder`,
        { options: ["resume"] },
      );
    }
    return run;
  }

  /** Throws "usage" where the folder holds files of the names that a run writes: without a run.json they are no run's. */
  async requireFree(): Promise<void> {
    for (const name of ownNames) {
      if (!(await exists(path.join(this.folder, name)))) continue;
      throw new StillroomError(
        "usage",
        `${this.folder} holds no run, but ${name}, a name that runs write; give another folder`,
      );
    }
  }

  get runFile(): string {
    return path.join(this.folder, "run.json");
  }

  /** Everything that is needed to repeat the run, and its result once it has one. */
  async writeRun(run: unknown): Promise<void> {
    await writeFileAtomic(this.runFile, `${JSON.stringify(run, null, 2)}\n`);
    this.#asking = false;
  }

  /** The same of a run that is still to ask a teacher: what it was begun with. */
  async writeAsking(run: unknown): Promise<void> {
    await this.writeRun(run);
    this.#asking = true;
  }

  /** Puts back what was there before writeAsking (null: nothing) where nothing was written since: what is refused leaves no run behind. */
  async takeBack(before: unknown): Promise<void> {
    if (!this.#asking) return;
    if (before === null) await rm(this.runFile, { force: true });
    else await this.writeRun(before);
    this.#asking = false;
  }

  async holdsRun(): Promise<boolean> {
    return exists(this.runFile);
  }

  /** Makes the folder's lines those of a run that stands after this step, and tells how far they went and which were damaged. */
  async rewind(step: number): Promise<Rewound> {
    await this.checkpoints.tidy(step);
    await removeHalfWritten(this.folder);
    await removeHalfWritten(path.join(this.folder, "adapter"));
    const { lastStep, damaged } = await this.metrics.rewind(step);
    const validations = await this.validations.rewind(step);
    return { lastStep, damaged: [...damaged, ...validations.damaged] };
  }

  /** Makes the lines so far durable. */
  async sync(): Promise<void> {
    await this.metrics.sync();
    await this.validations.sync();
  }

  /** Idempotent; gives the folder free, and takes away what was made of it where nothing came to lie in it. */
  async close(): Promise<void> {
    await this.metrics.close();
    await this.validations.close();
    await this.lock.release();
    for (const folder of this.made.toReversed()) await rmdir(folder).catch(() => undefined);
  }
}

/** What src/support/files.ts and native/core/files.cpp call a file while they write it. */
const temporaryName = /\.(\d+-[0-9a-f]+\.tmp|tmp-\d+-\d+)$/;

/** Removes temporary files of a killed process. A lock's are left: they may be those of a process that is just starting. */
async function removeHalfWritten(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (temporaryName.test(name)) await rm(path.join(folder, name), { force: true });
  }
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
