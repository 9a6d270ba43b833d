// The rule for what is missing: data skips, a service fails under CI.
import { expect, test } from "vitest";
import { type Need, verdict } from "./needs.js";

const need = (kind: Need["kind"], present: boolean): Need => ({ kind, present: () => present, remedy: "" });

test.each([
  ["data", true, false, "run"],
  ["data", false, false, "skip"],
  ["data", false, true, "skip"],
  ["service", true, true, "run"],
  ["service", false, false, "skip"],
  ["service", false, true, "fail"],
] as const)("%s present %s with CI %s: %s", (kind, present, ci, expected) => {
  expect(verdict(need(kind, present), ci)).toBe(expected);
});
