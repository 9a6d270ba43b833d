// The tiny llama whose adapter tests/golden/adapter.py wrote.
import type { NativeModelInfo } from "../../src/support/native.js";

export const info = {
  path: "tiny.gguf",
  architecture: "llama",
  layers: 2,
  width: 16,
  feedForward: 28,
  heads: 4,
  keyValueHeads: 2,
  headWidth: 6,
  vocabulary: 20,
} as NativeModelInfo;
