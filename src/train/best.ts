// The best validated step's weights until the end of a run: an adapter's as a copy in memory, a whole model's as a file beside the
// checkpoints. Knows the parameters and the folder; not what makes a step the best.
import type { NativeParameters, NativeTensor } from "../support/native.js";
import type { Checkpoint, CheckpointSource } from "./checkpoint.js";
import type { CheckpointStore } from "./checkpoint-store.js";

/** Keeps one step's weights. */
export interface BestWeights {
  /** Keeps the parameters as they are, after this step, in place of those kept before. */
  keep(state: Omit<CheckpointSource, "optimizer" | "best" | "parameters">): Promise<void>;
  /** Makes the parameters those of the step that was kept. */
  putBack(step: number): Promise<void>;
  /** What a checkpoint of a later step holds of them. */
  readonly inCheckpoint: NativeTensor[] | null;
  /** Goes on from a checkpoint after which a best step was known; the parameters are its own already. */
  resume(from: Checkpoint): Promise<void>;
}

/** One copy in memory, whatever the number of validations. */
export class BestInMemory implements BestWeights {
  #tensors: NativeTensor[] | null = null;

  constructor(readonly parameters: NativeParameters) {}

  get inCheckpoint(): NativeTensor[] | null {
    return this.#tensors;
  }

  async keep(): Promise<void> {
    const { parameters } = this;
    this.#tensors ??= parameters.shapes.map(({ name, shape }) => ({
      name,
      shape,
      data: new Float32Array(shape[0] * shape[1]),
    }));
    for (const [index, { data }] of this.#tensors.entries()) parameters.read(index, data);
  }

  async putBack(): Promise<void> {
    for (const [index, { data }] of (this.#tensors ?? []).entries()) this.parameters.write(index, data);
  }

  async resume(from: Checkpoint): Promise<void> {
    this.#tensors = await from.best();
    if (this.#tensors === null) await this.keep();
  }
}

/** A file for each step that a kept checkpoint may need. */
export class BestOnDisk implements BestWeights {
  readonly inCheckpoint = null;

  constructor(
    readonly parameters: NativeParameters,
    readonly checkpoints: CheckpointStore,
  ) {}

  async keep(state: Omit<CheckpointSource, "optimizer" | "best" | "parameters">): Promise<void> {
    const optimizer = { bytes: 0, read: () => undefined };
    await this.checkpoints.writeBest({ ...state, parameters: this.parameters, optimizer, best: null });
  }

  async putBack(step: number): Promise<void> {
    const { parameters } = this;
    await (await this.checkpoints.best(step)).restore({ parameters, optimizer: null });
  }

  /** Its file lies where it was. */
  async resume(): Promise<void> {}
}
