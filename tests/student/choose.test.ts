// What stays: layers by rounds of measuring, channels by size.
import { describe, expect, it } from "vitest";
import { chooseLayers, largest, measurings } from "../../src/student/choose.js";

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

describe("largest", () => {
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
