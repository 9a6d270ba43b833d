// Axes of a chart: their ticks, and where a value lies on them; values as text. Knows no SVG.

/** What an axis shows. */
export interface Axis {
  /** With its unit: "loss (nats a token)". */
  label: string;
  /** Default "linear". */
  scale?: "linear" | "log";
  /** Ends of the axis that hold whatever the values are; by default the values' own, to the next tick. */
  from?: number;
  to?: number;
  /** Values at which the axis is labelled instead of round ones. */
  ticks?: readonly number[];
}

/** An axis over values: its ends, its ticks, and the share of its length at which a value lies (0 to 1). */
export interface Scale {
  from: number;
  to: number;
  ticks: number[];
  place(value: number): number;
}

/** Lays an axis over values; what is not finite is no value. Without any, the axis runs from 0 to 1. */
export function scaleOf(axis: Axis, values: Iterable<number>): Scale {
  const found = [...values].filter(Number.isFinite);
  let [least, most] = [axis.from ?? Infinity, axis.to ?? -Infinity];
  for (const value of found) [least, most] = [Math.min(least, value), Math.max(most, value)];
  if (!Number.isFinite(least) || !Number.isFinite(most)) [least, most] = [axis.from ?? 0, axis.to ?? 1];
  const log = axis.scale === "log" && least > 0;
  if (axis.ticks) return between(least, most, [...axis.ticks], log);
  if (log) return between(least, most, powers(least, most), true);
  const by = stepOf(least, most);
  const from = axis.from ?? exact(by * Math.floor(least / by + 1e-9));
  const to = axis.to ?? exact(by * Math.ceil(most / by - 1e-9));
  const count = Math.round((to - from) / by);
  // What is left of a sum that is 0 is no tick of its own.
  const at = (index: number) => (Math.abs(from + by * index) < by * 1e-9 ? 0 : exact(from + by * index));
  const ticks = Array.from({ length: count + 1 }, (_, index) => at(index)).filter((tick) => tick <= to);
  return between(from, to === from ? from + by : to, ticks, false);
}

function between(from: number, to: number, ticks: number[], log: boolean): Scale {
  const of = log ? Math.log : (value: number) => value;
  const length = of(to) - of(from) || 1;
  return { from, to, ticks, place: (value) => (of(value) - of(from)) / length };
}

/** The step of 1, 2 or 5 times a power of ten that makes about five. */
function stepOf(least: number, most: number): number {
  const wanted = (most - least || Math.abs(most) || 1) / 5;
  const power = 10 ** Math.floor(Math.log10(wanted));
  return power * ([1, 2, 5, 10].find((times) => times * power >= wanted * 0.999) ?? 10);
}

function powers(least: number, most: number): number[] {
  const ticks: number[] = [];
  for (let power = Math.ceil(Math.log10(least) - 1e-9); power <= Math.log10(most) + 1e-9; power++)
    ticks.push(exact(10 ** power));
  return ticks.length > 1 ? ticks : [least, most];
}

/** Without the last digits that sums of steps leave. */
const exact = (value: number): number => Number(value.toPrecision(12));

/** A tick or a value as text: 4 digits, thousands apart, exponents where it is long. */
export function label(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7))
    return Number(value.toPrecision(3)).toExponential().replace("e+", "e");
  return Number(value.toPrecision(4)).toLocaleString("en");
}

/** A number of a table as text: a whole one in full, others as {@link label}. */
export function numberText(value: number): string {
  return Number.isSafeInteger(value) ? value.toLocaleString("en") : label(value);
}

/** Whether a value has an interval. */
export function hasEnds<Value extends { low?: number | null; high?: number | null }>(
  value: Value,
): value is Value & { low: number; high: number } {
  return typeof value.low === "number" && typeof value.high === "number";
}
