// Options, memory and plan, with numbers that can be written by hand.
import { expect, test } from "vitest";
import type { NativeModelInfo } from "../../src/support/native.js";
import { activationBytes, adapterParameters, planMemory } from "../../src/train/memory.js";
import { type TuneOptions, tuneSettings } from "../../src/train/options.js";
import { planLimits, planRun } from "../../src/train/plan.js";

const settings = (options: Partial<TuneOptions> = {}) => tuneSettings({ model: "m.gguf", out: "run", ...options });

/** Widths of which every product is easily written by hand. */
const info = {
  layers: 2,
  width: 10,
  feedForward: 20,
  heads: 2,
  keyValueHeads: 1,
  headWidth: 5,
  vocabulary: 100,
  contextLength: 4096,
  fileBytes: 1000,
} as NativeModelInfo;

test("defaults", () => {
  expect(settings()).toMatchObject({
    epochs: 1,
    steps: null,
    batchSize: 16,
    rank: 16,
    alpha: 32,
    dropout: 0,
    targets: ["q", "k", "v", "o", "gate", "up", "down"],
    learningRate: 2e-4,
    clipNorm: 1,
    onLong: "truncate",
  });
  expect(settings({ rank: 4 }).alpha).toBe(8);
  expect(settings({ steps: 5 })).toMatchObject({ epochs: null, steps: 5 });
  expect(settings({ targets: ["down", "q"] }).targets).toEqual(["q", "down"]);
});

const refused: [Partial<Record<keyof TuneOptions | "learnrate" | "learningrate", unknown>>, string][] = [
  [{ model: "" }, "expected a text that is not empty for model"],
  [{ out: undefined }, "expected a value for out, received undefined"],
  [{ method: "full" }, 'method "full" belongs to a later version'],
  [{ method: "head" }, 'method "head" belongs to a later version'],
  [{ method: "magic" }, 'expected "lora" for method, received "magic"'],
  [{ epochs: 1, steps: 1 }, "expected epochs or steps, received both"],
  [{ epochs: 0 }, "expected a number above 0 for epochs, received 0"],
  [{ steps: 1.5 }, "expected a whole number of at least 1 for steps, received 1.5"],
  [{ rank: "16" }, "for rank"],
  [{ dropout: 1 }, "expected a number from 0 to below 1 for dropout, received 1"],
  [{ learningRate: Number.NaN }, "for learningRate"],
  [{ schedule: "step" }, "expected one of constant, linear, cosine for schedule"],
  [{ warmup: 1.5 }, "for warmup"],
  [{ betas: [0.9] }, "for betas"],
  [{ betas: [0.9, 1] }, "for betas[1]"],
  [{ targets: [] }, "for targets"],
  [{ targets: ["q", "q"] }, "for targets"],
  [{ targets: ["x"] }, "for targets"],
  [{ onLong: "split" }, "expected one of truncate, drop for onLong"],
  [{ resume: "yes" }, "expected true or false for resume"],
  [{ learningrate: 1 }, "learningRate"],
];

test.each(refused)("%j is refused", (options, message) => {
  expect(() => settings(options as Partial<TuneOptions>)).toThrow(message);
  try {
    settings(options as Partial<TuneOptions>);
  } catch (error) {
    expect(error).toMatchObject({ code: "usage" });
  }
});

test("activations and adapter by hand", () => {
  // (4*10 + 2*5 + 2*20) * 4 = 360 a layer
  expect(activationBytes(info, false)).toBe(720);
  expect(activationBytes(info, true)).toBe(2 * 10 * 4 + 360);
  // q 10+10, k 10+5, v 10+5, o 10+10, gate, up, down 30 each: 160 a layer and rank
  expect(adapterParameters(info, settings().targets, 16)).toBe(2 * 16 * 160);
  expect(adapterParameters(info, ["q", "head"], 2)).toBe(2 * 2 * 20 + 2 * 110);
});

test("memory chooses the micro-batch, then recomputation, and refuses what cannot work", () => {
  const fixed = planMemory(info, settings()).bytes - 512 * 720;
  expect(planMemory(info, settings())).toMatchObject({ tokenBudget: 512, recompute: false });
  expect(planMemory(info, settings({ tokenBudget: 50 }))).toMatchObject({ tokenBudget: 50, recompute: false });
  expect(planMemory(info, settings({ memory: fixed + 512 * 720 }))).toMatchObject({
    tokenBudget: 512,
    recompute: false,
  });
  expect(planMemory(info, settings({ memory: fixed + 300 * 720 }))).toMatchObject({
    tokenBudget: 490,
    recompute: true,
  });
  const kept = settings({ memory: fixed + 300 * 720, recompute: false });
  expect(planMemory(info, kept)).toEqual({ tokenBudget: 300, recompute: false, bytes: fixed + 300 * 720 });
  expect(() => planMemory(info, settings({ memory: fixed }))).toThrow(
    /^expected at least \d+ MiB for memory with this model, received \d+ MiB$/,
  );
});

test("the longest row is bounded by the model's context, and by memory", () => {
  expect(planLimits(settings(), info).maxLength).toBe(1024);
  expect(planLimits(settings(), { ...info, contextLength: 512 }).maxLength).toBe(512);
  expect(planLimits(settings({ maxLength: 4096 }), info).maxLength).toBe(4096);
  expect(() => planLimits(settings({ maxLength: 4097 }), info)).toThrow("expected at most 4096 tokens");
  const fixed = planMemory(info, settings()).bytes - 512 * 720;
  expect(planLimits(settings({ memory: fixed + 100 * 440 }), info).maxLength).toBe(100);
});

test("steps from epochs, or as given; four validations a run", () => {
  const limits = planLimits(settings(), info);
  expect(planRun(settings(), limits, 2000)).toMatchObject({
    steps: 125,
    evaluateEvery: 32,
    schedule: { warmup: 4 },
    validationLimit: 100,
  });
  expect(planRun(settings(), limits, 10).validationLimit).toBe(50);
  expect(planRun(settings(), limits, 20_000).validationLimit).toBe(500);
  expect(planRun(settings({ validationLimit: 7 }), limits, 20_000).validationLimit).toBe(7);
  expect(planRun(settings({ epochs: 2 }), limits, 17).steps).toBe(4);
  expect(planRun(settings({ epochs: 0.5 }), limits, 160).steps).toBe(5);
  expect(planRun(settings({ steps: 7, evaluateEvery: 3 }), limits, 160)).toMatchObject({ steps: 7, evaluateEvery: 3 });
});
