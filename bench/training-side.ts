// How our side of a training trial says that it is ready, and takes an optimiser step. Knows no rows and no loss.
import type { NativeTrainer } from "../src/support/native.js";
import type { MicroBatch } from "../src/train/index.js";
import { emit } from "./side.js";

export function emitReady(): void {
  const { npm_package_version: stillroom = "checkout" } = process.env;
  emit({ event: "ready", versions: { stillroom, node: process.versions.node } });
}

/** A step over micro-batches. Gives the mean of the loss over their labels. */
export async function takeStep(
  trainer: NativeTrainer,
  number: number,
  batches: readonly MicroBatch[],
  learningRate: number,
): Promise<{ loss: number; labels: number }> {
  let [loss, labels] = [0, 0];
  for (const [index, { batch }] of batches.entries()) {
    const done = await trainer.accumulate(batch, number, index);
    loss += done.lossSum;
    labels += done.count;
  }
  await trainer.update({ learningRate, divisor: labels });
  return { loss: loss / labels, labels };
}
