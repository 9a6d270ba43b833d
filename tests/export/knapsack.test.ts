// The choice under a budget against trying everything, where that can be done; and its bounds where it cannot.
import { describe, expect, it } from "vitest";
import { type Choice, chooseWithin } from "../../src/export/knapsack.js";
import { Random } from "../../src/support/random.js";

const random = new Random(3);
function draw(items: number, scale: number): Choice[][] {
  return Array.from({ length: items }, () =>
    Array.from({ length: 1 + random.below(4) }, () => ({
      bytes: scale * (1 + random.below(20)),
      loss: random.float(),
    })),
  );
}

function totals(items: Choice[][], chosen: number[]) {
  const picked = items.map((choices, index) => choices[chosen[index]!]!);
  const sum = (field: keyof Choice) => picked.reduce((all, choice) => all + choice[field], 0);
  return { bytes: sum("bytes"), loss: sum("loss") };
}

/** The least loss by trying everything; null where nothing fits. */
function slow(items: Choice[][], budget: number): number | null {
  const [first, ...others] = items;
  if (!first) return budget >= 0 ? 0 : null;
  const found = first.flatMap(({ bytes, loss }) => {
    const rest = slow(others, budget - bytes);
    return rest === null ? [] : [rest + loss];
  });
  return found.length > 0 ? Math.min(...found) : null;
}

describe("chooseWithin", () => {
  it("finds what trying everything finds, and says where nothing fits", () => {
    let fitting = 0;
    for (let trial = 0; trial < 200; trial++) {
      const items = draw(1 + random.below(6), 1);
      const budget = 1 + random.below(80);
      const best = slow(items, budget);
      const chosen = chooseWithin(items, budget);
      if (best === null) expect(chosen).toBeNull();
      else {
        const { bytes, loss } = totals(items, chosen!);
        expect(bytes).toBeLessThanOrEqual(budget);
        expect(loss).toBeCloseTo(best, 12);
        fitting++;
      }
    }
    expect(fitting).toBeGreaterThan(50);
    expect(fitting).toBeLessThan(200);
  });

  it("stays within large budgets, and takes the finest of all where there is room", () => {
    const items = draw(100, 1_000_003);
    const most = items.reduce((all, choices) => all + Math.max(...choices.map(({ bytes }) => bytes)), 0);
    const best = items.reduce((all, choices) => all + Math.min(...choices.map(({ loss }) => loss)), 0);
    expect(totals(items, chooseWithin(items, most)!).loss).toBeCloseTo(best, 12);
    let before = Number.POSITIVE_INFINITY;
    const least = items.reduce((all, choices) => all + Math.min(...choices.map(({ bytes }) => bytes)), 0);
    for (const share of [0, 0.1, 0.2, 0.3]) {
      const budget = Math.ceil(least + share * (most - least));
      const { bytes, loss } = totals(items, chooseWithin(items, budget)!);
      expect(bytes).toBeLessThanOrEqual(budget);
      expect(loss).toBeLessThan(before);
      before = loss;
    }
  });

  it("chooses the heavier loss to go first: by hand", () => {
    // 10 bytes to spare: either the first down from 5 to 0, or the second from 3 and the third from 3.
    const items = [
      [
        { bytes: 10, loss: 5 },
        { bytes: 20, loss: 0 },
      ],
      [
        { bytes: 10, loss: 3 },
        { bytes: 15, loss: 0 },
      ],
      [
        { bytes: 10, loss: 3 },
        { bytes: 15, loss: 0 },
      ],
    ];
    expect(chooseWithin(items, 40)).toEqual([0, 1, 1]);
    expect(chooseWithin(items, 30)).toEqual([0, 0, 0]);
    expect(chooseWithin(items, 29)).toBeNull();
  });
});
