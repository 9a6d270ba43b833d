// Which rows each step takes: a seeded shuffle per epoch. Pure: the step alone gives the position, so a resume needs no state.
import { Random } from "../support/random.js";

/** Optimiser steps of one pass over the rows; the last one of a pass may hold fewer rows. */
export function stepsPerEpoch(rows: number, batchSize: number): number {
  return Math.ceil(rows / batchSize);
}

/** Row indices of an epoch (from 0) in the order of training: a shuffle by the sequence (seed, epoch). */
export function epochOrder(rows: number, seed: number, epoch: number): Int32Array {
  return new Random(seed, epoch).shuffle(Int32Array.from({ length: rows }, (_, index) => index));
}

/** Hands out the row indices of any step (from 1); keeps the shuffle of one epoch. */
export class RowOrder {
  #epoch = -1;
  #order: Int32Array = new Int32Array(0);

  constructor(
    readonly rows: number,
    readonly batchSize: number,
    readonly seed: number,
  ) {}

  /** The epoch (from 0) that a step belongs to, and the position of its first row in that epoch. */
  position(step: number): { epoch: number; row: number } {
    const perEpoch = stepsPerEpoch(this.rows, this.batchSize);
    const epoch = Math.floor((step - 1) / perEpoch);
    return { epoch, row: (step - 1 - epoch * perEpoch) * this.batchSize };
  }

  /** Row indices of a step. */
  step(step: number): Int32Array {
    const { epoch, row } = this.position(step);
    if (epoch !== this.#epoch) {
      this.#order = epochOrder(this.rows, this.seed, epoch);
      this.#epoch = epoch;
    }
    return this.#order.slice(row, row + this.batchSize);
  }
}
