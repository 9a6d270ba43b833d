// What stays: layers by rounds of measuring, channels by size.
import { describe, expect, it } from "vitest";
import { chooseHeads, chooseLayers, largest, measurings } from "../../src/student/choose.js";

describe("chooseLayers", () => {
  it("measures again after each round, so that of two layers that stand in for each other one stays", async () => {
    // Without both 1 and 2 the loss is 10; without one of them it hardly rises.
    const worth = [5, 0, 0, 1, 2, 5];
    const loss = async (kept: number[]) => {
      const gone = [...worth.keys()].filter((layer) => !kept.includes(layer));
      const sum = gone.reduce((total, layer) => total + worth[layer]!, 0);
      return kept.includes(1) || kept.includes(2) ? sum : 10 + sum;
    };
    expect(await chooseLayers(6, 4, loss)).toEqual([0, 1, 4, 5]);
    expect(await chooseLayers(6, 6, loss)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await chooseLayers(6, 1, loss)).toHaveLength(1);
  });

  it("takes a loss that is no number for the worst", async () => {
    expect(await chooseLayers(3, 2, async (kept) => (kept.includes(1) ? 1 : Number.NaN))).toEqual([0, 1]);
  });

  it.each([
    [30, 10, 88],
    [6, 4, 11],
    [6, 6, 0],
    [2, 1, 2],
  ])("of %d layers to %d measures %d times", async (layers, keep, count) => {
    let measured = 0;
    await chooseLayers(layers, keep, async () => measured++);
    expect([measured, measurings(layers, keep)]).toEqual([count, count]);
  });
});

describe("heads", () => {
  const heads = (energies: number[], keyValueHeads: number, wanted: [number, number]) => {
    const [count, keyValue] = wanted;
    const found = chooseHeads(
      energies,
      { heads: energies.length, keyValueHeads },
      { heads: count, keyValueHeads: keyValue },
    );
    return [[...found.heads], [...found.keyValueHeads]];
  };
  it("stay in whole groups where as many read one key-value head", () => {
    expect(heads([1, 1, 5, 0, 3, 3], 3, [4, 2])).toEqual([
      [2, 3, 4, 5],
      [1, 2],
    ]);
  });
  it("stay in parts of groups where fewer do", () => {
    // Of groups of three one pair each; of single heads the largest, with the key-value head that each had.
    expect(heads([1, 5, 2, 9, 0, 8], 2, [2, 1])).toEqual([[3, 5], [1]]);
    expect(heads([1, 5, 2, 9, 0, 8], 2, [4, 4])).toEqual([
      [1, 2, 3, 5],
      [0, 0, 1, 1],
    ]);
  });
  it("are new where the teacher has no more", () => {
    expect(heads([1, 2], 1, [6, 2])).toEqual([
      [0, 1, -1, -1, -1, -1],
      [0, -1],
    ]);
  });
});

describe("largest", () => {
  it("has -1 for what is wanted beyond them", () => {
    expect([...largest([3, 1], 4)]).toEqual([0, 1, -1, -1]);
  });

  it("gives places in rising order, and of equals the earlier one", () => {
    expect([...largest(Float64Array.of(1, 3, 2, 3, 2), 3)]).toEqual([1, 2, 3]);
    expect([
      ...largest(
        Float64Array.from({ length: 12 }, (_, i) => i),
        3,
      ),
    ]).toEqual([9, 10, 11]);
  });
});
