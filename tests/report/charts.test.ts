// Charts: points where they belong, words that cannot break the file, and the same said in words.
import { expect, test } from "vitest";
import { scaleOf } from "../../src/report/axis.js";
import { intervalChart, lineChart } from "../../src/report/index.js";

const chart = {
  title: "rows < 3 & more",
  x: { label: "rows", scale: "log" as const, ticks: [1, 4, 16] },
  y: { label: "ms", from: 0 },
  series: [
    { name: "ours", points: [1, 4, 16].map((x) => ({ x, y: x * 5 })) },
    { name: "peer", points: [{ x: 16, y: 40, low: 20, high: 60 }] },
  ],
};
const circles = (svg: string) =>
  [...svg.matchAll(/<circle [^>]*cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [Number(x), Number(y)]);
const texts = (svg: string) => [...svg.matchAll(/>([^<>]+)<\/text>/g)].map(([, text]) => text);

test("sizes lie evenly on a logarithmic axis, values on one that begins at 0", () => {
  // The inner part is 472 wide from 64 on, and 248 high down to 308; the vertical axis ends at 80.
  const y = (value: number) => Math.round((308 - value * 3.1) * 10) / 10;
  expect(circles(lineChart(chart))).toEqual([
    [64, y(5)],
    [300, y(20)],
    [536, y(80)],
    [536, y(40)],
  ]);
});

test("an interval is a line from its low to its high end", () => {
  expect(lineChart(chart)).toContain(`d="M536.0 246.0V122.0"`);
});

test("axes, series and sizes have their names, and signs of XML are escaped", () => {
  expect(texts(lineChart(chart))).toEqual(
    expect.arrayContaining(["rows &lt; 3 &amp; more", "rows", "ms", "ours", "peer", "1", "4", "16", "0", "20", "80"]),
  );
});

test("who cannot see the chart is told what it says", () => {
  expect(lineChart(chart)).toContain("<desc>ms over rows. ours: 5 at 1, 80 at 16. peer: 40 at 16, 40 at 16.</desc>");
});

test("what is not finite is left out and parts the line", () => {
  const series = [
    { name: "loss", marks: "line" as const, points: [1, 2, 3, 4].map((x) => ({ x, y: x === 2 ? Number.NaN : x })) },
  ];
  const svg = lineChart({ ...chart, x: { label: "step" }, series });
  expect(svg).not.toMatch(/NaN|Infinity/);
  expect(svg.match(/d="M[\d. ]+M[\d. ]+L[\d. ]+"/g)).toHaveLength(1);
});

test("one point alone, or none, is a chart", () => {
  expect(lineChart({ ...chart, series: [chart.series[1]!] })).not.toMatch(/NaN|Infinity/);
  expect(lineChart({ ...chart, series: [] })).not.toMatch(/NaN|Infinity/);
});

test("ticks are round and hold the values between them", () => {
  expect(scaleOf({ label: "" }, [0.13, 0.86]).ticks).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  expect(scaleOf({ label: "", scale: "log" }, [2, 3000]).ticks).toEqual([10, 100, 1000]);
  expect(scaleOf({ label: "" }, [-3, 4]).ticks).toEqual([-4, -2, 0, 2, 4]);
  // In doubles four steps of 5e-5 are a little less.
  expect(scaleOf({ label: "", from: 0 }, [2e-4]).ticks).toEqual([0, 5e-5, 1e-4, 1.5e-4, 2e-4]);
});

test("intervals lie on a common axis with the reference", () => {
  const rows = [
    { label: "a", value: 0.2, low: 0.1, high: 0.4 },
    { label: "b<", value: 0.4 },
  ];
  const svg = intervalChart({ title: "gaps", x: { label: "difference" }, rows, reference: 0 });
  // 16 + 7 * 2 = 30 on the left; 506 from there to 536; the axis runs from 0 to 0.4.
  expect(circles(svg)).toEqual([
    [283, 48],
    [536, 72],
  ]);
  expect(svg).toContain('d="M156.5 48H536.0"');
  expect(svg).toContain('d="M30.0 36V88"');
  expect(svg).toContain("<desc>difference. a: 0.2, 0.1 to 0.4. b&lt;: 0.4.</desc>");
});

test("labels that are too long to stand beside their lines stand above them, whole", () => {
  const label = "nationality: writer, american to mexican";
  const svg = intervalChart({
    title: "t",
    x: { label: "x" },
    rows: [
      { label, value: 0 },
      { label: "b", value: 1 },
    ],
  });
  expect(svg).toContain(`<text x="28" y="54">${label}</text>`);
  expect(svg).toContain('<text x="28" y="94">b</text>');
  expect(circles(svg)).toEqual([
    [24, 66],
    [536, 106],
  ]);
  expect(intervalChart({ title: "t", x: { label: "x" }, rows: [{ label: "c".repeat(99), value: 0 }] })).toContain(
    "c…<",
  );
});

test("a file of its own brings its colours, a part of a page does not", () => {
  expect(lineChart({ ...chart, alone: true })).toContain("<style>");
  expect(lineChart(chart)).not.toContain("<style>");
});
