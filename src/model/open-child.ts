// What the child process of first-open.ts runs: everything that a GGUF goes through in llama.cpp and in our engine, once.
// Its source text is sent to the child, so it may use nothing but its arguments.
import type { NativeAddon } from "../support/native.js";

/** Opens tokenizer, llama.cpp's model and, where it can, ours; runs one token through each. */
export async function openOnce(addon: NativeAddon, file: string): Promise<void> {
  const tokenizer = await addon.openTokenizer(file);
  const tokens = tokenizer.tokenize("one word", true, false);
  const token = tokens[0] ?? 0;
  await tokenizer.close();
  const runner = await addon.openRunner(file, { threads: 1, adapter: null, contextTokens: 32, sequences: 1 });
  await runner.generate([Int32Array.of(token)], { maxTokens: 1, stop: [] });
  await runner.close();
  if (!(await addon.inspect(file)).tunable) return;
  const model = await addon.openModel(file, { threads: 1, variant: null });
  const one = Int32Array.of(token);
  await model.score(
    { tokens: one, segments: Int32Array.of(0, 1, -1), queryPositions: Int32Array.of(0), queryTokens: one },
    null,
  );
  await model.close();
}

/** The program for `node --eval`, with the addon's path and the model's as arguments. */
export const childProgram = `
const [addon, file] = process.argv.slice(1);
(${openOnce.toString()})(require(addon), file).then(
  () => process.exit(0),
  (error) => { console.error(String(error.message)); process.exit(3); },
);`;
