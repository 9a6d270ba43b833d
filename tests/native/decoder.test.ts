// Continuous batching through the addon, the same tests on our engine and on llama.cpp: what an answer depends on, memory, sharing,
// stop texts, grammars, log-probabilities, cancelling and closing.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  addonPath,
  type NativeDecoder,
  type NativeDecoderOptions,
  type NativeModel,
  type NativeTokenizer,
  native,
} from "../../src/support/native.js";
import { decodeAll, essence, requestOf, runToEnd } from "../support/decoding.js";
import { gradientGoldens } from "../support/golden.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { toyLora, writeToy } from "../support/toy.js";

let file = "";
let folder = "";
let tokenizer: NativeTokenizer;
const models: NativeModel[] = [];
beforeAll(async () => {
  file = writeTextToy();
  folder = path.dirname(file);
  tokenizer = await native().openTokenizer(file);
});
afterAll(async () => {
  await Promise.all(models.map((model) => model.close()));
  await tokenizer.close();
  rmSync(folder, { recursive: true, force: true });
});

type Open = (
  options?: Partial<NativeDecoderOptions>,
  of?: { path: string; tokenizer: NativeTokenizer; adapter?: string },
) => Promise<NativeDecoder>;
const limits = { memory: 2 ** 24, sequences: 16, stepTokens: 64 };
const llamaOptions = { threads: 1, adapter: null, gpuLayers: 0, backends: [], exact: true };

const ours: Open = async (options = {}, of = { path: file, tokenizer }) => {
  const model = await native().openModel(of.path, { threads: 1, variant: null });
  models.push(model);
  let lora = null;
  if (of.adapter !== undefined) {
    const { alpha, tensors } = await native().readAdapter(of.adapter);
    const { options } = toyLora(toyOf(of.path));
    lora = model.createLora({ ...options, alpha });
    lora.load(tensors);
  }
  return model.createDecoder(lora, of.tokenizer, { ...limits, ...options });
};
const llama: Open = (options = {}, of = { path: file, tokenizer }) =>
  native().openDecoder(of.path, of.tokenizer, { ...limits, ...llamaOptions, adapter: of.adapter ?? null, ...options });

const toyOf = (model: string) =>
  gradientGoldens().find(({ name }) => name === path.basename(model, ".gguf")) ?? textToy;
const executors: [string, Open][] = [
  ["our engine", ours],
  ["llama.cpp", llama],
];

async function using<T>(opening: Promise<NativeDecoder>, body: (decoder: NativeDecoder) => Promise<T>): Promise<T> {
  const decoder = await opening;
  try {
    return await body(decoder);
  } finally {
    await decoder.close();
  }
}
/** count bytes of text from a fixed sequence. */
const bytes = (count: number, seed: number) =>
  Array.from({ length: count }, (_, i) => (i * 31 + seed * 17 + i * i) % 90);
const beginning = bytes(100, 1);
const kinds = (seed: number) =>
  seed % 3 === 0
    ? {}
    : seed % 3 === 1
      ? { temperature: 1, topK: 20, seed }
      : { temperature: 0.7, topP: 0.9, minP: 0.02, seed };
const requests = Array.from({ length: 12 }, (_, seed) =>
  requestOf([...(seed % 2 ? beginning : []), ...bytes(3 + seed * 4, seed)], {
    maxTokens: 4 + seed,
    logProbabilities: 1,
    ...kinds(seed),
  }),
);

describe.each(executors)("%s", (name, open) => {
  it("gives each request what it gets alone, whatever runs beside it", async () => {
    const alone = [];
    for (const request of requests) alone.push(...(await using(open(), (decoder) => decodeAll(decoder, [request]))));
    expect(new Set(alone.map(({ text }) => text)).size).toBeGreaterThan(8);
    const shuffled = [...requests.keys()].sort((a, b) => ((a * 7) % 12) - ((b * 7) % 12));
    for (const [order, options] of [
      [[...requests.keys()], {}],
      [shuffled, {}],
      [shuffled, { sequences: 3, stepTokens: 9 }],
    ] as const) {
      const together = await using(open(options), (decoder) =>
        decodeAll(
          decoder,
          order.map((at) => requests[at]!),
        ),
      );
      for (const [index, at] of order.entries()) {
        const [got, expected] = [essence(together[index]!), essence(alone[at]!)];
        if (name === "our engine") expect(got).toEqual(expected);
        // llama.cpp rounds otherwise in other batches.
        else expect({ ...got, logProbabilities: [] }).toEqual({ ...expected, logProbabilities: [] });
        for (const [i, value] of got.logProbabilities.entries())
          expect(Math.abs(value - expected.logProbabilities[i]!)).toBeLessThan(1e-4);
      }
    }
  });

  it("computes a shared beginning once, also while it is being computed", async () => {
    await using(open({ stepTokens: 40 }), async (decoder) => {
      for (let i = 0; i < 4; i++) decoder.add(requestOf([...beginning, ...bytes(3, 50 + i)], { maxTokens: 6 }));
      let prompts = 0;
      const answers = await runToEnd(decoder, (step) => {
        prompts += step.promptTokens;
      });
      expect([...answers.values()].map(({ sharedTokens }) => sharedTokens).sort((a, b) => a - b)).toEqual([
        0, 96, 96, 96,
      ]);
      expect(prompts).toBe(103 + 3 * 7);
    });
  });

  it("lets requests wait for memory, and refuses with numbers what can never fit", async () => {
    // 2 layers, 2 heads of 8, keys and values, 32 positions: 8192 bytes a page in f32.
    await using(open({ memory: 4 * 8192 }), async (decoder) => {
      for (let i = 0; i < 5; i++) decoder.add(requestOf(bytes(40, i), { maxTokens: 20 }));
      let most = 0;
      const answers = await runToEnd(decoder, ({ running }) => {
        most = Math.max(most, running);
      });
      expect(answers.size).toBe(5);
      expect(most).toBe(2);
      expect(decoder.refuses(100, 29)).toBeNull();
      expect(decoder.refuses(100, 30)).toBe("their keys and values take 40960 bytes, memory is 32768");
      expect(() => decoder.add(requestOf(bytes(100, 1), { maxTokens: 30 }))).toThrow(
        /100 tokens with an answer of up to 30 does not fit/,
      );
      expect(decoder.refuses(250, 8)).toBe("257 tokens are more than the model's context of 256");
    });
  });

  it("ends at a stop text that several tokens spell", async () => {
    await using(open(), async (decoder) => {
      const free = requestOf(bytes(20, 3), { maxTokens: 60, temperature: 1, seed: 5 });
      const [whole] = await decodeAll(decoder, [free]);
      const stops = [...whole!.text.matchAll(/(?=([ -~]{2}))/g)].map(([, two]) => two!);
      expect(stops.length).toBeGreaterThan(2);
      for (const stop of stops) {
        const [cut] = await decodeAll(decoder, [{ ...free, stop: ["never", stop] }]);
        expect(cut).toMatchObject({ ended: "stop", text: whole!.text.slice(0, whole!.text.indexOf(stop)) });
        expect([...cut!.tokens]).toEqual([...whole!.tokens.slice(0, cut!.tokens.length)]);
      }
    });
  });

  it("keeps to a grammar", async () => {
    await using(open(), async (decoder) => {
      const grammar = 'root ::= "{" [a-z]{2,4} (", " [0-9]+)? "}"';
      const answers = await decodeAll(
        decoder,
        [0, 1, 2, 3, 4, 5].map((seed) =>
          requestOf(bytes(9, seed), { maxTokens: 80, grammar, temperature: seed % 2 ? 1 : 0, seed }),
        ),
      );
      for (const { text, ended } of answers) {
        if (ended === "end") expect(text).toMatch(/^\{[a-z]{2,4}(, [0-9]+)?\}$/);
        else expect(text).toMatch(/^\{[a-z]{2,4}, [0-9]+$/);
      }
      expect(answers.some(({ ended }) => ended === "end")).toBe(true);
      expect(() => decoder.add(requestOf([1], { grammar: "branch ::= [a]" }))).toThrow(
        /GBNF grammar with a rule root for grammar/,
      );
    });
  });

  it("gives log-probabilities of the chosen and the most likely tokens", async () => {
    await using(open(), async (decoder) => {
      const [answer] = await decodeAll(decoder, [requestOf(bytes(12, 4), { maxTokens: 5, logProbabilities: 258 })]);
      const { tokens, values } = answer!.logProbabilities;
      expect(tokens.length).toBe(answer!.tokens.length * 259);
      for (const [i, token] of answer!.tokens.entries()) {
        const row = values.subarray(i * 259, (i + 1) * 259);
        expect(tokens[i * 259]).toBe(token);
        expect(tokens[i * 259 + 1]).toBe(token); // greedy: the most likely one
        expect(row.slice(1).every((value, at, all) => at === 0 || all[at - 1]! >= value)).toBe(true);
        expect(row.slice(1).reduce((sum, value) => sum + Math.exp(value), 0)).toBeCloseTo(1, 4);
      }
    });
  });

  it("cancels one request in any state, and its neighbours go on as they would", async () => {
    const shared = [0, 1, 2, 3, 4].map((seed) => requestOf([...beginning, ...bytes(3, seed)], { maxTokens: 9 }));
    const expected = await using(open(), (decoder) => decodeAll(decoder, shared));
    for (const gone of [0, 2, 4])
      for (const when of [0, 1, 3, 6]) {
        await using(open({ stepTokens: 40, sequences: 4 }), async (decoder) => {
          const ids = shared.map((request) => decoder.add(request));
          let steps = 0;
          if (when === 0) expect(decoder.cancel(ids[gone]!)).toBe(true);
          const answers = await runToEnd(decoder, () => {
            if (++steps === when) expect(decoder.cancel(ids[gone]!)).toBe(true);
          });
          for (const [at, id] of ids.entries()) {
            if (at === gone) expect(answers.get(id)!.ended).toBe("cancelled");
            else expect(essence(answers.get(id)!)).toEqual(essence(expected[at]!));
          }
          expect(decoder.cancel(ids[gone]!)).toBe(false);
          expect(essence((await decodeAll(decoder, [shared[gone]!]))[0]!)).toEqual(essence(expected[gone]!));
        });
      }
  });

  it("takes requests while a step runs, and close waits for it", async () => {
    const decoder = await open();
    decoder.add(requestOf(bytes(200, 1)));
    const first = decoder.step();
    const id = decoder.add(requestOf(bytes(5, 2), { maxTokens: 1 }));
    expect((await first).finished).toEqual([]);
    expect((await runToEnd(decoder)).get(id)!.ended).toMatch(/length|end/);
    decoder.add(requestOf(bytes(200, 3)));
    const order: string[] = [];
    const step = decoder.step().then(() => order.push("step"));
    const closes = [decoder.close(), decoder.close()].map((close) => close.then(() => order.push("close")));
    await expect(decoder.step()).rejects.toMatchObject({ code: "usage", message: "the decoder is closed" });
    expect(() => decoder.add(requestOf([1]))).toThrow("the decoder is closed");
    await Promise.all([step, ...closes]);
    expect(order).toEqual(["step", "close", "close"]);
  });

  it("names what is wrong with a request", async () => {
    await using(open(), async (decoder) => {
      for (const [change, message] of [
        [{ prompt: new Int32Array(0) }, "at least one token for prompt, received none"],
        [{ prompt: Int32Array.of(258) }, "tokens below 258 for prompt, received 258"],
        [{ maxTokens: 0 }, "for maxTokens, received 0"],
        [{ stop: [""] }, 'expected a text for stop, received ""'],
        [{ stop: "x" }, 'expected an array for stop, received "x"'],
        [{ temperature: Number.NaN }, "for temperature, received NaN"],
        [{ seed: -1 }, "for seed, received -1"],
        [{ topP: 0 }, "for topP"],
      ] as [object, string][])
        expect(() => decoder.add({ ...requestOf([1]), ...change })).toThrow(message);
      expect(await decoder.step()).toMatchObject({ finished: [], waiting: 0, running: 0 });
    });
  });
});

describe("both", () => {
  it.each(["llama", "llama-factors", "qwen2", "qwen3-tied"])(
    "say the same: %s, with and without an adapter",
    async (name) => {
      const toy = gradientGoldens().find((golden) => golden.name === name)!;
      const model = path.join(folder, `${name}.gguf`);
      writeToy(model, toy);
      const adapter = path.join(folder, `${name}-adapter.gguf`);
      const { options, tensors } = toyLora(toy);
      // llama.cpp runs no LoRA on embeddings that are tied.
      const linear = tensors.filter((tensor) => tensor.name.startsWith("blk."));
      const alpha = options.rsLora ? options.alpha * Math.sqrt(options.rank) : options.alpha;
      await native().writeAdapter(adapter, linear, { architecture: toy.architecture, alpha, name });
      const own = await native().openTokenizer(model);
      const prompts = [1, 2, 3, 4, 5].map((seed) =>
        requestOf(
          bytes(3 + 6 * seed, seed).map((byte) => byte % toy.vocabulary),
          { maxTokens: 12, logProbabilities: 2 },
        ),
      );
      const answers = [];
      for (const of of [
        { path: model, tokenizer: own },
        ...(linear.length > 0 ? [{ path: model, tokenizer: own, adapter }] : []),
      ]) {
        const [a, b] = [
          await using(ours({}, of), (d) => decodeAll(d, prompts)),
          await using(llama({}, of), (d) => decodeAll(d, prompts)),
        ];
        for (const [i, one] of a.entries()) {
          expect([...one.tokens]).toEqual([...b[i]!.tokens]);
          for (const [at, value] of one.logProbabilities.values.entries())
            expect(Math.abs(value - b[i]!.logProbabilities.values[at]!)).toBeLessThan(1e-4);
        }
        answers.push(a.map(({ tokens }) => [...tokens]));
      }
      expect(answers[0]).not.toEqual(answers[1]);
      await own.close();
    },
  );

  it("refuse a GPU that is not there, and a tokenizer that is none", async () => {
    const wanted = native().openDecoder(file, tokenizer, {
      ...limits,
      ...llamaOptions,
      gpuLayers: 1,
      backends: ["/nowhere/libggml-cuda.so"],
    });
    await expect(wanted).rejects.toMatchObject({
      code: "missing",
      message: "llama.cpp finds no GPU with /nowhere/libggml-cuda.so",
    });
    await expect(native().openDecoder(file, {} as never, { ...limits, ...llamaOptions })).rejects.toThrow(
      "expected a tokenizer (openTokenizer) for tokenizer",
    );
    await expect(llama({ memory: 100 })).rejects.toThrow("expected at least 8192 for memory, received 100");
  });

  it("our decoder ends with its model", async () => {
    const model = await native().openModel(file, { threads: 1, variant: null });
    const decoder = await model.createDecoder(null, tokenizer, limits);
    decoder.add(requestOf([1]));
    await model.close();
    await expect(decoder.step()).rejects.toMatchObject({ code: "usage", message: "the model is closed" });
    await decoder.close();
  });

  const program = (end: string) => `
    const addon = require(process.argv[1]);
    (async () => {
      const tokenizer = await addon.openTokenizer(process.argv[2]);
      const limits = ${JSON.stringify(limits)};
      const model = await addon.openModel(process.argv[2], { threads: 2, variant: null });
      const decoders = [await model.createDecoder(null, tokenizer, limits), await addon.openDecoder(process.argv[2], tokenizer, { ...limits, ...${JSON.stringify(llamaOptions)} })];
      for (const decoder of decoders) decoder.add({ ...${JSON.stringify({ ...requestOf([]), maxTokens: 200 })}, prompt: Int32Array.of(1, 2, 3) });
      const work = () => decoders.map((decoder) => decoder.step());
      ${end}
    })();`;
  it.each([
    ["open", "await Promise.all(work());"],
    ["busy, by running out of work", "work();"],
    ["busy, by process.exit", "work(); process.exit(0);"],
    [
      "closed in any order",
      "await Promise.all([model.close(), tokenizer.close()]); await Promise.all(decoders.map((decoder) => decoder.close()));",
    ],
  ])("the process exits cleanly while they are %s", (_name, end) => {
    const child = spawnSync(process.execPath, ["--eval", program(end), addonPath(), file], {
      encoding: "utf8",
      timeout: 50_000,
    });
    expect({ status: child.status, signal: child.signal, stderr: child.stderr }).toEqual({
      status: 0,
      signal: null,
      stderr: "",
    });
  });
});
