// Rounded products take part in a run only where its loss stays within a hundredth of that of exact ones: measured before the first step.
import { type Model, openModel } from "../model/index.js";
import type { NativeBatch } from "../support/native.js";
import type { Encoded } from "../tokens/index.js";
import {
  type MicroBatch,
  microBatcher,
  RowOrder,
  type RunPlan,
  type TrainEvent,
  type TuneSettings,
} from "../train/index.js";

/** The largest part of a step's loss by which rounding may move it. */
const lossBound = 0.01;
/** Steps whose rows are looked at: the run's first ones. */
const measuredSteps = 2;

/** (Q) log-probability of each next token that a batch asks for. */
export type Score = (batch: NativeBatch) => Promise<Float64Array>;

/** By which part of it the loss of a step differs at most between two ways to compute it. Steps without a finite exact loss do not count. */
export async function lossDifference(steps: readonly MicroBatch[][], asked: Score, exact: Score): Promise<number> {
  let worst = 0;
  for (const step of steps) {
    const [got, wanted] = [await lossOf(step, asked), await lossOf(step, exact)];
    if (Number.isFinite(wanted)) worst = Math.max(worst, Number.isFinite(got) ? Math.abs(got / wanted - 1) : Infinity);
  }
  return worst;
}

async function lossOf(step: readonly MicroBatch[], score: Score): Promise<number> {
  let loss = 0;
  for (const { batch } of step) for (const value of await score(batch)) loss -= value;
  return loss;
}

/**
 * The model of a run: as it is open, or, with a warning, opened once more with exact products. Weights are those that the run begins with, so that
 * a resumed run finds the same.
 */
export async function* modelWithin(
  { model, settings, signal }: { model: Model; settings: TuneSettings; signal: AbortSignal | null },
  rows: readonly Encoded[],
  plan: RunPlan,
): AsyncGenerator<Extract<TrainEvent, { type: "warning" }>, Model> {
  const { precision, variant, seed, batchSize, sharePrefix } = settings;
  const { threads } = model;
  const exact = await openModel(model.info.path, {
    ...{ threads, variant: variant ?? undefined },
    ...(signal && { signal }),
  });
  let taken = false;
  try {
    const order = new RowOrder(plan.rows, batchSize, seed);
    const cut = microBatcher(rows, plan.tokenBudget, sharePrefix);
    const count = Math.min(measuredSteps, plan.steps);
    const steps = Array.from({ length: count }, (_, step) => cut(order.step(step + 1)));
    const scoreOf = ({ native }: Model): Score => {
      return (batch) => native.score(batch, null);
    };
    const moved = await lossDifference(steps, scoreOf(model), scoreOf(exact));
    if (moved <= lossBound) return model;
    const percent = `${(100 * moved).toFixed(1)} %`;
    const message = `products in ${precision} move the loss of the first steps' rows by ${percent}, more than ${100 * lossBound} %: the run goes on in f32`;
    yield { type: "warning", kind: "precision", message };
    taken = true;
    return exact;
  } finally {
    if (!taken) await exact.close();
  }
}
