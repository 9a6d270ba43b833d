// The loop on the fake engine: sums, skipping, validation, stopping, and bytes after a resume.
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeEach, expect, test } from "vitest";
import { StillroomError } from "../../src/support/errors.js";
import type { Validation } from "../../src/train/progress.js";
import { bytesOf, poison } from "../support/fake_engine.js";
import { bits, drive, toyFolder, toyJob, toyRows } from "./toy-job.js";

let folder: string;
beforeEach(async () => {
  folder = await toyFolder();
});

const lines = async (file: string) =>
  (await readFile(path.join(folder, file), "utf8"))
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** A validation whose values are given in advance. */
const valued = (values: number[]) => {
  let next = 0;
  return async (): Promise<Validation> => ({
    loss: 1,
    metrics: { accuracy: { value: values[next++], low: 0, high: 1 } },
  });
};

test("the loss falls, and each step leaves one line", async () => {
  const { outcome } = await drive(await toyJob(folder, { steps: 60 }));
  const metrics = await lines("metrics.jsonl");
  expect(metrics.map((line) => line.step)).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
  expect(metrics[0]).toMatchObject({ loss: expect.closeTo(Math.log(12), 6), learning_rate: 0.025, tokens: 16 });
  expect(metrics[0]!.gradient_norm).toBeGreaterThan(0);
  expect(outcome?.progress.loss.first).toBeCloseTo(Math.log(12), 6);
  expect(outcome!.progress.loss.last!).toBeLessThan(1.2);
  expect(outcome?.progress).toMatchObject({ rows: 480, tokens: 960 });
});

test("a projection is fitted once, before the first step, on the rows of the first steps", async () => {
  const job = await toyJob(folder, { steps: 4, change: { fitOn: 17 } });
  await drive(job);
  // Steps of 8 rows in micro-batches of 3, until there are 17 labels.
  expect(job.trainer.observed).toEqual([3, 3, 2, 3, 3, 2, 3, 3, 2, "fit"]);
  expect((await lines("metrics.jsonl"))[0]).toMatchObject({ hidden_distance: 0 });
  const resumed = await toyJob(folder, { steps: 6, change: { fitOn: 17 } });
  expect(resumed.from?.step).toBe(4);
  await drive(resumed);
  expect(resumed.trainer.observed).toEqual([]);
  // No more steps than there are, and nothing where there is no projection.
  folder = await toyFolder();
  const short = await toyJob(folder, { steps: 1, change: { fitOn: 100 } });
  await drive(short);
  expect(short.trainer.observed).toEqual([3, 3, 2, "fit"]);
  const plain = await toyJob(await toyFolder());
  await drive(plain);
  expect(plain.trainer.observed).toEqual([]);
});

test("1×8 and 8×1 rows: the step's loss is the mean over all its label tokens, whatever the micro-batches", async () => {
  const whole = await drive(await toyJob(folder, { microBatch: 8 }));
  const wholeLoss = (await lines("metrics.jsonl")).map((line) => line.loss as number);
  folder = await toyFolder();
  const single = await drive(await toyJob(folder, { microBatch: 1 }));
  const singleLoss = (await lines("metrics.jsonl")).map((line) => line.loss as number);
  for (const [index, loss] of wholeLoss.entries()) expect(singleLoss[index]).toBeCloseTo(loss, 6);
  for (const [index, { data }] of whole.weights.entries()) {
    for (const [at, value] of data.entries()) expect(single.weights[index]!.data[at]).toBeCloseTo(value, 5);
  }
});

test("gradients are divided once, by the finite label tokens of the whole step", async () => {
  const rows = toyRows(10);
  rows[4] = [4, poison];
  const job = await toyJob(folder, { rows, steps: 2, batchSize: 8, microBatch: 1 });
  const divisors: number[] = [];
  const update = job.trainer.update.bind(job.trainer);
  job.trainer.update = async (options) => {
    divisors.push(options.divisor);
    return update(options);
  };
  await drive(job);
  expect(divisors.reduce((sum, divisor) => sum + divisor, 0)).toBe(9);
  expect(divisors).toSatisfy((both: number[]) => both[0]! <= 8 && both[1]! <= 2);
});

test("gradients that overflow in their sum end the run instead of entering the weights' history", async () => {
  const job = await toyJob(folder, {});
  job.trainer.update = async () => ({ gradientNorm: Number.POSITIVE_INFINITY });
  const { error, events } = await drive(job);
  expect(error).toMatchObject({ code: "input", message: expect.stringContaining("step 1: the sum of the gradients") });
  expect(events).toEqual([]);
});

test.each(["memory", "disk"] as const)(
  "with the best weights in %s, a run that is stopped after any step and resumed ends with the bytes of one that was not",
  async (keepBest) => {
    const options = { steps: 12, evaluateEvery: 3 };
    // A value that is a function of the weights, so that the best step is one in the middle and the same in every run.
    const validated = async (where: string, stopAt: number | null) => {
      const abort = new AbortController();
      const job = await toyJob(where, { ...options, change: { keepBest, signal: abort.signal } });
      job.validate = async () => ({
        loss: 1,
        metrics: { accuracy: -Math.abs(job.parameters.tensors()[0]!.data[3]! - 0.1) },
      });
      return drive(job, (event) => {
        if (event.type === "step" && event.step === stopAt) abort.abort();
      });
    };
    const undisturbed = await validated(folder, null);
    expect(undisturbed.outcome?.bestStep).toBeGreaterThan(0);
    for (let stop = 1; stop < 12; stop++) {
      const where = await toyFolder();
      const stopped = await validated(where, stop);
      expect(stopped.error, `stop at ${stop}`).toMatchObject({ code: "cancelled" });
      const resumed = await validated(where, null);
      expect(bits(resumed.weights), `stop at ${stop}`).toBe(bits(undisturbed.weights));
      expect(resumed.outcome?.bestStep).toBe(undisturbed.outcome?.bestStep);
      folder = where;
      expect((await lines("metrics.jsonl")).map((line) => line.step)).toEqual(
        Array.from({ length: 12 }, (_, i) => i + 1),
      );
      expect((await lines("validation.jsonl")).map((line) => line.step)).toEqual([3, 6, 9, 12]);
    }
  },
);

test("an abort inside a step leaves that step's gradients behind", async () => {
  const abort = new AbortController();
  const job = await toyJob(folder, { microBatch: 2, change: { signal: abort.signal } });
  const accumulate = job.trainer.accumulate.bind(job.trainer);
  job.trainer.accumulate = async (batch, step, microBatch) => {
    if (step === 5 && microBatch === 1) abort.abort();
    return accumulate(batch, step, microBatch);
  };
  const { error, events } = await drive(job);
  expect(error).toMatchObject({ code: "cancelled", message: expect.stringContaining("after step 4 of 12") });
  expect(events.at(-1)).toMatchObject({ type: "checkpoint", step: 4 });
  expect(job.trainer.calls.filter((call) => call.step === 5)).toHaveLength(2);
  expect(job.trainer.gradients().every(({ data }) => data.every((value) => value === 0))).toBe(true);
});

test("a validation that is cut off is done again by the resumed run", async () => {
  const cut = await toyJob(folder, { evaluateEvery: 4 });
  cut.validate = async () => {
    throw new StillroomError("cancelled", "cancelled");
  };
  expect((await drive(cut)).events.at(-1)).toMatchObject({ type: "checkpoint", step: 4 });
  const resumed = await drive(
    await toyJob(folder, { evaluateEvery: 4, change: { validate: valued([0.5, 0.6, 0.7]) } }),
  );
  expect(resumed.events[0]).toMatchObject({ type: "validation", step: 4 });
  expect(resumed.outcome?.bestStep).toBe(12);
});

test("lines of steps that a killed run did not make durable are taken back", async () => {
  await drive(await toyJob(folder, { steps: 4, change: { checkpointEvery: 2 } }));
  const file = path.join(folder, "metrics.jsonl");
  await writeFile(file, `${await readFile(file, "utf8")}{"step":5,"loss":1}\n{"step":6,"lo`);
  const job = await toyJob(folder, { steps: 4 });
  await job.folder.close();
  expect((await lines("metrics.jsonl")).map((line) => line.step)).toEqual([1, 2, 3, 4]);
});

test("a micro-batch that is not finite is left out of the mean, reported and counted", async () => {
  const rows = toyRows(8);
  rows[2] = [2, poison];
  const { events, outcome } = await drive(await toyJob(folder, { rows, microBatch: 1 }));
  const warnings = events.filter((event) => event.type === "warning");
  expect(warnings).toHaveLength(12);
  expect(warnings[0]).toMatchObject({ kind: "not-finite", message: expect.stringContaining("step 1: 1 of 8 rows") });
  const metrics = await lines("metrics.jsonl");
  expect(metrics[0]).toMatchObject({ skipped: true, skipped_rows: 1, loss: expect.closeTo(Math.log(12), 6) });
  expect(outcome?.progress.skipped).toBe(12);
  expect(outcome!.progress.loss.last!).toBeLessThan(outcome!.progress.loss.first!);
});

test("a step without a finite row changes no weight and no moment", async () => {
  const rows = toyRows(8).map(([token]) => [token, poison] as [number, number]);
  const job = await toyJob(folder, { rows, steps: 1 });
  const [weights, state] = [bits(job.parameters.tensors()), bytesOf(job.trainer.state)];
  const { error } = await drive(job);
  expect(error).toMatchObject({ code: "input", message: expect.stringContaining("not finite") });
  expect(bits(job.parameters.tensors())).toBe(weights);
  expect(bytesOf(job.trainer.state)).toEqual(state);
  expect(await lines("metrics.jsonl")).toMatchObject([{ step: 1, loss: null, skipped: true, gradient_norm: null }]);
});

test("weights that give no numbers are the training's doing only where a step had some before", async () => {
  const validate = async () => ({ loss: Number.NaN, metrics: {} });
  const course = { steps: 2, evaluateEvery: 2, change: { validate } };
  const diverged = await drive(await toyJob(folder, course));
  const message = expect.stringMatching(/^the run .* gives no numbers after step 2: its training diverged; begin /);
  expect(diverged.error).toMatchObject({ code: "input", message });
  const rows = toyRows(8).map(([token]) => [token, poison] as [number, number]);
  const other = await drive(await toyJob(await toyFolder(), { ...course, rows }));
  expect(other.error).toMatchObject({ message: expect.stringMatching(/^the loss of every row of the last 2 steps/) });
});

test("a run in which nothing is finite stops after 20 steps and says so", async () => {
  const rows = toyRows(40).map(([token]) => [token, poison] as [number, number]);
  const { events, error } = await drive(await toyJob(folder, { rows, steps: 100 }));
  expect(error).toMatchObject({ code: "input", message: expect.stringContaining("last 20 steps is not finite") });
  expect(events.filter((event) => event.type === "step")).toHaveLength(20);
});

test.each(["memory", "disk"] as const)(
  "the best validated weights are the result, and patience ends the run: %s",
  async (keepBest) => {
    const seen: string[] = [];
    const job = await toyJob(folder, { steps: 100, evaluateEvery: 2, change: { keepBest, patience: 2 } });
    const validate = valued([0.5, 0.8, 0.7, 0.8]);
    job.validate = async () => {
      seen.push(bits(job.parameters.tensors()));
      return validate();
    };
    const { outcome, events, weights } = await drive(job);
    expect(outcome).toMatchObject({ step: 8, bestStep: 4 });
    expect(bits(weights)).toBe(seen[1]);
    expect(events.filter((event) => event.type === "validation").map((event) => event.best)).toEqual([
      true,
      true,
      false,
      false,
    ]);
  },
);

test("between equal values of the metric the lower loss decides", async () => {
  const losses = [3, 1, 2];
  const validate = async (): Promise<Validation> => ({ loss: losses.shift()!, metrics: { accuracy: 0.5 } });
  const { outcome } = await drive(
    await toyJob(await toyFolder(), { steps: 6, evaluateEvery: 2, change: { validate } }),
  );
  expect(outcome?.bestStep).toBe(4);
});

test("log_loss is better when lower, and without the metric the loss decides", async () => {
  const values = [0.9, 0.4, 0.6];
  const outcomes = await Promise.all(
    ["log_loss", "absent"].map(async (metric) => {
      const left = [...values];
      const validate = async (): Promise<Validation> => {
        const loss = left.shift()!;
        return { loss, metrics: { log_loss: loss } };
      };
      return drive(await toyJob(await toyFolder(), { steps: 6, evaluateEvery: 2, change: { metric, validate } }));
    }),
  );
  expect(outcomes.map(({ outcome }) => outcome?.bestStep)).toEqual([4, 4]);
});

test("a damaged newest checkpoint costs only the steps since the one before it", async () => {
  const undisturbed = await drive(await toyJob(await toyFolder(), {}));
  const abort = new AbortController();
  await drive(await toyJob(folder, { change: { checkpointEvery: 3, signal: abort.signal } }), (event) => {
    if (event.type === "step" && event.step === 7) abort.abort();
  });
  await writeFile(path.join(folder, "checkpoints/step-000000007.checkpoint"), "torn");
  const job = await toyJob(folder, {});
  expect(job.damaged).toHaveLength(1);
  expect(job.from?.step).toBe(6);
  expect(bits((await drive(job)).weights)).toBe(bits(undisturbed.weights));
});

test("a finished run has nothing left to do", async () => {
  const first = await drive(await toyJob(folder, {}));
  const job = await toyJob(folder, {});
  const again = await drive(job);
  expect(job.trainer.calls).toEqual([]);
  expect(bits(again.weights)).toBe(bits(first.weights));
});
