// The requests of OpenAI's batch format: which fields there are, what they mean here, and which are refused by name. Knows no answer.
import { z } from "zod";
import type { Turn } from "../dataset/index.js";
import { jsonSchemaToGrammar, requestDefaults } from "../decode/index.js";
import type { Model } from "../model/index.js";
import { compileConversation, type Piece, questionOf } from "../prompt/index.js";
import type { LaidRequest, TextRequest } from "../store/index.js";
import { described, StillroomError } from "../support/errors.js";
import { wanted } from "../task/index.js";
import { encodePrompt } from "../tokens/index.js";
import { laidText, once } from "./item.js";

/** A request as settings and a prompt, and the text that asks for its answer. */
export interface Asked {
  laid: LaidRequest;
  /** With the prompt as tokens, or why it cannot be answered. */
  request: () => TextRequest | string;
  text: string;
}

const none = (what: string) => z.null({ error: `${what} is not supported` }).optional();
const only = <T extends string | number | boolean>(value: T, what: string) =>
  z.literal(value, { error: `${what} is not supported` }).nullish();

const textPart = z.strictObject({
  type: z.enum(["text"], { error: "only parts of type text are supported" }),
  text: z.string(),
});
const content = z.union([z.string(), z.array(textPart).transform((parts) => parts.map(({ text }) => text).join(""))], {
  error: "expected a text, or a list of parts of type text",
});
const message = z.object({
  role: z.enum(["system", "developer", "user", "assistant"]),
  content,
  name: z.string().optional(),
});

const shared = {
  /** The one model of the batch answers, whatever this says. */
  model: z.string(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  seed: z.int().nonnegative().nullish(),
  stop: z
    .union([z.string().min(1), z.array(z.string().min(1)).max(16)], {
      error: "expected a text, or a list of up to 16, none of them empty",
    })
    .nullish(),
  n: only(1, "n other than 1"),
  stream: only(false, "stream in a batch"),
  frequency_penalty: only(0, "frequency_penalty"),
  presence_penalty: only(0, "presence_penalty"),
  logit_bias: z.record(z.string(), z.never({ error: "logit_bias is not supported" })).nullish(),
  // Of the sampler here, beside OpenAI's own.
  top_k: z.int().nonnegative().nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().nullish(),
  grammar: z.string().nullish(),
  // What cannot change the answer.
  user: z.string().nullish(),
  metadata: z.unknown().optional(),
  store: z.boolean().nullish(),
  service_tier: z.string().nullish(),
  stream_options: none("stream_options"),
};

const maxAnswer = z.int().min(1).nullish();
const schemaFormat = z.object({
  type: z.literal("json_schema"),
  json_schema: z.object({ schema: z.record(z.string(), z.unknown()) }),
});
const chatBody = z.strictObject({
  ...shared,
  messages: z.array(message).min(1),
  max_tokens: maxAnswer,
  max_completion_tokens: maxAnswer,
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  response_format: z
    .union([z.object({ type: z.enum(["text", "json_object"]) }), schemaFormat], {
      error: "expected type text, type json_object, or type json_schema with json_schema.schema",
    })
    .nullish(),
  tools: none("tools"),
  tool_choice: none("tool_choice"),
  functions: none("functions"),
  parallel_tool_calls: z.unknown().optional(),
});
const completionBody = z.strictObject({
  ...shared,
  prompt: z.string({ error: "expected one text" }),
  max_tokens: maxAnswer,
  logprobs: z.int().min(0).max(20).nullish(),
  echo: only(false, "echo"),
  best_of: only(1, "best_of other than 1"),
  suffix: none("suffix"),
});

/** The paths of the requests that are answered. */
export const paths = ["/v1/chat/completions", "/v1/completions"] as const;
export type RequestPath = (typeof paths)[number];

/** Answers of a chat are this long, in tokens, where nothing else is said and the context has room; of a completion, 16, as OpenAI has it. */
const chatTokens = 1024;
const completionTokens = 16;

/** What makes requests of bodies for a model. It gives the reason for one that cannot be answered. */
export function requestMaker(model: Model): (path: RequestPath, body: unknown) => Asked | string {
  let conversation: ReturnType<typeof compileConversation> | null = null;
  const chat = (body: z.infer<typeof chatBody>): Asked => {
    conversation ??= compileConversation(model.template);
    const turns = body.messages.map(
      ({ role, content }): Turn => ({ role: role === "developer" ? "system" : role, content }),
    );
    const logProbabilities = body.logprobs ? (body.top_logprobs ?? 0) : null;
    const most = body.max_completion_tokens ?? body.max_tokens ?? null;
    const asked = { ...settings(body), maxTokens: most, grammar: grammarOf(body), logProbabilities };
    return { ...laidOut(conversation(turns), asked), text: questionOf(turns) };
  };
  const completion = (body: z.infer<typeof completionBody>): Asked => {
    const maxTokens = body.max_tokens ?? completionTokens;
    const logProbabilities = body.logprobs ?? null;
    const asked = { ...settings(body), maxTokens, grammar: body.grammar ?? null, logProbabilities };
    return { ...laidOut([{ text: body.prompt, control: false }], asked), text: body.prompt };
  };
  /** maxTokens null: as many as a chat has, where the context has room. */
  const laidOut = (pieces: Piece[], asked: Omit<LaidText, "laid">): Omit<Asked, "text"> => ({
    laid: { ...asked, laid: laidText({ pieces }) },
    request: once(() => {
      const prompt = encodePrompt(model.tokenizer, { pieces, answer: "" });
      const context = model.info.contextLength;
      const maxTokens = asked.maxTokens ?? Math.min(chatTokens, context - prompt.length);
      if (maxTokens >= 1 && prompt.length + maxTokens <= context) return { ...asked, prompt, maxTokens };
      return `the prompt has ${prompt.length} tokens and the answer up to ${Math.max(1, maxTokens)}, the model's context ${context}`;
    }),
  });
  return (path, body) => {
    try {
      if (path === "/v1/completions") return completion(completionBody.parse(body, inOurWords));
      return chat(chatBody.parse(body, inOurWords));
    } catch (error) {
      if (error instanceof z.ZodError) return issuesOf(error);
      if (error instanceof StillroomError && error.code !== "internal") return error.message;
      throw error;
    }
  };
}

/** For zod's parse: the message of a field that has none of its own. */
export const inOurWords = {
  error(issue: z.core.$ZodRawIssue): string | undefined {
    if (issue.code === "unrecognized_keys") return `unknown field ${(issue.keys as string[]).join(", ").slice(0, 80)}`;
    const what = wanted(issue as z.core.$ZodIssue);
    return what && `expected ${what}, received ${issue.input === undefined ? "none" : described(issue.input)}`;
  },
};

export function issuesOf(error: z.ZodError): string {
  return error.issues
    .map(
      ({ path, message }) =>
        `body${path.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("")}: ${message}`,
    )
    .join("; ");
}

type LaidText = Extract<LaidRequest, { kind: "text" }>;
type Shared = z.infer<z.ZodObject<typeof shared>>;

/** OpenAI's defaults: temperature 1, all tokens. A request without a seed has the seed 0, so that its answer is the same in every run. */
function settings(body: Shared): Omit<TextRequest, "prompt" | "maxTokens" | "grammar" | "logProbabilities"> {
  const { topK, topP, minP, repetitionPenalty, repetitionWindow, seed } = requestDefaults;
  const temperature = body.temperature ?? 1;
  const stop = body.stop ?? [];
  return {
    kind: "text",
    stop: typeof stop === "string" ? [stop] : stop,
    // The decoder takes 0 or at least 0.001: less than that is the most likely token to any precision.
    temperature: temperature < 0.001 ? 0 : temperature,
    topK: body.top_k ?? topK,
    topP: body.top_p ?? topP,
    minP: body.min_p ?? minP,
    repetitionPenalty: body.repetition_penalty ?? repetitionPenalty,
    repetitionWindow,
    seed: body.seed ?? seed,
  };
}

function grammarOf({ grammar, response_format }: z.infer<typeof chatBody>): string | null {
  const schema =
    response_format?.type === "json_object"
      ? { type: "object" }
      : response_format?.type === "json_schema"
        ? response_format.json_schema.schema
        : null;
  if (schema === null) return grammar ?? null;
  if (grammar) throw new StillroomError("usage", "expected grammar or response_format, received both");
  return jsonSchemaToGrammar(schema);
}
