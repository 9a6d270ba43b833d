// Greedy answers by llama.cpp, as the decoding trial's reference, and how far another decoder's answers are from them.
import type { Model } from "../src/model/index.js";
import { type NativeDecoder, type NativeRunner, native } from "../src/support/native.js";
import { packChoices } from "../src/tokens/index.js";

/** Sequences that the reference answers side by side. */
const sideBySide = 8;

export interface Answers {
  prompts: number[][];
  answers: number[][];
}

export interface Agreement {
  /** Share of the prompts with the same answer. */
  agreement: number;
  /** Over the prompts whose answer differs: log p of llama.cpp's token less that of the other, where they first differ. */
  largest_gap: number;
}

/** llama.cpp on a model, for prompts and answers that have at most so many tokens together. */
export class Reference {
  readonly #model: Model;
  readonly #decoder: NativeDecoder;
  readonly #runner: NativeRunner;

  private constructor(model: Model, decoder: NativeDecoder, runner: NativeRunner) {
    this.#model = model;
    this.#decoder = decoder;
    this.#runner = runner;
  }

  static async open(model: Model, tokens: number): Promise<Reference> {
    const { path, layers, keyValueHeads, headWidth } = model.info;
    const { threads } = model;
    const memory = 2 * 4 * layers * keyValueHeads * headWidth * sideBySide * (tokens + 256);
    const limits = { memory, sequences: sideBySide, stepTokens: 512 };
    const llama = { threads, adapter: null, gpuLayers: 0, backends: [], exact: true };
    const decoder = await native().openDecoder(path, model.tokenizer, { ...limits, ...llama });
    const scoring = { threads, adapter: null, contextTokens: tokens, sequences: sideBySide };
    return new Reference(model, decoder, await native().openRunner(path, scoring));
  }

  /** So many prompts with their answers; prompts whose answer ends before `most` tokens come last, and are left out if others are enough. */
  async answer(candidates: readonly number[][], wanted: number, most: number): Promise<Answers> {
    const found: { prompt: number[]; answer: number[]; early: boolean }[] = [];
    const enough = () => found.filter(({ early }) => !early).length >= wanted;
    for (let from = 0; from < candidates.length && !enough(); from += sideBySide) {
      const asked = new Map(
        candidates.slice(from, from + sideBySide).map((prompt) => [this.#ask(prompt, most), prompt]),
      );
      while (asked.size > 0) {
        for (const { id, tokens, ended } of (await this.#decoder.step()).finished) {
          found.push({ prompt: asked.get(id)!, answer: [...tokens], early: ended !== "length" });
          asked.delete(id);
        }
      }
    }
    const chosen = found.sort((a, b) => Number(a.early) - Number(b.early)).slice(0, wanted);
    return { prompts: chosen.map(({ prompt }) => prompt), answers: chosen.map(({ answer }) => answer) };
  }

  #ask(prompt: number[], maxTokens: number): number {
    const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, repetitionWindow: 0, seed: 0 };
    const request = { prompt: Int32Array.from(prompt), maxTokens, stop: [], grammar: null, logProbabilities: null };
    return this.#decoder.add({ ...request, ...greedy });
  }

  /** Compares answers with its own; one that is shorter ended with the model's end token. */
  async compare({ prompts, answers }: Answers, others: readonly number[][]): Promise<Agreement> {
    const { eos } = this.#model.tokenizer;
    const befores: Int32Array[] = [];
    const choices: Int32Array[][] = [];
    for (const [index, answer] of answers.entries()) {
      const other = others[index]!;
      const longest = Math.max(answer.length, other.length);
      let at = 0;
      while (at < longest && answer[at] === other[at]) at++;
      if (at === longest) continue;
      befores.push(Int32Array.from([...prompts[index]!, ...answer.slice(0, at)]));
      choices.push([answer, other].map((tokens) => Int32Array.of(tokens[at] ?? eos)));
    }
    const agreement = 1 - befores.length / answers.length;
    if (befores.length === 0) return { agreement, largest_gap: 0 };
    const scores = await this.#runner.score(packChoices(befores, choices).batch);
    return { agreement, largest_gap: Math.max(...befores.map((_, row) => scores[2 * row]! - scores[2 * row + 1]!)) };
  }

  async close(): Promise<void> {
    await this.#decoder.close();
    await this.#runner.close();
  }
}
