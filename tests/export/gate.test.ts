// The verdict of the gate: which step lost what.
import { describe, expect, it } from "vitest";
import type { Estimate } from "../../src/evaluate/index.js";
import { refusalOf } from "../../src/export/gate.js";
import { type Gate, judge } from "../../src/export/index.js";

const bounds = { adapterMergedKl: 1e-3, mergedQuantizedKl: 0.1, metricDrop: 0.02 };
const about = (value: number) => ({ value, low: value - 0.03, high: value + 0.03 });
const metric = (adapter: number | null, merged: number, quantized: number, name = "accuracy") => ({
  name,
  adapter: adapter === null ? null : about(adapter),
  merged: about(merged),
  quantized: about(quantized),
});
/** Changes that no test takes for more than chance: what the rows drawn again give decides. */
const found = (kl: Gate["kl"], measured: Gate["metric"]) => {
  const change = ({ low, high }: Estimate) => ({
    ...{ difference: { value: 0, low: 0, high: 0 }, test: "mcnemar" as const, p_value: 1, bound: 0.02 },
    redrawn: [low!, high!] as [number, number],
  });
  const { adapter, merged } = measured;
  return {
    ...{ kl, metric: measured },
    changes: { adapter_merged: adapter && change(adapter), merged_quantized: change(merged) },
  };
};
const verdict = (merging: number | null, quantizing: number | null, measured = metric(0.9, 0.9, 0.9)) =>
  judge(found({ adapter_merged: merging, merged_quantized: quantizing }, measured), { bounds });

const draws = "(95 % of the draws of these rows give 0.87 to 0.93 before it)";

describe("judge", () => {
  it("passes what stays within every bound, the bound included", () => {
    expect(verdict(1e-3, 0.1)).toEqual([]);
    expect(verdict(null, 0.05, metric(null, 0.9, 0.9))).toEqual([]);
  });

  it("has no bound for what quantising moves where it is told so", () => {
    const free = { bounds: { ...bounds, mergedQuantizedKl: null } };
    const kl = { adapter_merged: null, merged_quantized: 9 };
    expect(judge(found(kl, metric(null, 0.9, 0.9)), free)).toEqual([]);
    expect(judge(found(kl, metric(null, 0.9, 0.8)), free)).toHaveLength(1);
  });

  it("has the metric alone where a head answers", () => {
    expect(verdict(null, null, metric(null, 0.9, 0.9))).toEqual([]);
    expect(verdict(null, null, metric(null, 0.9, 0.8))).toEqual([
      `quantising took accuracy from 0.9 to 0.8, the bound is 0.02 ${draws}`,
    ]);
  });

  it("says which step moved the answers", () => {
    expect(verdict(0.0012345, 0.05)).toEqual(["merging moved the answers by a KL of 0.00123 nats, the bound is 0.001"]);
    expect(verdict(0, 0.25)).toEqual(["quantising moved the answers by a KL of 0.25 nats, the bound is 0.1"]);
    expect(verdict(Number.NaN, Number.NaN)).toHaveLength(2);
  });

  it("says which step lost the metric, only where the draws of the rows do not reach it", () => {
    expect(verdict(0, 0, metric(0.9, 0.85, 0.85))).toEqual([
      `merging took accuracy from 0.9 to 0.85, the bound is 0.02 ${draws}`,
    ]);
    expect(verdict(0, 0, metric(0.9, 0.9, 0.85))).toEqual([
      `quantising took accuracy from 0.9 to 0.85, the bound is 0.02 ${draws}`,
    ]);
    expect(verdict(0, 0, metric(0.9, 0.9, 0.875))).toEqual([]); // past the bound, within 0.87 – 0.93
    expect(verdict(0, 0, metric(0.8, 0.9, 0.9))).toEqual([]);
  });

  it("knows that a log-loss gets worse as it rises", () => {
    expect(verdict(0, 0, metric(0.3, 0.3, 0.5, "log_loss"))).toHaveLength(1);
    expect(verdict(0, 0, metric(0.5, 0.5, 0.3, "log_loss"))).toEqual([]);
  });
});

it("recommends an importance matrix only where none was used, and only against what quantising lost", () => {
  const said = (failure: string, weighed: boolean) =>
    refusalOf({ failures: [failure], rows: 9, split: "test" }, weighed);
  const quantising = "quantising moved accuracy";
  const rest = "more rows or another bound may pass";
  expect(said(quantising, false)).toBe(`on 9 test rows ${quantising}; a finer type, an importance matrix, ${rest}`);
  expect(said(quantising, true)).toBe(`on 9 test rows ${quantising}; a finer type, ${rest}`);
  expect(said("merging moved accuracy", false)).toBe(`on 9 test rows merging moved accuracy; ${rest}`);
});
