// Decoders for tests: requests with everything left out at its default, run to the end, and what makes two answers the same.
import { expect } from "vitest";
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

/**
 * The same answer, its log-probabilities (the chosen token, then the most likely ones) within a bound; 0: the same bits. A greedy answer
 * may leave the other where the two most likely tokens are nearer than twice the bound, a sampled one anywhere. Gives whether it did.
 */
export function expectSame(one: NativeDecoded, other: NativeDecoded, within: number, temperature: number): boolean {
  const [got, expected] = [essence(one), essence(other)];
  if (within === 0) expect(got).toEqual(expected);
  const left = got.tokens.findIndex((token, at) => token !== expected.tokens[at]);
  if (left === -1) expect({ ...got, logProbabilities: [] }).toEqual({ ...expected, logProbabilities: [] });
  const columns = got.logProbabilities.length / got.tokens.length;
  const values = left === -1 ? got.logProbabilities : got.logProbabilities.slice(0, (left + 1) * columns);
  // Where they part, what was chosen differs, and the most likely tokens' values do not.
  for (const [at, value] of values.entries())
    if (at !== left * columns) expect(Math.abs(value - expected.logProbabilities[at]!)).toBeLessThanOrEqual(within);
  if (left === -1) return false;
  const [, best, second] = expected.logProbabilities.slice(left * columns);
  if (temperature === 0) expect(best! - second!).toBeLessThan(2 * within);
  return true;
}

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
