// A turn of the decoding trial from the times of its tokens, with times that add up by hand.
import { expect, test } from "vitest";
import { decodeTurn } from "../../bench/turn.js";

test("generation is timed while all answers go on", () => {
  const answers = [
    { tokens: [1, 2, 3, 4], seconds: [1, 2, 4, 5] },
    { tokens: [5, 6, 7], seconds: [3, 4, 6] },
  ];
  // From 3, when the second begins, to 5, when the first ends: its tokens at 4 and 5, and the second's at 4.
  expect(decodeTurn(answers, 8)).toEqual({
    event: "step",
    answers: [
      [1, 2, 3, 4],
      [5, 6, 7],
    ],
    prompt_tokens: null,
    seconds: 8,
    generated: 3,
    generation_seconds: 2,
    first_token_seconds: [1, 3],
    token_seconds: [1, 1],
  });
});
