// Decoders for tests: requests with everything left out at its default, run to the end.
import type { NativeDecoded, NativeDecodeRequest, NativeDecoder, NativeDecodeStep } from "../../src/support/native.js";

/** A greedy request, but for what is given. */
export function requestOf(
  prompt: ArrayLike<number>,
  given: Partial<Omit<NativeDecodeRequest, "prompt">> = {},
): NativeDecodeRequest {
  const choice = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, repetitionWindow: 64, seed: 0 };
  const rest = { maxTokens: 16, stop: [], grammar: null, logProbabilities: null };
  return { prompt: Int32Array.from(prompt), ...choice, ...rest, ...given };
}

/** Steps until nothing waits or runs; the answers by id. */
export async function runToEnd(
  decoder: NativeDecoder,
  onStep: (step: NativeDecodeStep) => void = () => undefined,
): Promise<Map<number, NativeDecoded>> {
  const answers = new Map<number, NativeDecoded>();
  for (;;) {
    const step = await decoder.step();
    onStep(step);
    for (const answer of step.finished) answers.set(answer.id, answer);
    if (step.waiting + step.running === 0) return answers;
  }
}

/** Adds the requests together and gives their answers in that order. */
export async function decodeAll(
  decoder: NativeDecoder,
  requests: readonly NativeDecodeRequest[],
): Promise<NativeDecoded[]> {
  const ids = requests.map((request) => decoder.add(request));
  const answers = await runToEnd(decoder);
  return ids.map((id) => answers.get(id)!);
}

/** The answer without what depends on its neighbours: times and shared tokens. */
export const essence = ({ tokens, text, ended, logProbabilities }: NativeDecoded) => ({
  tokens: [...tokens],
  text,
  ended,
  logProbabilities: [...logProbabilities.values],
});

/** Closes the decoder whatever happens. */
export async function using<T>(
  opening: Promise<NativeDecoder>,
  body: (decoder: NativeDecoder) => Promise<T>,
): Promise<T> {
  const decoder = await opening;
  try {
    return await body(decoder);
  } finally {
    await decoder.close();
  }
}

/** count bytes of text from a fixed sequence. */
export const bytes = (count: number, seed: number): number[] =>
  Array.from({ length: count }, (_, i) => (i * 31 + seed * 17 + i * i) % 90);
