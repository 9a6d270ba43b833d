// Plots as SVG: points where they belong, and words that cannot break the file.
import { expect, test } from "vitest";
import { svgOf } from "../../bench/svg.js";

const plot = {
  title: "rows < 3 & more",
  x: "rows",
  y: "ms",
  lines: [
    { name: "ours", points: [1, 4, 16].map((x) => ({ x, y: x * 5 })) },
    { name: "peer", points: [{ x: 16, y: 40 }] },
  ],
};

test("sizes lie evenly on a logarithmic axis, values on one that begins at 0", () => {
  const circles = [...svgOf(plot).matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [
    Number(x),
    Number(y),
  ]);
  // The frame is 472 wide from 64 on, and 248 high down to 288; the axis ends at 100.
  const y = (value: number) => Math.round((288 - value * 2.48) * 10) / 10;
  expect(circles).toEqual([
    [64, y(5)],
    [300, y(20)],
    [536, y(80)],
    [536, y(40)],
  ]);
});

test("axes, lines and sizes have their names", () => {
  const words = [...svgOf(plot).matchAll(/>([^<>]+)<\/text>/g)].map(([, text]) => text);
  expect(words).toEqual(
    expect.arrayContaining(["rows &lt; 3 &amp; more", "rows", "ms", "ours", "peer", "1", "4", "16"]),
  );
  expect(words).toEqual(expect.arrayContaining(["0", "20", "100"]));
});

test("one point alone is a plot", () => {
  expect(svgOf({ ...plot, lines: [plot.lines[1]!] })).not.toMatch(/NaN|Infinity/);
});
