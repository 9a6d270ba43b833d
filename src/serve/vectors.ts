// How the model embeds texts of live traffic: those of one pooling together. Knows no line, no store and no HTTP.
import { type Engine, embedded } from "../batch/index.js";
import { embedBatches } from "../embed/index.js";
import type { EmbeddingRequest } from "../store/index.js";
import type { PartWork } from "./turns.js";

/** Tokens that are worked on at once: what waits beside them, a step of the decoder included, waits so long. */
const tokensAtOnce = 512;

export function vectorWork({ model, lora, adapter }: Engine): PartWork<EmbeddingRequest> {
  return {
    fits(taken, next) {
      const tokens = taken.reduce((sum, { prompt }) => sum + prompt.length, next.prompt.length);
      return tokens <= tokensAtOnce && next.pooling === taken[0]!.pooling;
    },
    async answer(texts, tell) {
      const job = { model, lora, adapter, pooling: texts[0]?.pooling ?? "mean" };
      const prompts = texts.map(({ prompt }) => prompt);
      for await (const { from, vectors } of embedBatches(job, prompts)) {
        for (const [at, vector] of vectors.entries()) tell(from + at, embedded(vector, texts[from + at]!));
      }
    },
  };
}
