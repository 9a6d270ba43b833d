// Packing: whatever is merged, every query sees exactly its own row, and nothing is computed twice that need not be.
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Encoded, microBatches, packChoices, packRows } from "../../src/tokens/index.js";
import { rowOf } from "../prompt/rows.js";
import { checkShape, expand } from "./expand.js";

const row = rowOf({});
const encoded = (prompt: number[], answer: number[]): Encoded => ({
  prompt: Int32Array.from(prompt),
  answer: Int32Array.from(answer),
  row,
});

/** What each query of a row must see and ask for. */
const wanted = ({ prompt, answer }: { prompt: ArrayLike<number>; answer: ArrayLike<number> }) =>
  Array.from(answer, (_, index) => [...Array.from(prompt), ...Array.from(answer).slice(0, index + 1)]);

// Few tokens and a common beginning, so that rows share much, end inside one another and repeat.
const token = fc.nat(2);
const prompts = fc
  .tuple(
    fc.array(token, { minLength: 1, maxLength: 24 }),
    fc.array(fc.tuple(fc.nat(24), fc.array(token, { maxLength: 20 })), { minLength: 1, maxLength: 10 }),
  )
  .map(([trunk, tails]) => tails.map(([cut, tail]) => [...trunk.slice(0, Math.max(1, cut)), ...tail]));
const answer = fc.array(token, { minLength: 1, maxLength: 4 });
const rows = prompts.chain((all) => fc.tuple(...all.map((prompt) => answer.map((one) => encoded(prompt, one)))));

test.each([true, false])("rows unfold to themselves, row by row (sharePrefix %s)", (sharePrefix) => {
  fc.assert(
    fc.property(rows, (given) => {
      const batch = packRows(given, { sharePrefix });
      checkShape(batch);
      expect(expand(batch)).toEqual(given.flatMap(wanted));
      const alone = given.reduce((sum, one) => sum + one.prompt.length + one.answer.length - 1, 0);
      if (sharePrefix) expect(batch.tokens.length).toBeLessThanOrEqual(alone);
      else expect(batch.tokens.length).toBe(alone);
    }),
    { numRuns: 500, seed: 3 },
  );
});

test("a shared instruction stands once", () => {
  const instruction = Array.from({ length: 20 }, (_, index) => index);
  const batch = packRows([encoded([...instruction, 30, 31], [1, 2]), encoded([...instruction, 40], [1])], {
    sharePrefix: true,
  });
  expect([...batch.segments]).toEqual([0, 20, -1, 20, 3, 0, 23, 1, 0]);
  expect([...batch.tokens]).toEqual([...instruction, 30, 31, 1, 40]);
  expect([...batch.queryPositions]).toEqual([21, 22, 23]);
  expect([...batch.queryTokens]).toEqual([1, 2, 1]);
});

test("a beginning too short to pay is repeated; equal rows stand once with all their queries", () => {
  expect([...packRows([encoded([1, 2], [5]), encoded([1, 3], [5])], { sharePrefix: true }).segments]).toEqual([
    0, 2, -1, 2, 2, -1,
  ]);
  const twice = packRows([encoded([1, 2], [5]), encoded([1, 2], [6])], { sharePrefix: true });
  expect([[...twice.segments], [...twice.queryPositions], [...twice.queryTokens]]).toEqual([
    [0, 2, -1],
    [1, 1],
    [5, 6],
  ]);
});

test("choices unfold to prompt and choice; the last token of a choice goes in only as another's beginning", () => {
  const choices = fc.array(answer, { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(
      prompts.chain((all) => fc.tuple(...all.map((prompt) => choices.map((some) => ({ prompt, some }))))),
      (given) => {
        const { batch, ranges } = packChoices(
          given.map(({ prompt }) => Int32Array.from(prompt)),
          given.map(({ some }) => some.map((one) => Int32Array.from(one))),
        );
        checkShape(batch);
        const seen = expand(batch);
        let next = 0;
        for (const { prompt, some } of given) {
          for (const one of some) {
            expect(seen.slice(ranges[next]!, ranges[next + 1]!)).toEqual(wanted({ prompt, answer: one }));
            next += 2;
          }
        }
        expect(next).toBe(ranges.length);
      },
    ),
    { numRuns: 500, seed: 3 },
  );
});

test("77 labels with beginnings in common cost one branch each", () => {
  const prompt = Int32Array.from({ length: 50 }, (_, index) => index);
  const { batch, ranges } = packChoices(
    [prompt],
    [[[1], [2, 3], [2, 4], [2, 4, 5]].map((one) => Int32Array.from(one))],
  );
  expect([...batch.segments]).toEqual([0, 50, -1, 50, 1, 0, 51, 1, 1]);
  expect([...batch.tokens.subarray(50)]).toEqual([2, 4]);
  expect([...ranges]).toEqual([0, 1, 1, 3, 3, 5, 5, 8]);
  expect([...batch.queryPositions]).toEqual([49, 49, 50, 49, 50, 49, 50, 51]);
});

test("rows, prompts and choices without a token are refused", () => {
  expect(() => packRows([encoded([], [1])], { sharePrefix: true })).toThrow(
    /at least one token of prompt and of answer for the row \/rows\.jsonl/,
  );
  expect(() => packRows([encoded([1], [])], { sharePrefix: false })).toThrow(/at least one token/);
  expect(() => packChoices([Int32Array.of()], [[Int32Array.of(1)]])).toThrow(/a prompt of at least one token/);
  expect(() => packChoices([Int32Array.of(1)], [[Int32Array.of()]])).toThrow(/choices of at least one token/);
});

test("micro-batches keep all rows in order, and hold their budget", () => {
  fc.assert(
    fc.property(rows, fc.integer({ min: 1, max: 120 }), fc.boolean(), (given, tokenBudget, sharePrefix) => {
      const batches = microBatches(given, { tokenBudget, sharePrefix });
      expect(batches.flat()).toEqual(given);
      for (const batch of batches) {
        if (batch.length > 1) expect(packRows(batch, { sharePrefix }).tokens.length).toBeLessThanOrEqual(tokenBudget);
      }
    }),
    { numRuns: 500, seed: 3 },
  );
  expect(microBatches([], { tokenBudget: 10, sharePrefix: true })).toEqual([]);
  const ten = encoded([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2]);
  expect(microBatches([ten, ten, ten], { tokenBudget: 20, sharePrefix: false }).map((one) => one.length)).toEqual([
    2, 1,
  ]);
});

test("a thousand rows that each begin with the one before are packed without deep recursion", () => {
  const chain = Array.from({ length: 1000 }, (_, index) =>
    encoded(
      Array.from({ length: 8 * (index + 1) }, () => 1),
      [2],
    ),
  );
  const batch = packRows(chain, { sharePrefix: true });
  expect(batch.tokens.length).toBe(8000);
  expect(batch.segments.length / 3).toBe(1000);
});
