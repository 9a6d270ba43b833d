// What is asked for and what comes back, as users see it and as the native decoder takes it. Knows no order of work.
import type { NativeDecoded, NativeDecodeRequest, NativeTokenizer } from "../support/native.js";
import { requireKnown } from "../task/index.js";
import { encodePrompt } from "../tokens/index.js";
import { requireFields, requireObject } from "./check.js";
import { type JsonSchema, jsonSchemaToGrammar } from "./schema.js";

/** A prompt and how its answer is chosen. docs/numerics.md holds the order of the choices and their equations. */
export interface DecodeRequest {
  /** Text, in which nothing becomes a control token, behind BOS where the model asks for it; or tokens as they are. */
  prompt: string | Int32Array;
  /** Most tokens of the answer (default 256). */
  maxTokens?: number | undefined;
  /** Texts that end the answer, and are no part of it (default none). */
  stop?: readonly string[] | undefined;
  /** 0, the default, takes the most likely token; else 0.001 to 100. */
  temperature?: number | undefined;
  /** Only so many of the most likely tokens; 0, the default: all. */
  topK?: number | undefined;
  /** The fewest tokens whose probability reaches this, above 0 to 1 (default 1: all). */
  topP?: number | undefined;
  /** Only tokens with this share of the most likely one's probability, 0 (default) to 1. */
  minP?: number | undefined;
  /** Logits of tokens seen lately are divided by it, negative ones multiplied (default 1: none). */
  repetitionPenalty?: number | undefined;
  /** How many of the last tokens, prompt included, that looks at (default 64). */
  repetitionWindow?: number | undefined;
  /** Of the draws; the same seed gives the same answer, whatever runs beside it (default 0). */
  seed?: number | undefined;
  /** A GBNF grammar with a rule `root` that the answer keeps to. */
  grammar?: string | undefined;
  /** A JSON Schema that the answer keeps to, once it is complete; see {@link jsonSchemaToGrammar}. */
  schema?: JsonSchema | undefined;
  /** Log-probabilities of the answer's tokens, and of so many of the most likely ones beside each (default: none). */
  logProbabilities?: number | undefined;
  /** Called with the text as it grows, in whole characters that nothing takes back: a beginning of a stop text waits. All pieces together are the row's text. */
  onText?: ((piece: string) => void) | undefined;
  /** Calls this request off; the others go on. */
  signal?: AbortSignal | undefined;
}

/** A token and the natural logarithm of its probability, before penalty, truncation and temperature. */
export interface TokenLogProbability {
  token: number;
  logProbability: number;
}

/** A request that is done. */
export interface DecodedRow {
  /** Of the request, from 0 in the order given. */
  index: number;
  /** Without the stop text and the end token. */
  text: string;
  tokens: Int32Array;
  /**
   * At the model's end token, a stop text, maxTokens, where the grammar allows no further token, by the request's signal; or
   * "refused": it can never fit, see `reason`.
   */
  ended: "end" | "stop" | "length" | "grammar" | "cancelled" | "refused";
  /** Why it was refused; else null. */
  reason: string | null;
  /** For each token of the answer, where it was asked for. */
  logProbabilities: (TokenLogProbability & { mostLikely: TokenLogProbability[] })[] | null;
  promptTokens: number;
  /** Of those, not computed for this request, because another's prompt begins alike. */
  sharedTokens: number;
  /** From its start, waiting included, to the first token (0 without one) and to the end. */
  firstTokenSeconds: number;
  seconds: number;
}

/** What a request has where it says nothing. */
export const requestDefaults = {
  maxTokens: 256,
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  repetitionWindow: 64,
  seed: 0,
};
const known = [...Object.keys(requestDefaults), "prompt", "stop", "grammar", "schema", "logProbabilities"];
known.push("onText", "signal");

/** The native form of a request. Throws "usage" for one that has a wrong or unknown field. */
export function nativeRequest(request: DecodeRequest, tokenizer: NativeTokenizer): NativeDecodeRequest {
  requireObject(request, "an object with a prompt", "a request");
  requireKnown(request, known, "a request");
  requireFields(request);
  const { prompt, grammar, schema, stop = [], logProbabilities = null } = request;
  const given = Object.fromEntries(
    Object.entries(request).filter(([name, value]) => name in requestDefaults && value !== undefined),
  );
  return {
    ...requestDefaults,
    ...given,
    prompt:
      typeof prompt === "string"
        ? encodePrompt(tokenizer, { pieces: [{ text: prompt, control: false }], answer: "" })
        : prompt,
    stop: [...stop],
    grammar: schema === undefined ? (grammar ?? null) : jsonSchemaToGrammar(schema),
    logProbabilities,
    ...(request.onText && { pieces: true }),
  };
}

/** A row that never ran. */
export function refusedRow(index: number, promptTokens: number, reason: string): DecodedRow {
  const nothing = { text: "", tokens: new Int32Array(0), logProbabilities: null, sharedTokens: 0 };
  return { index, ended: "refused", reason, promptTokens, ...nothing, firstTokenSeconds: 0, seconds: 0 };
}

/** What the native decoder says of a request, as users see it. */
export function rowOf(index: number, request: NativeDecodeRequest, done: NativeDecoded): DecodedRow {
  const { text, tokens, ended, sharedTokens, firstTokenSeconds, seconds } = done;
  const row = { index, text, tokens, ended, reason: null, promptTokens: request.prompt.length, sharedTokens };
  return { ...row, logProbabilities: probabilitiesOf(request, done), firstTokenSeconds, seconds };
}

function probabilitiesOf(
  request: NativeDecodeRequest,
  { tokens, logProbabilities }: NativeDecoded,
): DecodedRow["logProbabilities"] {
  if (request.logProbabilities === null) return null;
  const width = tokens.length > 0 ? logProbabilities.tokens.length / tokens.length : 0;
  return Array.from(tokens, (_, at) => {
    const row = Array.from({ length: width }, (_, i) => ({
      token: logProbabilities.tokens[at * width + i]!,
      logProbability: logProbabilities.values[at * width + i]!,
    }));
    return { ...row[0]!, mostLikely: row.slice(1) };
  });
}
