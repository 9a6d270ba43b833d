// The loop over steps: rows as they finish, requests that come over time, one row called off, everything called off, and what is refused.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gpuBackends } from "../../src/decode/gpu.js";
import {
  type DecodedRow,
  type DecodeProgress,
  type DecodeRequest,
  decode,
  type Model,
  openModel,
} from "../../src/index.js";
import { native } from "../../src/support/native.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { toyLora } from "../support/toy.js";

let file = "";
let other = "";
let model: Model;
beforeAll(async () => {
  file = writeTextToy();
  // The same weights, but our engine knows no sliding windows: llama.cpp runs it.
  other = writeTextToy({ "llama.attention.sliding_window": 64 });
  model = await openModel(file, { threads: 2 });
});
afterAll(async () => {
  await model.close();
  for (const one of [file, other]) rmSync(path.dirname(one), { recursive: true, force: true });
});

async function all(rows: AsyncIterable<DecodedRow>): Promise<DecodedRow[]> {
  const finished: DecodedRow[] = [];
  for await (const row of rows) finished.push(row);
  return finished;
}
const texts = (rows: readonly DecodedRow[]) => [...rows].sort((a, b) => a.index - b.index).map(({ text }) => text);
const requests: DecodeRequest[] = Array.from({ length: 10 }, (_, i) => ({
  prompt: `Fruit ${i}:`,
  maxTokens: 3 + i * 4,
}));

describe("decode", () => {
  it("gives every row once, as it finishes, with what it cost", async () => {
    const progress: DecodeProgress[] = [];
    const rows = await all(decode(model, requests, { onProgress: (one) => progress.push(one) }));
    expect(rows.map(({ index }) => index).sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(rows[0]!.index).toBeLessThan(9);
    expect(rows.at(-1)!.tokens.length).toBeGreaterThan(rows[0]!.tokens.length);
    for (const row of rows) {
      expect(row).toMatchObject({ reason: null, logProbabilities: null, promptTokens: 8 });
      expect(row.seconds).toBeGreaterThanOrEqual(row.firstTokenSeconds);
    }
    expect(progress.at(-1)).toMatchObject({ rows: 10, running: 0, waiting: 0, promptTokens: 80 });
    expect(progress.map(({ rows }) => rows)).toEqual([...progress.map(({ rows }) => rows)].sort((a, b) => a - b));
  });

  it("takes a path, text and tokens, iterables of every kind", async () => {
    const expected = texts(await all(decode(model, requests)));
    const tokens = requests.map((one) => ({
      ...one,
      prompt: model.tokenizer.tokenize(one.prompt as string, false, false),
    }));
    expect(texts(await all(decode(file, tokens, { threads: 1 })))).toEqual(expected);
    expect(texts(await all(decode(model, new Set(requests), { sequences: 2 })))).toEqual(expected);
    let taken = 0;
    async function* overTime() {
      for (const request of requests) {
        taken++;
        // Far slower than a step: what runs does not wait for it.
        await new Promise((resolve) => setTimeout(resolve, taken === 2 ? 150 : 1));
        yield request;
      }
    }
    const order = [];
    for await (const row of decode(model, overTime())) order.push([row.index, taken]);
    expect(order[0]).toEqual([0, 2]);
    expect(order.length).toBe(10);
  });

  it("takes no more from the source than there is room for", async () => {
    let taken = 0;
    function* endless(): Generator<DecodeRequest> {
      for (;;) {
        taken++;
        yield { prompt: `Fruit ${taken}:`, maxTokens: 2 };
      }
    }
    let rows = 0;
    for await (const _ of decode(model, endless(), { sequences: 3 })) if (++rows === 12) break;
    expect(taken).toBeLessThan(12 + 2 * 3 + 3);
  });

  it("calls off one row, before it runs and while it runs", async () => {
    const expected = texts(await all(decode(model, requests)));
    const [early, late] = [new AbortController(), new AbortController()];
    early.abort();
    const signalled = requests.map((one, i) =>
      i === 7 ? { ...one, signal: early.signal } : i === 9 ? { ...one, signal: late.signal } : one,
    );
    let steps = 0;
    const rows = await all(
      decode(model, signalled, {
        onProgress: () => {
          if (++steps === 5) late.abort();
        },
      }),
    );
    const of = (index: number) => rows.find((row) => row.index === index)!;
    expect(of(7)).toMatchObject({ ended: "cancelled", text: "" });
    expect(of(9).ended).toBe("cancelled");
    expect(of(9).tokens.length).toBe(5);
    expect(texts(rows).filter((_, i) => i !== 7 && i !== 9)).toEqual(expected.filter((_, i) => i !== 7 && i !== 9));
  });

  it("is called off as a whole between two steps, and leaves the model usable", async () => {
    const controller = new AbortController();
    let steps = 0;
    const work = all(
      decode(model, requests, {
        signal: controller.signal,
        onProgress: () => {
          if (++steps === 3) controller.abort();
        },
      }),
    );
    await expect(work).rejects.toMatchObject({
      code: "cancelled",
      message: expect.stringMatching(/^cancelled while decoding, after \d rows$/),
    });
    expect(steps).toBe(3);
    expect((await all(decode(model, requests.slice(0, 1)))).length).toBe(1);
  });

  it("passes on what the source throws", async () => {
    function* broken(): Generator<DecodeRequest> {
      yield requests[0]!;
      throw new Error("the source broke");
    }
    await expect(all(decode(model, broken()))).rejects.toThrow("the source broke");
  });

  it("refuses a row that can never fit, and goes on", async () => {
    const rows = await all(
      decode(model, [requests[0]!, { prompt: "x".repeat(300) }, { prompt: "a", maxTokens: 257 }, requests[1]!]),
    );
    expect(
      rows
        .filter(({ ended }) => ended === "refused")
        .map(({ index, reason, promptTokens }) => ({ index, reason, promptTokens })),
    ).toEqual([
      { index: 1, reason: "555 tokens are more than the model's context of 256", promptTokens: 300 },
      { index: 2, reason: "257 tokens are more than the model's context of 256", promptTokens: 1 },
    ]);
    expect(rows.length).toBe(4);
  });

  it("names a wrong request and a wrong option", async () => {
    for (const [request, options, message] of [
      [{ prompt: 3 }, {}, "expected a text or an Int32Array for prompt, received 3"],
      [{ prompt: "" }, {}, "expected at least one token for prompt, received none"],
      [{ prompt: "a", tempreature: 1 }, {}, "a request has no option tempreature; did you mean temperature?"],
      [{ prompt: "a", temperature: -1 }, {}, "for temperature, received -1"],
      [{ prompt: "a", maxTokens: 1.5 }, {}, "for maxTokens, received 1.5"],
      [{ prompt: "a", temperature: 1e-4 }, {}, "0 or a number from 0.001 to 100 for temperature, received 0.0001"],
      [{ prompt: "a", topP: Number.NaN }, {}, "a number above 0, at most 1 for topP, received NaN"],
      [{ prompt: "a", minP: "x" }, {}, 'a number from 0 to 1 for minP, received "x"'],
      [{ prompt: "a", repetitionPenalty: -1 }, {}, "a positive number for repetitionPenalty, received -1"],
      [{ prompt: "a", signal: {} }, {}, "request 0: expected an AbortSignal for signal, received {}"],
      [{ prompt: "a", stop: "xyf" }, {}, 'expected an array of texts for stop, received "xyf"'],
      [{ prompt: "a", stop: ["x", ""] }, {}, 'expected texts that are not empty for stop, received ""'],
      [{ prompt: "a", grammar: "" }, {}, 'expected a GBNF grammar with a rule root for grammar, received ""'],
      [{ prompt: "a", schema: { $ref: "#" } }, {}, "request 0: the schema refers to nothing but itself at #/$ref"],
      [null, {}, "request 0: expected an object with a prompt for a request, received null"],
      ["ab", {}, 'request 0: expected an object with a prompt for a request, received "ab"'],
      [{ prompt: "a" }, { signal: {} }, "expected an AbortSignal for signal, received {}"],
      [{ prompt: "a" }, { onProgress: 5 }, "expected a function for onProgress, received 5"],
      [{ prompt: "a" }, null, "expected an object for options, received null"],
      [{ prompt: "a", grammar: "root ::= [a]", schema: true }, {}, "expected a grammar or a schema, received both"],
      [{ prompt: "a" }, { sequences: 0 }, "expected a whole number from 1 to 4096 for sequences, received 0"],
      [{ prompt: "a" }, { memory: 0.5 }, "for memory, received 0.5"],
      [{ prompt: "a" }, { sequence: 4 }, "decode has no option sequence; did you mean sequences?"],
      [{ prompt: "a" }, { gpuLayers: -1 }, "for gpuLayers, received -1"],
    ] as [DecodeRequest, object, string][]) {
      await expect(all(decode(model, [request], options))).rejects.toMatchObject({
        code: "usage",
        message: expect.stringContaining(message),
      });
    }
  });

  it("names what cannot be taken one by one, before there is a model", async () => {
    for (const wrong of [5, "ab", null, { prompt: "a" }] as unknown as DecodeRequest[][]) {
      await expect(all(decode("/nowhere.gguf", wrong))).rejects.toMatchObject({
        code: "usage",
        message: expect.stringMatching(/^expected an array or another iterable of requests for requests, received /),
      });
    }
  });

  it("says which request is wrong", async () => {
    const wrong = [requests[0]!, requests[1]!, { prompt: "", maxTokens: 2 }, requests[3]!];
    await expect(all(decode(model, wrong))).rejects.toMatchObject({
      code: "usage",
      message: "request 2: expected at least one token for prompt, received none",
    });
  });

  it("says what memory was given and what is needed", async () => {
    const [row] = await all(decode(model, requests.slice(0, 1), { memory: 100, sequences: 1 }));
    expect(row).toMatchObject({ ended: "refused", reason: expect.stringMatching(/take \d+ bytes, memory is 100$/) });
  });

  it("keeps to a schema, and gives log-probabilities by token", async () => {
    const schema = {
      type: "object",
      properties: { ripe: { type: "boolean" } },
      required: ["ripe"],
      additionalProperties: false,
    } as const;
    const [row] = await all(
      decode(model, [{ prompt: "Ripe?", schema, logProbabilities: 2, temperature: 1, maxTokens: 120 }]),
    );
    expect(row!.ended).toBe("end");
    expect(typeof JSON.parse(row!.text).ripe).toBe("boolean");
    expect(row!.logProbabilities!.map(({ token }) => token)).toEqual([...row!.tokens]);
    for (const { logProbability, mostLikely } of row!.logProbabilities!) {
      expect(mostLikely.length).toBe(2);
      expect(mostLikely[0]!.logProbability).toBeGreaterThanOrEqual(logProbability);
    }
  });

  it("applies an adapter, from a folder or loaded", async () => {
    const { options, tensors } = toyLora(textToy);
    const adapter = path.join(path.dirname(file), "adapter.gguf");
    await native().writeAdapter(adapter, tensors, { architecture: "llama", alpha: options.alpha, name: "toy" });
    const plain = texts(await all(decode(model, requests)));
    expect(texts(await all(decode(model, requests, { adapter })))).not.toEqual(plain);
    await expect(all(decode(model, requests, { adapter: "/nowhere" }))).rejects.toMatchObject({ code: "missing" });
  });
});

describe("a model that only llama.cpp opens", () => {
  it("is answered the same way, with its adapter", async () => {
    const { options, tensors } = toyLora(textToy);
    const adapter = path.join(path.dirname(other), "adapter.gguf");
    await native().writeAdapter(adapter, tensors, { architecture: "llama", alpha: options.alpha, name: "toy" });
    const theirs = await openModel(other, { threads: 1 });
    expect(theirs.tunable).toBe(false);
    expect(texts(await all(decode(theirs, requests)))).toEqual(texts(await all(decode(model, requests))));
    expect(texts(await all(decode(theirs, requests, { adapter })))).toEqual(
      texts(await all(decode(model, requests, { adapter }))),
    );
    await expect(all(decode(theirs, requests, { adapter: "/nowhere" }))).rejects.toMatchObject({
      code: "input",
      message: expect.stringContaining("GGUF LoRA for adapter"),
    });
    await theirs.close();
  });
});

describe("a GPU", () => {
  it("that nobody installed is missing, with the package's name", async () => {
    await expect(all(decode(model, requests, { gpuLayers: 1 }))).rejects.toMatchObject({
      code: "missing",
      message: expect.stringContaining(`@node-llama-cpp/linux-${process.arch}-cuda`),
    });
  });

  it("is looked for in node-llama-cpp's packages, CUDA first", () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-gpu-"));
    const put = (name: string, library: string) => {
      const bins = path.join(folder, `@node-llama-cpp/linux-${process.arch}-${name}/bins/here`);
      mkdirSync(bins, { recursive: true });
      writeFileSync(path.join(bins, library), "");
      return path.join(bins, library);
    };
    const vulkan = put("vulkan", "libggml-vulkan.so");
    put("vulkan", "libggml-cpu-haswell.so");
    const cuda = put("cuda", "libggml-cuda.so");
    expect(gpuBackends("linux", [folder])).toEqual([cuda, vulkan]);
    expect(gpuBackends("darwin", [])).toEqual([]);
    rmSync(folder, { recursive: true });
  });
});
