// What a RUN folder holds for those who look at it: run.json, and the lines of steps and validations. Writes nothing.
import path from "node:path";
import type { Metrics } from "../evaluate/index.js";
import type { ComparedModel, RunFile } from "../jobs/index.js";
import { readRunFile } from "../jobs/index.js";
import { StillroomError } from "../support/errors.js";
import { Tail } from "./tail.js";

/** A line of metrics.jsonl. */
export interface StepLine {
  step: number;
  /** Null where the step was skipped. */
  loss: number | null;
  learning_rate: number;
  tokens: number;
  seconds: number;
  memory_bytes: number;
}

/** A line of validation.jsonl. */
export interface ValidationLine {
  step: number;
  loss: number;
  metrics: Record<string, number | Metrics[string]>;
}

/** run.json, with the parts of the result that a page takes. */
export type RunFacts = RunFile & { result?: { comparison?: ComparedModel[] } };

/** The run.json of a RUN folder. Throws "input" where there is none. */
export async function readRun(run: string): Promise<RunFacts> {
  const facts = await readRunFile(path.join(run, "run.json"));
  if (facts) return facts as RunFacts;
  throw new StillroomError(
    "input",
    `${path.resolve(run)} holds no run: expected the folder that tune or distill wrote with --out, or that a batch keeps its answers in with --store`,
  );
}

/** The lines of a run, read as they come. */
export class RunLines {
  readonly steps: Tail<StepLine>;
  readonly validations: Tail<ValidationLine>;

  constructor(run: string) {
    this.steps = new Tail(path.join(run, "metrics.jsonl"));
    this.validations = new Tail(path.join(run, "validation.jsonl"));
  }

  async read(): Promise<void> {
    await this.steps.read();
    await this.validations.read();
  }

  /** Changes where the run was begun again from a checkpoint: what was read before no longer holds. */
  get generation(): number {
    return this.steps.generation + this.validations.generation;
  }
}
