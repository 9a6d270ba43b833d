// From text to tokens: data text never becomes a control token, and an answer has the same tokens after every prompt.
import type { Row } from "../dataset/index.js";
import type { Prompt } from "../prompt/index.js";
import type { NativeTokenizer } from "../support/native.js";

/** A row as tokens. */
export interface Encoded {
  prompt: Int32Array;
  /** Ends with the end token when it was asked for. */
  answer: Int32Array;
  row: Row;
  /** What a head of the task's own should give at the end of the prompt; the answer is then one token that is not looked at. */
  target?: readonly number[];
  /** Tokens at the front of the prompt that a cut leaves (the model's BOS), default 0. */
  keep?: number;
}

/**
 * The tokens of a prompt, BOS in front where the model asks for it. The text is taken as a whole, as the model has seen it in
 * training; when text of the data would become a control token that way, piece by piece.
 *
 * @example
 * ```ts
 * const tokens = encodePrompt(model.tokenizer, prompt.render(row, []));
 * ```
 */
export function encodePrompt(tokenizer: NativeTokenizer, prompt: Prompt): Int32Array {
  const tokens = encodePieces(tokenizer, prompt);
  if (!tokenizer.addsBos || tokenizer.bos < 0 || tokens[0] === tokenizer.bos) return tokens;
  return concat([Int32Array.of(tokenizer.bos), tokens]);
}

function encodePieces(tokenizer: NativeTokenizer, { pieces }: Prompt): Int32Array {
  const text = pieces.map((piece) => piece.text).join("");
  if (!pieces.some((piece) => piece.control)) return tokenizer.tokenize(text, false, false);
  const whole = tokenizer.tokenize(text, false, true);
  const apart = pieces.map((piece) => ({
    control: piece.control,
    tokens: tokenizer.tokenize(piece.text, false, true),
  }));
  const meant = apart.filter((piece) => piece.control).flatMap(({ tokens }) => controls(tokenizer, tokens));
  const harmless = apart.every((piece) => piece.control || controls(tokenizer, piece.tokens).length === 0);
  if (harmless && sameTokens(meant, controls(tokenizer, whole))) return whole;
  return concat(pieces.map((piece) => tokenizer.tokenize(piece.text, false, piece.control)));
}

/** Anchors that an answer is read behind: one that text goes on after with a space, one that it begins after. */
const anchors = { space: ":", start: "\n" };

/**
 * The tokens of an answer as it goes on after a prompt, the same after every prompt: what is learnt is what is scored.
 * Read behind an anchor, because some tokenizers put a space before text that stands alone.
 */
export function encodeAnswer(tokenizer: NativeTokenizer, text: string): Int32Array {
  const anchor = /^\s/.test(text) ? anchors.space : anchors.start;
  const front = tokenizer.tokenize(anchor, false, false);
  const both = tokenizer.tokenize(anchor + text, false, false);
  const goesOn = both.length > front.length && sameTokens(front, both.subarray(0, front.length));
  return goesOn ? both.slice(front.length) : tokenizer.tokenize(text, false, false);
}

/**
 * A row as tokens, prompt and answer apart.
 *
 * @param options.withEnd - put the model's end token behind the answer
 * @example
 * ```ts
 * const encoded = encodeRow(model.tokenizer, prompt.render(row, []), row, { withEnd: true });
 * ```
 */
export function encodeRow(
  tokenizer: NativeTokenizer,
  prompt: Prompt,
  row: Row,
  options: { withEnd: boolean },
): Encoded {
  const tokens = encodePrompt(tokenizer, prompt);
  const end = tokenizer.eos >= 0 ? tokenizer.eos : tokenizer.endTokens[0];
  const answer = encodeAnswer(tokenizer, prompt.answer);
  return {
    prompt: tokens,
    answer: options.withEnd && end !== undefined ? concat([answer, Int32Array.of(end)]) : answer,
    row,
    keep: tokenizer.bos >= 0 && tokens[0] === tokenizer.bos ? 1 : 0,
  };
}

/**
 * A text without an answer, as rows that ask for each of its tokens but the first (behind BOS, where the model asks for it, for the first too), cut where it is
 * longer than maxTokens. No end token: a text goes on, or nobody knows. A last piece of a single token is left out.
 *
 * @param row - where the text stands
 */
export function encodeText(tokenizer: NativeTokenizer, text: string, row: Row, maxTokens: number): Encoded[] {
  const tokens = tokenizer.tokenize(text, false, false);
  const front = tokenizer.addsBos && tokenizer.bos >= 0 ? [Int32Array.of(tokenizer.bos)] : [];
  const length = maxTokens - front.length;
  const pieces: Encoded[] = [];
  for (let from = 0; from < tokens.length; from += length) {
    const piece = concat([...front, tokens.subarray(from, from + length)]);
    if (piece.length > 1) pieces.push({ prompt: piece.slice(0, 1), answer: piece.slice(1), row });
  }
  return pieces;
}

/** Cuts the front of the prompt behind BOS so that prompt and answer fit; null when no token of the prompt would be left. */
export function fitRow(encoded: Encoded, maxTokens: number): Encoded | null {
  const { prompt, answer, keep = 0 } = encoded;
  const room = maxTokens - answer.length;
  if (prompt.length <= room) return encoded;
  if (room <= keep) return null;
  return { ...encoded, prompt: concat([prompt.subarray(0, keep), prompt.subarray(prompt.length - (room - keep))]) };
}

const controlTokens = new WeakMap<NativeTokenizer, Map<number, boolean>>();

/** Those of the tokens that are control tokens: they have no text unless it is asked for. */
function controls(tokenizer: NativeTokenizer, tokens: Int32Array): number[] {
  let known = controlTokens.get(tokenizer);
  if (known === undefined) {
    known = new Map();
    controlTokens.set(tokenizer, known);
  }
  const found: number[] = [];
  for (const token of tokens) {
    let control = known.get(token);
    if (control === undefined) {
      const one = Int32Array.of(token);
      control = tokenizer.detokenize(one, false) !== tokenizer.detokenize(one, true);
      known.set(token, control);
    }
    if (control) found.push(token);
  }
  return found;
}

function sameTokens(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}

function concat(parts: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
