// Charts: points where they belong, words that cannot break the file, and the same said in words.
import { expect, test } from "vitest";
import { scaleOf } from "../../src/report/axis.js";
import { type IntervalChart, intervalChart, type LineChart, lineChart, widths } from "../../src/report/index.js";
import { broken } from "../../src/report/svg.js";

const line = (chart: LineChart, width = widths.wide) => lineChart(chart)(width);
const interval = (chart: IntervalChart, width = widths.wide) => intervalChart(chart)(width);
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
  // The inner part is 511 wide from 10 + 7.5 * 2 on, and 248 high down to 328; the vertical axis ends at 80.
  const y = (value: number) => Math.round((328 - value * 3.1) * 10) / 10;
  expect(circles(line(chart))).toEqual([
    [25, y(5)],
    [280.5, y(20)],
    [536, y(80)],
    [536, y(40)],
  ]);
});

test("an interval is a line from its low to its high end", () => {
  expect(line(chart)).toContain(`d="M536.0 266.0V142.0"`);
});

test("axes, series and sizes have their names, and signs of XML are escaped", () => {
  expect(texts(line(chart))).toEqual(
    expect.arrayContaining(["rows &lt; 3 &amp; more", "rows", "ms", "ours", "peer", "1", "4", "16", "0", "20", "80"]),
  );
});

test("who cannot see the chart is told what it says", () => {
  expect(line(chart)).toContain("<desc>ms over rows. ours: 5 at 1, 80 at 16. peer: 40 at 16, 40 at 16.</desc>");
});

test("what is not finite is left out and parts the line", () => {
  const series = [
    { name: "loss", marks: "line" as const, points: [1, 2, 3, 4].map((x) => ({ x, y: x === 2 ? Number.NaN : x })) },
  ];
  const svg = line({ ...chart, x: { label: "step" }, series });
  expect(svg).not.toMatch(/NaN|Infinity/);
  expect(svg.match(/d="M[\d. ]+M[\d. ]+L[\d. ]+"/g)).toHaveLength(1);
});

test("one point alone, or none, is a chart", () => {
  expect(line({ ...chart, series: [chart.series[1]!] })).not.toMatch(/NaN|Infinity/);
  expect(line({ ...chart, series: [] })).not.toMatch(/NaN|Infinity/);
});

test("ticks are round and hold the values between them", () => {
  expect(scaleOf({ label: "" }, [0.13, 0.86]).ticks).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  expect(scaleOf({ label: "", scale: "log" }, [2, 3000]).ticks).toEqual([10, 100, 1000]);
  expect(scaleOf({ label: "" }, [-3, 4]).ticks).toEqual([-4, -2, 0, 2, 4]);
  expect(scaleOf({ label: "" }, [-1e-4, 0]).ticks).toEqual([-1e-4, -8e-5, -6e-5, -4e-5, -2e-5, 0]);
  // In doubles four steps of 5e-5 are a little less.
  expect(scaleOf({ label: "", from: 0 }, [2e-4]).ticks).toEqual([0, 5e-5, 1e-4, 1.5e-4, 2e-4]);
});

test("intervals lie on a common axis with the reference", () => {
  const rows = [
    { label: "a", value: 0.2, low: 0.1, high: 0.4 },
    { label: "b<", value: 0.4 },
    { label: "c", value: 0.4, low: null, high: null },
  ];
  const svg = interval({ title: "gaps", x: { label: "difference" }, rows, reference: 0 });
  // 16 + 7.5 * 2 = 31 on the left; 505 from there to 536; the axis runs from 0 to 0.4.
  expect(circles(svg)).toEqual([
    [283.5, 48],
    [536, 72],
    [536, 96],
  ]);
  expect(svg).toContain('d="M157.3 48H536.0"');
  expect(svg.match(/ line"/g)).toHaveLength(1);
  expect(svg).toContain('d="M31.0 36V112"');
  expect(svg).toContain("<desc>difference. a: 0.2, 0.1 to 0.4. b&lt;: 0.4. c: 0.4.</desc>");
});

test("labels that are too long to stand beside their lines stand above them, whole", () => {
  const label = "nationality: writer, american to mexican";
  const svg = interval({
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
    [24, 64],
    [536, 104],
  ]);
  expect(interval({ title: "t", x: { label: "x" }, rows: [{ label: "c".repeat(299), value: 0 }] })).toContain("c…<");
});

test("what is too long for a line is parted between words, and ends after three", () => {
  expect(broken("one two three", 60)).toEqual(["one two", "three"]);
  expect(broken("onetwothree four", 60)).toEqual(["onetwoth", "ree four"]);
  expect(broken("one two three four five", 45)).toEqual(["one", "two", "thre…"]);
  expect(broken("漢字漢字", 30)).toEqual(["漢字", "漢字"]);
  expect(broken("", 60)).toEqual([]);
});

test("numbers of an axis that have no room are left out, and none reaches over the edge", () => {
  const series = [{ name: "n", points: [0, 1].map((x) => ({ x: x * 1e-3, y: x })) }];
  const numbers = (width: number) => texts(line({ ...chart, x: { label: "x" }, series }, width)).slice(-7, -1);
  expect(numbers(widths.wide)).toEqual(["0", "2e-4", "4e-4", "6e-4", "8e-4", "0.001"]);
  const narrow = line({ ...chart, x: { label: "x", to: 2e6, ticks: [0, 1e6, 1.1e6, 2e6] }, series }, widths.narrow);
  expect(texts(narrow).slice(-4)).toEqual(["0", "1,000,000", "2,000,000", "x"]);
  expect(narrow).toContain('<text x="278.3"');
});

test("a file of its own brings its colours, a part of a page does not", () => {
  expect(line({ ...chart, alone: true })).toContain("<style>");
  expect(line(chart)).not.toContain("<style>");
});
