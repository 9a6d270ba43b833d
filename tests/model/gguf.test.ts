// Bad GGUF files (RELIABILITY.md, test 11): every hand-made case of llama.cpp's test-gguf, the patterns of its known CVEs,
// and 500 truncations. Each gives an error from inspect within 2 s, and the process lives on to inspect a good file.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { native } from "../../src/support/native.js";
import { ByteWriter, type GgufOverrides, type GgufTensor, ggufBytes, type Metadata } from "../support/gguf.js";
import { gradientGoldens } from "../support/golden.js";
import { toyMetadata, toyTensors } from "../support/toy.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "stillroom-gguf-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function inspect(bytes: Uint8Array) {
  const file = path.join(folder, "model.gguf");
  writeFileSync(file, bytes);
  return native().inspect(file);
}

/** The error that the bytes give, which must come within 2 s and say that the input is wrong. */
async function refusal(bytes: Uint8Array): Promise<string> {
  const start = performance.now();
  const error = await inspect(bytes).then(
    () => undefined,
    (reason: Error & { code?: string }) => reason,
  );
  expect(performance.now() - start).toBeLessThan(2000);
  if (!error) throw new Error("the file was accepted");
  expect(error.code).toBe("input");
  return error.message;
}

const toy = gradientGoldens()[0]!;
const key = { "general.architecture": "llama" };
const vector: GgufTensor = { name: "t", shape: [8], data: new Float32Array(8) };
const file = (metadata: Metadata, tensors: GgufTensor[] = [], overrides: GgufOverrides = {}) =>
  ggufBytes(metadata, tensors, overrides);
const start = (tensors: bigint, keys: bigint) =>
  new ByteWriter().bytes(Buffer.from("GGUF")).u32(3).u64(tensors).u64(keys);
/** A header, one key, and what follows it. */
const afterKey = (name: string) => start(0n, 1n).text(name);
const withTensor = (shape: (number | bigint)[], type: number, bytes: number, name = "t") => {
  const out = start(1n, 0n).text(name).u32(shape.length);
  for (const size of shape) out.u64(size);
  return out.u32(type).u64(0).pad(32).bytes(Buffer.alloc(bytes)).finish();
};
const minusOne = 2n ** 64n - 1n;

const bad: [name: string, bytes: Buffer, message: RegExp][] = [
  ["HEADER_BAD_MAGIC", file(key, [], { magic: "FUGG" }), /magic/],
  ["HEADER_BAD_VERSION_0", file(key, [], { version: 0 }), /version/],
  ["HEADER_BAD_VERSION_1", file(key, [], { version: 1 }), /version/],
  ["HEADER_BAD_VERSION_FUTURE", file(key, [], { version: 4 }), /version/],
  ["a big-endian file", file(key, [], { version: 0x03000000 }), /big-endian/],
  ["HEADER_BAD_N_TENSORS", file(key, [], { tensorCount: minusOne }), /tensors/],
  ["HEADER_BAD_N_KV", file(key, [], { keyCount: minusOne }), /keys/],
  ["one tensor too many", file(key, [vector], { tensorCount: 2n }), /./],
  ["one key too many", file(key, [], { keyCount: 2n }), /./],
  ["HEADER_EMPTY", file({}), /general\.architecture/],
  ["an empty file", Buffer.alloc(0), /empty/],
  ["KV_BAD_KEY_SIZE", start(0n, 1n).u64(minusOne).u32(4).u32(1).finish(), /past the end/],
  ["KV_EMPTY_KEY", file({ "": 1 }), /empty/],
  ["KV_BAD_TYPE", afterKey("k").u32(13).u8(1).finish(), /unknown type 13/],
  ["KV_BAD_TYPE within an array", afterKey("k").u32(9).u32(13).u64(1).u8(1).finish(), /unknown type 13/],
  ["KV_DUPLICATE_KEY", start(0n, 2n).text("k").u32(4).u32(1).text("k").u32(4).u32(1).finish(), /twice/],
  ["KV_BAD_ALIGN", file({ ...key, "general.alignment": 13 }), /alignment/],
  ["an alignment of 0", file({ ...key, "general.alignment": 0 }), /alignment/],
  ["KV_WRONG_TYPE_ALIGN", file({ ...key, "general.alignment": { type: "i32", value: 32 } }), /alignment/],
  ["an array of arrays", afterKey("k").u32(9).u32(9).u64(1).u32(4).u64(0).finish(), /array of arrays/],
  ["TENSORS_BAD_NAME_SIZE", withTensor([8], 0, 32, "n".repeat(64)), /64 bytes/],
  ["an empty tensor name", withTensor([8], 0, 32, ""), /0 bytes/],
  ["TENSORS_BAD_N_DIMS", withTensor([1, 1, 1, 1, 8], 0, 32), /5 dimensions/],
  ["no dimensions", withTensor([], 0, 32), /0 dimensions/],
  ["TENSORS_BAD_SHAPE", withTensor([-1n, -1n], 0, 32), /dimension of -1/],
  ["TENSORS_ZERO_DIM", withTensor([8, 0], 0, 32), /dimension of 0/],
  ["TENSORS_NE_TOO_BIG", withTensor([2n ** 33n, 2n ** 33n], 0, 32), /overflows/],
  ["TENSORS_NBYTES_TOO_BIG", withTensor([2n ** 31n, 2n ** 31n], 27, 32), /overflows/],
  ["TENSORS_BAD_TYPE", withTensor([32], 43, 4096), /unknown type 43/],
  ["a removed type", withTensor([32], 4, 4096), /unknown type 4/],
  ["a type below 0", withTensor([32], -1 >>> 0, 4096), /unknown type/],
  ["a row cut within a block", withTensor([31], 8, 4096), /multiple/],
  ["TENSORS_BAD_OFFSET", file(key, [vector], { offsets: { t: minusOne } }), /offset/],
  ["TENSORS_DUPLICATE_NAME", file(key, [vector, vector]), /twice/],
  ["TENSORS_BAD_ALIGN", file({ ...key, "general.alignment": 13 }, [vector]), /alignment/],
  [
    "TENSORS_INCONSISTENT_ALIGN",
    file(key, [{ ...vector, name: "a", shape: [1], data: new Float32Array(1) }, vector], { alignment: 4 }),
    /offset|past the end/,
  ],
  ["DATA_NOT_ENOUGH_DATA", file(key, [vector]).subarray(0, -1), /past the end/],
  ["DATA_MEM_SIZE_OVERFLOW", withTensor([0x7fffffffffffffc0n], 24, 32), /past the end/],
  ["data before its header ends", file(key, [vector]).subarray(0, -40), /./],
  // The patterns of known CVEs: sizes that wrap around, and counts that drive an allocation or a loop.
  [
    "CVE-2024-21825: an array's length times its element size wraps",
    afterKey("k")
      .u32(9)
      .u32(10)
      .u64(2n ** 61n)
      .u64(0)
      .finish(),
    /past the end/,
  ],
  [
    "CVE-2024-21825: as many strings as no file can hold",
    afterKey("k")
      .u32(9)
      .u32(8)
      .u64(2n ** 60n)
      .u64(0)
      .finish(),
    /more strings/,
  ],
  [
    "CVE-2024-23496: a string's length wraps when one is added",
    start(1n, 0n).u64(minusOne).u32(1).finish(),
    /past the end/,
  ],
  ["CVE-2024-21836: the tensor count times its element size wraps", start(2n ** 60n, 0n).finish(), /tensors/],
  ["CVE-2024-23605: the key count times its element size wraps", start(0n, 2n ** 60n).finish(), /keys/],
  ["CVE-2024-21802: more dimensions than a shape holds", withTensor(Array(1000).fill(1), 0, 32), /1000 dimensions/],
  [
    "CVE-2025-53630: data sizes whose sum wraps",
    (() => {
      const out = start(2n, 0n);
      out.text("a").u32(1).u64(0x7fffffffffffffc0n).u32(24).u64(0);
      out.text("b").u32(1).u64(0x7fffffffffffffc0n).u32(24).u64(0x7fffffffffffffc0n);
      return out.pad(32).bytes(Buffer.alloc(64)).finish();
    })(),
    /past the end/,
  ],
  [
    "a string's end wraps",
    afterKey("k")
      .u32(8)
      .u64(minusOne - 15n)
      .finish(),
    /past the end/,
  ],
  ["an offset beyond the file", file(key, [vector], { offsets: { t: 2n ** 63n } }), /offset/],
  [
    "an alignment that leaves no room for data",
    file({ ...key, "general.alignment": { type: "u32", value: 2 ** 31 } }, [vector]),
    /./,
  ],
  // Values that the header may hold and inspect must not believe.
  ["an architecture that is no string", file({ "general.architecture": 7 }), /general\.architecture/],
  ["a chat template that is no string", file({ ...key, "tokenizer.chat_template": 7 }), /chat_template/],
];

describe("a bad GGUF", () => {
  it.each(bad)("%s: one error", async (_name, bytes, message) => {
    expect(await refusal(bytes)).toMatch(message);
  });

  it("cut at 500 places: one error each, and the whole file is good", async () => {
    const whole = ggufBytes(toyMetadata(toy), toyTensors(toy));
    const header =
      whole.length - toyTensors(toy).reduce((sum, tensor) => sum + ("data" in tensor ? tensor.data.byteLength : 0), 0);
    // Half of the cuts within the header, half in the data; the last bytes may be padding.
    for (let cut = 0; cut < 500; cut++) {
      const size =
        cut < 250
          ? Math.floor((header * cut) / 250)
          : header + Math.floor(((whole.length - 64 - header) * (cut - 250)) / 250);
      await refusal(whole.subarray(0, size));
    }
    const info = await inspect(whole);
    expect(info).toMatchObject({
      architecture: toy.architecture,
      layers: toy.layers,
      vocabulary: toy.vocabulary,
      reason: null,
      tunable: true,
    });
  });

  it("is a folder or absent: one error that names it", async () => {
    await expect(native().inspect(folder)).rejects.toThrow(folder);
    await expect(native().inspect(path.join(folder, "absent.gguf"))).rejects.toMatchObject({ code: "io" });
  });
});

describe("inspect says why a good GGUF cannot be tuned", () => {
  const change = (changes: Metadata, drop: string[] = []): Metadata => {
    const metadata = { ...toyMetadata(toy), ...changes };
    for (const name of drop) delete metadata[name];
    return metadata;
  };
  const a = toy.architecture;
  const reasons: [name: string, metadata: Metadata, tensors: GgufTensor[], reason: RegExp][] = [
    ["another architecture", change({ "general.architecture": "gemma2" }), toyTensors(toy), /gemma2/],
    ["experts", change({ [`${a}.expert_count`]: 8 }), toyTensors(toy), /expert/],
    ["a sliding window", change({ [`${a}.attention.sliding_window`]: 64 }), toyTensors(toy), /sliding/],
    ["an adapter", change({ "general.type": "adapter" }), toyTensors(toy), /adapter/],
    ["one part of several", change({ "split.count": 3 }), toyTensors(toy), /split/],
    ["a number missing", change({}, [`${a}.attention.head_count`]), toyTensors(toy), /head_count/],
    ["a number of 0", change({ [`${a}.attention.head_count`]: 0 }), toyTensors(toy), /0/],
    [
      "a tensor missing",
      change({}),
      toyTensors(toy).filter((tensor) => tensor.name !== "blk.0.ffn_up.weight"),
      /blk\.0\.ffn_up/,
    ],
    [
      "a tensor too many",
      change({}),
      [...toyTensors(toy), { name: "blk.0.ffn_up.bias", shape: [8], data: new Float32Array(8) }],
      /ffn_up\.bias/,
    ],
    ["a tokenizer of another size", change({ "tokenizer.ggml.tokens": ["a", "b"] }), toyTensors(toy), /2 tokens/],
    [
      "a type that is no weight",
      change({}),
      toyTensors(toy).map((tensor) =>
        tensor.name === "blk.0.ffn_up.weight"
          ? {
              name: tensor.name,
              shape: tensor.shape,
              raw: new Uint8Array((tensor as { data: Float32Array }).data.buffer),
              type: 26,
            }
          : tensor,
      ),
      /dequantised/,
    ],
  ];
  it.each(reasons)("%s", async (_name, metadata, tensors, reason) => {
    const info = await inspect(ggufBytes(metadata, tensors));
    expect(info.tunable).toBe(false);
    expect(info.reason).toMatch(reason);
  });

  it("an empty model has no parameters", async () => {
    expect(await inspect(file(key))).toMatchObject({ parameters: 0, layers: 0, tunable: false, types: {} });
  });
});

describe("what llama.cpp would abort on is refused before it", () => {
  const refused = async (changes: Metadata): Promise<string> => {
    const model = path.join(folder, "hostile.gguf");
    writeFileSync(model, ggufBytes({ ...toyMetadata(toy), ...changes }, toyTensors(toy)));
    const options = { threads: 1, adapter: null, contextTokens: 16, sequences: 1 };
    return native()
      .openRunner(model, options)
      .then(
        () => "accepted",
        (error: Error & { code?: string }) => `${error.code}: ${error.message}`,
      );
  };
  const a = toy.architecture;
  it.each([
    ["a token twice", { "tokenizer.ggml.tokens": Array.from({ length: toy.vocabulary }, () => "same") }, /earlier/],
    ["no layers", { [`${a}.block_count`]: 0 }, /block_count/],
    ["too many layers", { [`${a}.block_count`]: 100_000 }, /block_count/],
    ["too many experts", { [`${a}.expert_count`]: 100_000 }, /expert_count/],
    ["an unknown RoPE scaling", { [`${a}.rope.scaling.type`]: "odd" }, /scaling/],
    ["a width of 0", { [`${a}.embedding_length`]: 0 }, /embedding_length/],
    ["a BOS outside the vocabulary", { "tokenizer.ggml.bos_token_id": 100_000 }, /bos_token_id/],
  ] satisfies [string, Metadata, RegExp][])("%s", async (_name, changes, message) => {
    expect(await refused(changes)).toMatch(message);
  });
});
