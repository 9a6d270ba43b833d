// The part of the boundary to native/addon that decodes: what is asked, and what its steps tell.
import type { NativePrecision } from "./native.js";

/** What is decoded, and how its tokens are chosen (docs/numerics.md holds the order and the equations). */
export interface NativeDecodeRequest {
  prompt: Int32Array;
  /** Most tokens of the answer. */
  maxTokens: number;
  /** Texts that end the answer; not empty. */
  stop: string[];
  /** 0: the most likely token. */
  temperature: number;
  /** 0: all. */
  topK: number;
  topP: number;
  minP: number;
  /** 1: none. */
  repetitionPenalty: number;
  /** Last tokens, of prompt and answer, that the penalty looks at. */
  repetitionWindow: number;
  seed: number;
  /** GBNF with a rule root. */
  grammar: string | null;
  /** Of the chosen token and so many of the most likely ones; null: none. */
  logProbabilities: number | null;
  /** Whether steps tell the text as it grows (absent: no). */
  pieces?: boolean;
}

/** A request that is done. */
export interface NativeDecoded {
  id: number;
  /** Without the end token; with those that spell a stop text. */
  tokens: Int32Array;
  /** Without the stop text. */
  text: string;
  /** grammar: it allows no further token of this vocabulary. */
  ended: "end" | "stop" | "length" | "grammar" | "cancelled";
  /** (tokens, 1 + most likely) flattened: the chosen token, then the most likely ones; before penalty, truncation and temperature. */
  logProbabilities: { tokens: Int32Array; values: Float32Array };
  /** Tokens of the prompt that were not computed for this request, because another's beginning is the same. */
  sharedTokens: number;
  /** From add to the first token (0 without one), and to the end. */
  firstTokenSeconds: number;
  seconds: number;
}

/** One step: a token of every running answer, and prompts up to stepTokens. */
export interface NativeDecodeStep {
  finished: NativeDecoded[];
  /** Of requests that asked for them: whole characters that nothing which follows takes back. What stands behind the last piece comes with the answer. */
  pieces: { id: number; text: string }[];
  waiting: number;
  running: number;
  /** Tokens of prompts that it computed. */
  promptTokens: number;
  /** Tokens that it chose. */
  answerTokens: number;
}

/** Continuous batching: requests run side by side, join when their memory is free, and leave when they are done. */
export interface NativeDecoder {
  /** Why such a request can never run; null when it can. */
  refuses(promptTokens: number, maxTokens: number): string | null;
  /** Queues a request and gives its id; never waits for a step under way. Throws "usage" for a bad or refused one. */
  add(request: NativeDecodeRequest): number;
  /** Whether the request was not done yet; the next step gives what it has. Its neighbours' answers stay as they are. */
  cancel(id: number): boolean;
  step(): Promise<NativeDecodeStep>;
  close(): Promise<void>;
}

export interface NativeDecoderOptions {
  /** Most bytes of keys and values. */
  memory: number;
  /** Most requests that run side by side. */
  sequences: number;
  /** Most tokens of prompts in one step. */
  stepTokens: number;
  /** Of our engine's products; null: the model's. */
  precision?: NativePrecision | null;
}
