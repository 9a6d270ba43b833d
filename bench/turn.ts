// A turn of the decoding trial from when each token came. Pure.
import type { DecodeDone } from "./side.js";

/** An answer's tokens, and for each the seconds from the start of the turn to it. */
export interface TimedAnswer {
  tokens: number[];
  seconds: number[];
}

/** Generation is timed from the last first token to the first last one: between them all sequences decode, and no prompt is computed. */
export function decodeTurn(answers: readonly TimedAnswer[], seconds: number): DecodeDone {
  const from = Math.max(...answers.map((answer) => answer.seconds[0] ?? 0));
  const to = Math.min(...answers.map((answer) => answer.seconds.at(-1) ?? 0));
  const waits = answers.flatMap(({ seconds: times }) =>
    times.flatMap((time, at) => (at > 0 && times[at - 1]! >= from && time <= to ? [time - times[at - 1]!] : [])),
  );
  return {
    event: "step",
    answers: answers.map(({ tokens }) => tokens),
    prompt_tokens: null,
    seconds,
    generated: answers.reduce(
      (sum, answer) => sum + answer.seconds.filter((time) => time > from && time <= to).length,
      0,
    ),
    generation_seconds: to - from,
    first_token_seconds: answers.map((answer) => answer.seconds[0] ?? seconds),
    token_seconds: waits,
  };
}
