// What the child process of first-open.ts runs: everything that a GGUF goes through in llama.cpp and in our engine, once.
// Its source text is sent to the child, so it may use nothing but its arguments.
import type { NativeAddon } from "../support/native.js";

/** Opens tokenizer, llama.cpp's model and, where it can, ours; runs one token through each. */
export async function openOnce(addon: NativeAddon, file: string): Promise<void> {
  const tokenizer = await addon.openTokenizer(file);
  const tokens = tokenizer.tokenize("one word", true, false);
  const token = tokens[0] ?? 0;
  const limits = { memory: 2 ** 28, sequences: 1, stepTokens: 32 };
  const llama = { threads: 1, adapter: null, gpuLayers: 0, backends: [], exact: false };
  const decoder = await addon.openDecoder(file, tokenizer, { ...limits, ...llama });
  const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, repetitionWindow: 0, seed: 0 };
  const prompt = Int32Array.of(token);
  decoder.add({ prompt, maxTokens: 1, stop: [], grammar: null, logProbabilities: null, ...greedy });
  await decoder.step();
  await decoder.close();
  await tokenizer.close();
  if (!(await addon.inspect(file)).tunable) return;
  const model = await addon.openModel(file, { threads: 1, variant: null });
  const segments = Int32Array.of(0, 1, -1);
  await model.score({ tokens: prompt, segments, queryPositions: Int32Array.of(0), queryTokens: prompt }, null);
  await model.close();
}

/** The program for `node --eval`, with the addon's path and the model's as arguments. */
export const childProgram = `
const [addon, file] = process.argv.slice(1);
(${openOnce.toString()})(require(addon), file).then(
  () => process.exit(0),
  (error) => { console.error(String(error.message)); process.exit(3); },
);`;
