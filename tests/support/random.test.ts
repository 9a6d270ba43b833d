// The seeded generator: its published algorithm, its ranges, and that a sequence can be continued.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Random } from "../../src/support/random.js";

const golden = JSON.parse(readFileSync(new URL("../golden/statistics.json", import.meta.url), "utf8")).random as {
  seed: number;
  stream: number;
  bits: number[];
  floats: number[];
  below: { n: number; values: number[] };
  shuffled: number[];
}[];

describe("Random", () => {
  it.each(golden)("gives the numbers of its Python twin for seed $seed, stream $stream", (expected) => {
    const random = new Random(expected.seed, expected.stream);
    expect(expected.bits.map(() => random.bits())).toEqual(expected.bits);
    expect(expected.floats.map(() => random.float())).toEqual(expected.floats);
    expect(expected.below.values.map(() => random.below(expected.below.n))).toEqual(expected.below.values);
    expect(random.shuffle([...expected.shuffled.keys()])).toEqual(expected.shuffled);
  });

  it("is xoshiro128** 1.1: the first outputs from state 1, 2, 3, 4, by hand", () => {
    const random = new Random(0);
    random.state = [1, 2, 3, 4];
    // rotl(2 * 5, 7) * 9 = 11520; then the state is (7, 0, 1026, 12288) and rotl(0, 7) * 9 = 0.
    expect([random.bits(), random.bits()]).toEqual([11520, 0]);
  });

  it("continues a sequence from its state", () => {
    const random = new Random(7);
    random.bits();
    const copy = new Random(0);
    copy.state = random.state;
    expect([copy.float(), copy.below(10)]).toEqual([random.float(), random.below(10)]);
  });

  it("draws every number below n about equally often, also where 2^32 is no multiple of n", () => {
    const random = new Random(1);
    const n = 3 * 2 ** 30; // without rejection the lower third would come twice as often
    let low = 0;
    for (let i = 0; i < 9000; i++) if (random.below(n) < 2 ** 30) low++;
    expect(Math.abs(low - 3000)).toBeLessThan(200);
  });

  it.each([1, 2, 3, 282, 2 ** 31, 2 ** 31 + 1, 3 * 2 ** 30, 2 ** 32 - 1, 2 ** 32])(
    "gives below %s the remainders of the draws below the last whole multiple",
    (n) => {
      const [random, twin] = [new Random(5), new Random(5)];
      const limit = 2 ** 32 - (2 ** 32 % n);
      const slow = () => {
        for (;;) {
          const draw = twin.bits();
          if (draw < limit) return draw % n;
        }
      };
      for (let i = 0; i < 200; i++) expect(random.below(n)).toBe(slow());
    },
  );

  it("shuffles typed arrays too, and keeps every item", () => {
    const items = new Random(3).shuffle(Int32Array.from({ length: 100 }, (_, i) => i));
    expect([...items]).not.toEqual([...items].sort((a, b) => a - b));
    expect(new Set(items).size).toBe(100);
  });

  it.each([-1, 0.5, Number.NaN, 2 ** 53])("refuses the seed %s", (seed) => {
    expect(() => new Random(seed)).toThrow(/expected a whole number from 0 to 2\^53 - 1 for seed/);
    expect(() => new Random(0, seed)).toThrow(/for stream/);
  });

  it("refuses an empty range and a state that xoshiro cannot leave", () => {
    const random = new Random(0);
    expect(() => random.below(0)).toThrow(/for n, received 0/);
    expect(() => {
      random.state = [0, 0, 0, 0];
    }).toThrow(/four 32-bit words/);
  });
});
