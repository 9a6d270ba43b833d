// A toy decoder that takes text: one token a byte (GPT-2's byte alphabet, no merges), "<s>" and "</s>" behind them.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Metadata, writeGguf } from "./gguf.js";
import { type Toy, toyMetadata, toyTensors } from "./toy.js";

/** GPT-2's printable character of each byte. */
export function byteAlphabet(): string[] {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let others = 0;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : 256 + others++));
}

const tokens = [...byteAlphabet(), "<s>", "</s>"];

export const textToy: Toy = {
  name: "text-toy",
  architecture: "llama",
  layers: 2,
  width: 32,
  heads: 4,
  keyValueHeads: 2,
  headWidth: 8,
  feedForward: 48,
  vocabulary: tokens.length,
  contextLength: 256,
  tied: true,
  epsilon: 1e-5,
  ropeBase: 10000,
  ropeScaling: null,
  ropeFactors: null,
  lora: { rank: 4, alpha: 8, rsLora: false, targets: ["q"] },
};

/** Writes the toy into a folder of its own, with further metadata, weights as edit leaves them; gives the path of the GGUF. */
export function writeTextToy(
  further: Metadata = {},
  toy: Toy = textToy,
  edit: (name: string, data: Float32Array, columns: number) => void = () => undefined,
): string {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "stillroom-text-toy-")), "toy.gguf");
  const metadata = {
    ...toyMetadata(toy),
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": tokens.map((_, token) => (token < 256 ? 1 : 3)),
    "tokenizer.ggml.merges": ["Ġ t"],
    "tokenizer.ggml.bos_token_id": 256,
    "tokenizer.ggml.eos_token_id": 257,
    ...further,
  };
  const tensors = toyTensors(toy);
  for (const tensor of tensors) if ("data" in tensor) edit(tensor.name, tensor.data, tensor.shape[0]!);
  writeGguf(file, metadata, tensors);
  return file;
}

/** The toy to which a text with any of these letters is no number. */
export function writeBrokenToy(letters: string): string {
  return writeTextToy({}, textToy, (name, data, width) => {
    if (name !== "token_embd.weight") return;
    for (const letter of Buffer.from(letters)) data.fill(Number.NaN, letter * width, (letter + 1) * width);
  });
}
