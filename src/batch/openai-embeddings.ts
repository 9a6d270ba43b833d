// OpenAI's requests for embeddings, and the bodies that answer them: which fields there are, what they mean here, and which are refused by name.
import { z } from "zod";
import { poolings } from "../embed/index.js";
import type { Model } from "../model/index.js";
import { type Answer, type EmbeddingRequest, vectorBytes } from "../store/index.js";
import { encodePrompt } from "../tokens/index.js";
import { inOurWords, issuesOf } from "./openai-request.js";

export const embeddingsPath = "/v1/embeddings";

/** A request: each text of its input is one of the store's, so that lists and single texts share what is known. */
export interface EmbeddingsAsked {
  requests: EmbeddingRequest[];
  texts: string[];
  format: "float" | "base64";
}

/** As OpenAI has it. */
const mostTexts = 2048;

const text = z.string().min(1);
const bodyOf = (width: number) =>
  z.strictObject({
    /** The one model of the batch answers, whatever this says. */
    model: z.string(),
    input: z.union([text.transform((one) => [one]), z.array(text).min(1).max(mostTexts)], {
      error: `expected a text, or a list of 1 to ${mostTexts}, none of them empty; tokens of another tokenizer are not taken`,
    }),
    encoding_format: z.enum(["float", "base64"]).nullish(),
    dimensions: z
      .literal(width, { error: `the model's vectors have ${width} dimensions, and were not trained to be cut` })
      .nullish(),
    /** Of the engine here, beside OpenAI's own. */
    pooling: z.enum(poolings).nullish(),
    // What cannot change the vector.
    user: z.string().nullish(),
  });

/** What makes requests of bodies for a model. It gives the reason for one that cannot be answered. */
export function embeddingMaker(model: Model): (body: unknown) => EmbeddingsAsked | string {
  const schema = bodyOf(model.info.width);
  const context = model.info.contextLength;
  return (body) => {
    const parsed = schema.safeParse(body, inOurWords);
    if (!parsed.success) return issuesOf(parsed.error);
    const { input, encoding_format, pooling } = parsed.data;
    const requests: EmbeddingRequest[] = [];
    for (const [index, one] of input.entries()) {
      const prompt = encodePrompt(model.tokenizer, { pieces: [{ text: one, control: false }], answer: "" });
      if (prompt.length < 1 || prompt.length > context)
        return `body.input[${index}]: expected 1 to ${context} tokens, as the model's context has it, received ${prompt.length}`;
      requests.push({ kind: "embedding", prompt, pooling: pooling ?? "mean", normalisation: "l2" });
    }
    return { requests, texts: input, format: encoding_format ?? "float" };
  };
}

/** The body of a response, of the answers to the requests in their order. */
export function embeddingsBody({ format }: EmbeddingsAsked, answers: readonly Answer[], name: string): object {
  const tokens = answers.reduce((sum, { promptTokens }) => sum + promptTokens, 0);
  const data = answers.map(({ embedding }, index) => ({
    object: "embedding",
    index,
    embedding: format === "base64" ? vectorBytes(embedding!).toString("base64") : Array.from(embedding!),
  }));
  return { object: "list", data, model: name, usage: { prompt_tokens: tokens, total_tokens: tokens } };
}
