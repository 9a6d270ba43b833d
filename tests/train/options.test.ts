// Options, memory and plan, with numbers that can be written by hand.
import { expect, test } from "vitest";
import type { NativeModelInfo } from "../../src/support/native.js";
import type { Encoded } from "../../src/tokens/index.js";
import {
  activationBytes,
  frozenStateBytes,
  planMemory,
  rowBytes,
  textBytes,
  trainedParameters,
} from "../../src/train/memory.js";
import { type TuneOptions, type TuneSettings, tuneSettings } from "../../src/train/options.js";
import { keepFrozen, planLimits, planRun, requirePatience } from "../../src/train/plan.js";

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

test("what each method trains by default", () => {
  const linear = ["q", "k", "v", "o", "gate", "up", "down"];
  const full = settings({ method: "full" });
  expect(full).toMatchObject({ rank: null, alpha: null, layers: null, learningRate: 2e-5, optimizer: "adamw" });
  expect(full.targets).toEqual([...linear, "norms", "biases", "head", "final_norm", "embeddings"]);
  expect(settings({ method: "full", layers: [3, 1] })).toMatchObject({
    targets: [...linear, "norms", "biases"],
    layers: [1, 3],
  });
  expect(settings({ method: "full", layers: [1], targets: ["head", "norms"] }).targets).toEqual(["norms", "head"]);
  expect(settings({ method: "head" })).toMatchObject({
    targets: ["head", "final_norm"],
    layers: null,
    learningRate: 2e-4,
  });
  expect(settings({ layers: [0] })).toMatchObject({ targets: linear, layers: [0], rank: 16 });
});

const refused: [Partial<Record<keyof TuneOptions | "learnrate" | "learningrate", unknown>>, string][] = [
  [{ model: "" }, "expected a text that is not empty for model"],
  [{ out: undefined }, "expected a value for out, received undefined"],
  [{ method: "magic" }, 'expected one of lora, full, head for method, received "magic"'],
  [{ method: "full", rank: 8 }, 'expected method "lora" for rank, received 8'],
  [{ method: "head", targets: ["q"] }, "expected different names out of head, final_norm for targets"],
  [{ method: "head", layers: [1] }, 'expected method "lora" or "full" for layers'],
  [{ method: "full", precision: "bf16" }, 'expected "f32" with method "full" for precision, received "bf16"'],
  [{ targets: ["norms"] }, "for targets"],
  [{ layers: [] }, "expected different whole numbers of at least 0 for layers"],
  [{ layers: [1, 1] }, "for layers, received 1"],
  [{ layers: [-1] }, "for layers, received -1"],
  [{ layers: [1], targets: ["q", "head"] }, "together with layers for targets"],
  [{ method: "full", layers: [1], targets: ["head"] }, "expected at least one of q, k, v, o, gate, up, down, norms"],
  [{ optimizer: "sgd" }, "expected one of adamw, adamw_8bit for optimizer"],
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

test("activations and trained weights by hand", () => {
  const kept = (options: Partial<TuneOptions>, recompute = false) =>
    activationBytes(info, recompute, settings(options));
  // In passing 7*10 widths, 2*(10 + 5 + 20) projected and the widest of them, 20: 640.
  // A layer keeps 2*10, what is projected, 2 heads' sums, 7 * 16 of the adapter: 816; without an adapter 368, and 720 in passing.
  expect(kept({})).toBe(640 + 2 * 816);
  expect(kept({}, true)).toBe(640 + 2 * 10 * 4 + 816);
  // Below the lowest layer nothing is kept; above all layers one layer's worth is passing.
  expect(kept({ layers: [1] })).toBe(640 + 816);
  expect(kept({ method: "head" })).toBe(720 + 368);
  expect(kept({ method: "head" }, true)).toBe(720 + 368);
  expect(kept({ method: "full", layers: [1], targets: ["q", "embeddings"] })).toBe(720 + 2 * 368);
  expect(activationBytes({ ...info, architecture: "qwen3" }, false, settings())).toBe(640 + 2 * (816 + 60));
  const trained = (options: Partial<TuneOptions>, tiedEmbeddings = false) =>
    trainedParameters({ ...info, tiedEmbeddings }, settings(options));
  // q 10+10, k 10+5, v 10+5, o 10+10, gate, up, down 30 each: 160 a layer and rank
  expect(trained({})).toBe(2 * 16 * 160);
  expect(trained({ targets: ["q", "head"], rank: 2 })).toBe(2 * 2 * 20 + 2 * 110);
  expect(trained({ layers: [1], rank: 2 })).toBe(2 * 160);
  // q 100, k 50, v 50, o 100, gate, up, down 200 each: 900 a layer; norms 30, biases 20; embeddings 1000
  expect(trained({ method: "full" })).toBe(2 * 950 + 10 + 2000);
  expect(trained({ method: "full" }, true)).toBe(2 * 950 + 10 + 1000);
  expect(trained({ method: "full", layers: [0] })).toBe(950);
  expect(trained({ method: "head" }, true)).toBe(1010);
});

/** The loss over so many tokens takes more than reading rows did. */
const large = { ...info, vocabulary: 2e5 };

test("a trained weight takes 16 bytes, or 10 with moments in 8 bits", () => {
  const bytes = (options: Partial<TuneOptions>) => planMemory(large, settings(options)).bytes;
  const [both, one] = [bytes({ method: "full", targets: ["q", "o"] }), bytes({ method: "full", targets: ["q"] })];
  expect(both - one).toBe(200 * 16);
  const narrow = { method: "full", optimizer: "adamw_8bit" } as const;
  expect(bytes({ ...narrow, targets: ["q", "o"] }) - bytes({ ...narrow, targets: ["q"] })).toBeCloseTo(
    200 * 10.03125,
    6,
  );
});

test("memory chooses the micro-batch, then recomputation, and refuses what cannot work", () => {
  const fixed = planMemory(large, settings()).bytes - 512 * 2272;
  expect(planMemory(large, settings())).toMatchObject({ tokenBudget: 512, recompute: false });
  expect(planMemory(large, settings({ tokenBudget: 50 }))).toMatchObject({ tokenBudget: 50, recompute: false });
  expect(planMemory(large, settings({ memory: fixed + 512 * 2272 }))).toMatchObject({
    tokenBudget: 512,
    recompute: false,
  });
  expect(planMemory(large, settings({ memory: fixed + 300 * 2272 }))).toMatchObject({
    tokenBudget: 443,
    recompute: true,
  });
  const kept = settings({ memory: fixed + 300 * 2272, recompute: false });
  expect(planMemory(large, kept)).toEqual({ tokenBudget: 300, recompute: false, bytes: fixed + 300 * 2272 });
  expect(() => planMemory(large, settings({ memory: fixed }))).toThrow(
    /^expected at least \d+ MiB for memory with this model and these rows, received \d+ MiB$/,
  );
});

test("rows count by their number, characters and tokens, and leave the rest to the micro-batch", () => {
  const encoded = [1, 2].map((answer) => ({ prompt: new Int32Array(10), answer: new Int32Array(answer) }) as Encoded);
  // {"a":"xyz"} has 11 characters, {} has 2; 11 and 12 tokens.
  const rows = rowBytes([{ fields: { a: "xyz" } }, { fields: {} }], encoded);
  expect(rows).toBe(2 * 300 + 13 * 2 + 2 * 450 + 23 * 4);
  expect(textBytes([{ text: "xyz" }, { text: "x" }])).toBe(2 * 750 + 4 * 6);
  const fixed = planMemory(large, settings()).bytes - 512 * 2272;
  const limited = settings({ memory: fixed + 100 * 1536 });
  expect(planLimits(limited, large, 40 * 1536)).toMatchObject({ tokenBudget: 60, maxLength: 60 });
});

test("the longest row is bounded by the model's context, and by memory", () => {
  expect(planLimits(settings(), info).maxLength).toBe(1024);
  expect(planLimits(settings(), { ...info, contextLength: 512 }).maxLength).toBe(512);
  expect(planLimits(settings({ maxLength: 4096 }), info).maxLength).toBe(4096);
  expect(() => planLimits(settings({ maxLength: 4097 }), info)).toThrow("expected at most 4096 tokens");
  const fixed = planMemory(large, settings()).bytes - 512 * 2272;
  expect(planLimits(settings({ memory: fixed + 100 * 1536 }), large).maxLength).toBe(100);
});

test("a small model's run takes what reading its rows took", () => {
  const least = (200 + 64) * 2 ** 20 + info.fileBytes;
  expect(planMemory(info, settings()).bytes).toBe(least);
  expect(planMemory(info, settings({ memory: least + 7 }), 7)).toMatchObject({ tokenBudget: 512, bytes: least + 7 });
  // What is held around the training stands beside no activations.
  expect(planMemory(large, settings(), 0, 9)).toEqual(planMemory(large, settings()));
  expect(planMemory(info, settings({ memory: least + 9 }), 2, 7)).toMatchObject({ tokenBudget: 512, bytes: least + 9 });
  expect(() => planMemory(info, settings({ memory: least + 8 }), 2, 7)).toThrow(/expected at least \d+ MiB for memory/);
  expect(() => planMemory(info, settings({ memory: least + 6 }), 7)).toThrow(/at least 265 MiB/);
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

test("a patience that can end no run is refused, with what helps", () => {
  const check = (patience: number | null, steps: number, evaluateEvery: number, validated = true) =>
    requirePatience({ patience }, { steps, evaluateEvery }, validated);
  // Validations after 3, 6, 9 and 10 steps: of the second and third the first may stay the best.
  expect(() => check(2, 10, 3)).not.toThrow();
  expect(() => check(null, 10, 3, false)).not.toThrow();
  expect(() => check(3, 10, 3)).toThrow(
    "patience 3 ends no run of 4 validations: leave it out, or validate more often with evaluateEvery",
  );
  expect(() => check(1, 10, 10)).toThrow("no run of 1 validation:");
  expect(() => check(1, 10, 1, false)).toThrow(/the task has no validation rows: leave it out, or give the task some/);
});

test("states of frozen layers are kept where rows come again, a layer lies below, and all fit", () => {
  const row = (...prompt: number[]): Encoded =>
    ({ prompt: Int32Array.from(prompt), answer: Int32Array.from([5, 6]) }) as Encoded;
  const rows = [row(1, 2, 3), row(1, 2, 4, 4)];
  const upper = settings({ layers: [1], batchSize: 1, epochs: 2 });
  // 9 tokens go in, 2 of them shared; states of 10 floats, 256 at once, and 64 bytes for each token's place.
  const bytes = 256 * 40 + 7 * 64;
  expect(frozenStateBytes(info, upper, rows)).toBe(bytes);
  expect(frozenStateBytes(info, { ...upper, sharePrefix: false }, rows)).toBe(256 * 40 + 9 * 64);
  expect(frozenStateBytes(info, settings({}), rows)).toBe(0);
  const kept = (options: TuneSettings, free: number) => {
    const plan = planRun(options, planLimits(options, info), rows.length);
    return keepFrozen(plan, options, info, rows, free).frozenBytes;
  };
  expect(kept(upper, 4 * bytes)).toBe(bytes);
  expect(kept(upper, 8 * bytes)).toBe(1.5 * bytes);
  expect(kept(upper, 4 * bytes - 4)).toBe(0);
  expect(kept({ ...upper, epochs: 1 }, 8 * bytes)).toBe(0);
  expect(kept(settings({ batchSize: 1, epochs: 2 }), 8 * bytes)).toBe(0);
  // Under a limit, what the limit leaves.
  const { bytes: whole } = planMemory(info, upper);
  expect(kept({ ...upper, memory: whole + bytes }, 0)).toBe(bytes);
  expect(kept({ ...upper, memory: whole + bytes - 1 }, 8 * bytes)).toBe(0);
});
