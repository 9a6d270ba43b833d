// The verdict of the gate: which step lost what.
import { describe, expect, it } from "vitest";
import { judge } from "../../src/export/index.js";

const bounds = { adapterMergedKl: 1e-3, mergedQuantizedKl: 0.1, metricDrop: 0.02 };
const about = (value: number) => ({ value, low: value - 0.03, high: value + 0.03 });
const metric = (adapter: number | null, merged: number, quantized: number, name = "accuracy") => ({
  name,
  adapter: adapter === null ? null : about(adapter),
  merged: about(merged),
  quantized: about(quantized),
});
const verdict = (merging: number | null, quantizing: number | null, found = metric(0.9, 0.9, 0.9)) =>
  judge({ kl: { adapter_merged: merging, merged_quantized: quantizing }, metric: found }, { bounds });

describe("judge", () => {
  it("passes what stays within every bound, the bound included", () => {
    expect(verdict(1e-3, 0.1)).toEqual([]);
    expect(verdict(null, 0.05, metric(null, 0.9, 0.9))).toEqual([]);
  });

  it("has no bound for what quantising moves where it is told so", () => {
    const free = { bounds: { ...bounds, mergedQuantizedKl: null } };
    expect(judge({ kl: { adapter_merged: null, merged_quantized: 9 }, metric: metric(null, 0.9, 0.9) }, free)).toEqual(
      [],
    );
    const lost = metric(null, 0.9, 0.8);
    expect(judge({ kl: { adapter_merged: null, merged_quantized: 9 }, metric: lost }, free)).toHaveLength(1);
  });

  it("has the metric alone where a head answers", () => {
    expect(verdict(null, null, metric(null, 0.9, 0.9))).toEqual([]);
    expect(verdict(null, null, metric(null, 0.9, 0.8))).toEqual([
      "quantising took accuracy from 0.9 to 0.8, the bound is 0.02",
    ]);
  });

  it("says which step moved the answers", () => {
    expect(verdict(0.0012345, 0.05)).toEqual(["merging moved the answers by a KL of 0.00123 nats, the bound is 0.001"]);
    expect(verdict(0, 0.25)).toEqual(["quantising moved the answers by a KL of 0.25 nats, the bound is 0.1"]);
    expect(verdict(Number.NaN, Number.NaN)).toHaveLength(2);
  });

  it("says which step lost the metric, only where it also left the interval", () => {
    expect(verdict(0, 0, metric(0.9, 0.85, 0.85))).toEqual([
      "merging took accuracy from 0.9 to 0.85, the bound is 0.02",
    ]);
    expect(verdict(0, 0, metric(0.9, 0.9, 0.85))).toEqual([
      "quantising took accuracy from 0.9 to 0.85, the bound is 0.02",
    ]);
    expect(verdict(0, 0, metric(0.9, 0.9, 0.875))).toEqual([]); // past the bound, within 0.87 – 0.93
    expect(verdict(0, 0, metric(0.8, 0.9, 0.9))).toEqual([]);
  });

  it("knows that a log-loss gets worse as it rises", () => {
    expect(verdict(0, 0, metric(0.3, 0.3, 0.5, "log_loss"))).toHaveLength(1);
    expect(verdict(0, 0, metric(0.5, 0.5, 0.3, "log_loss"))).toEqual([]);
  });
});
