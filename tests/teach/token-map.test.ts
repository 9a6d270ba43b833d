// A trimmed student's tokens for its teacher's: which tokenizers are one, numbers there and back, and the mass of what the student has not.
import { describe, expect, test } from "vitest";
import { openModel } from "../../src/model/index.js";
import { TokenMap } from "../../src/teach/index.js";
import type { Metadata } from "../support/gguf.js";
import { byteAlphabet, textToy, writeTextToy } from "../support/text_toy.js";

const entry = (token: number, p: number) => ((token << 14) | Math.round(-512 * Math.log(p))) >>> 0;
const nothing = 2 ** 32 - 1;

test("tokens go to the teacher's numbers", () => {
  const map = TokenMap.trimmed(Int32Array.of(2, 5, 6), 9);
  const row = { index: 0, file: "f", line: 1, fields: {}, answer: "", value: "" };
  const [mapped] = map.rowsOfTeacher([{ prompt: Int32Array.of(0, 2), answer: Int32Array.of(1), row }]);
  expect(mapped).toEqual({ prompt: Int32Array.of(2, 6), answer: Int32Array.of(5), row });
  const segments = Int32Array.of(0, 2, -1);
  const batch = {
    tokens: Int32Array.of(1, 1),
    segments,
    queryPositions: Int32Array.of(0),
    queryTokens: Int32Array.of(2),
  };
  expect(map.batchOfTeacher(batch)).toEqual({ ...batch, tokens: Int32Array.of(5, 5), queryTokens: Int32Array.of(6) });
});

test("a teacher that has a part of the student's tokens", () => {
  const map = TokenMap.trimmed(Int32Array.of(2, 5, 6), 9).turned();
  expect([...map.ids!]).toEqual([-1, -1, 0, -1, -1, 1, 2, -1, -1]);
  expect([...map.own]).toEqual([2, 5, 6]);
  expect([[6, 2, 3, 5], [5, 6], []].map((tokens) => map.readable(Int32Array.from(tokens)))).toEqual([2, 2, 0]);
  const taught = { topK: 2, tail: "bucket" as const, entries: Uint32Array.of(entry(1, 0.5), nothing) };
  // Nothing is lost: the student's further tokens are of its tail, of which the teacher's mass is as it was.
  const own = { ...taught, entries: Uint32Array.of(entry(5, 0.5), nothing), tails: Float32Array.of(0.5) };
  expect(map.ofStudent({ ...taught, tails: Float32Array.of(0.5) })).toEqual(own);
});

const entries = Uint32Array.of(entry(5, 0.5), entry(3, 0.25), entry(2, 0.125), entry(8, 1), entry(6, 0.5), nothing);

test("what the student has not is the bucket's", () => {
  const map = TokenMap.trimmed(Int32Array.of(2, 5, 6), 9);
  const hidden = { width: 2, states: Uint16Array.of(1, 2, 3, 4) };
  const taught = { topK: 3, tail: "bucket" as const, entries, tails: Float32Array.of(0.125, 0.5), hidden };
  const { topK, tail, entries: own, tails, hidden: states } = map.ofStudent(taught);
  expect({ topK, tail }).toEqual({ topK: 3, tail: "bucket" });
  expect(states).toEqual(hidden);
  expect(own).toEqual(Uint32Array.of(entry(1, 0.5), entry(0, 0.125), nothing, entry(2, 0.5), nothing, nothing));
  expect(tails[0]).toBeCloseTo(0.375, 3);
  expect(tails[1]).toBe(1);
});

test("of a sample, what the student has not is left out, and a draw stands for as much as before", () => {
  const map = TokenMap.trimmed(Int32Array.of(2, 5, 6), 9);
  const tails = Float32Array.of(0.125, 0.5);
  const taught = map.ofStudent({ topK: 3, tail: "sample", entries, tails });
  expect(taught).toEqual({
    ...{ topK: 3, tail: "sample", tails },
    entries: Uint32Array.of(entry(1, 0.5), entry(0, 0.125), nothing, entry(2, 0.5), nothing, nothing),
  });
});

describe("which tokenizers are a trimmed form of another one", () => {
  const merges = ["l o", "lo w", "e r", "low er", "e s"];
  const made = (...texts: string[]) => texts.map((text) => text.replace(" ", ""));
  interface Written {
    pairs: string[];
    merges?: string[];
    /** Texts of control tokens. */
    controls?: string[];
    further?: Metadata;
  }
  const write = ({ pairs, merges: list = pairs, controls = ["<s>", "</s>"], further = {} }: Written) => {
    const tokens = [...byteAlphabet(), ...made(...pairs), ...controls];
    const metadata = {
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.token_type": tokens.map((_, token) => (token < tokens.length - controls.length ? 1 : 3)),
      "tokenizer.ggml.merges": list,
      "tokenizer.ggml.bos_token_id": tokens.indexOf("<s>"),
      "tokenizer.ggml.eos_token_id": tokens.indexOf("</s>"),
      ...further,
    };
    return writeTextToy(metadata, { ...textToy, vocabulary: tokens.length });
  };
  const whole = { pairs: merges, controls: ["<x>", "<s>", "</s>"] };
  const mapOf = async (part: Written, turned = false) => {
    const files = [write(part), write(whole)];
    const models = await Promise.all(files.map((file) => openModel(file, { threads: 1 })));
    const [student, teacher] = turned ? models.reverse() : models;
    try {
      return await TokenMap.between(student!, teacher!);
    } finally {
      for (const model of models) await model.close();
    }
  };
  const bytes = [...Array(256).keys()];

  test("fewer tokens with their merges are, from either side", async () => {
    const ids = [...bytes, 256, 257, 262, 263];
    expect([...(await mapOf({ pairs: ["l o", "lo w"] })).ids!]).toEqual(ids);
    expect([...(await mapOf({ pairs: ["l o", "lo w"] }, true)).own]).toEqual(ids);
  });

  test("further merges of the other one do no harm", async () => {
    expect([...(await mapOf({ pairs: ["l o"], merges })).ids!]).toEqual([...bytes, 256, 262, 263]);
  });

  test("the same tokens are, whether or not a file says what llama.cpp takes anyhow", async () => {
    expect((await mapOf(whole)).ids).toBeNull();
    expect((await mapOf({ ...whole, further: { "tokenizer.ggml.add_space_prefix": false } })).ids).toBeNull();
  });

  test.each<[string, Partial<Written>, RegExp]>([
    [
      "another pre-tokenizer",
      { further: { "tokenizer.ggml.pre": "smollm" } },
      /tokenizer\.ggml\.pre is "smollm" in .*gguf and "gpt-2" in /,
    ],
    [
      "merges in another order",
      { merges: ["l o", "e r", "lo w", "low er", "e s"] },
      /number 1 of tokenizer\.ggml\.merges, from 0, is "e r" in .*gguf and "lo w" in /,
    ],
    ["a merge less", { merges: merges.slice(1) }, /number 0 of .*merges, from 0, is "lo w" in .*gguf and "l o" in /],
    ["a merge more", { merges: [...merges, "o w"] }, /the number of tokenizer\.ggml\.merges is 6 in .*gguf and 5 in /],
  ])("with the same tokens %s is none, and is told", async (_, change, difference) => {
    const message = expect.stringMatching(difference);
    for (const part of ["the teacher's, but cut otherwise", "give a student made from this teacher"]) {
      await expect(mapOf({ ...whole, ...change })).rejects.toMatchObject({
        code: "input",
        message: expect.stringContaining(part),
      });
    }
    await expect(mapOf({ ...whole, ...change })).rejects.toMatchObject({ message });
  });

  test.each<[string, Written]>([
    ["merges in another order", { pairs: ["l o", "e r"], merges: ["e r", "l o"] }],
    ["tokens in another order", { pairs: ["e r", "l o"], merges: ["l o", "e r"] }],
    ["a merge that the other one has not", { pairs: ["l o"], merges: ["l o", "o w"] }],
    ["a token that the other one has not", { pairs: ["l o", "o w"] }],
    ["a token without the piece that it is made from", { pairs: ["lo w"], merges: ["l o", "lo w"] }],
    ["a token without the merge that makes it", { pairs: ["l o", "lo w"], merges: ["l o"] }],
    ["a normal token of which the other one makes a control token", { pairs: ["l o", "< x>"], merges: ["l o"] }],
    ["another pre-tokenizer", { pairs: ["l o"], further: { "tokenizer.ggml.pre": "llama-bpe" } }],
    ["another end", { pairs: ["l o"], further: { "tokenizer.ggml.eos_token_id": 257 } }],
    ["another beginning", { pairs: ["l o"], further: { "tokenizer.ggml.add_bos_token": true } }],
  ])("%s is none", async (_, part) => {
    const counts = new RegExp(`has ${258 + part.pairs.length}, .* has 264, and neither's are the other's trimmed`);
    await expect(mapOf(part)).rejects.toMatchObject({ code: "input", message: expect.stringMatching(counts) });
  });
});
