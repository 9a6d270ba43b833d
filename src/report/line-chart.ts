// Lines and points over a horizontal axis, with intervals where they are known.
import { type Axis, hasEnds, label, scaleOf } from "./axis.js";
import {
  axisHeight,
  type Chart,
  drawing,
  type Frame,
  heading,
  horizontalAxis,
  nameLines,
  verticalAxis,
} from "./frame.js";
import { breadth, element, leading, paragraph, seriesClass, words } from "./svg.js";

export interface Point {
  x: number;
  y: number;
  /** Ends of an interval around y; left out or null where there is none. */
  low?: number | null;
  high?: number | null;
}

export interface Series {
  name: string;
  points: readonly Point[];
  /** Default "both". "faint" is a thin line in the colour of the series after it: single values behind their trend. */
  marks?: "line" | "points" | "both" | "faint";
}

export interface LineChart {
  title: string;
  x: Axis;
  y: Axis;
  series: readonly Series[];
  /** A file of its own, with its colours in it (default false: a part of a page). */
  alone?: boolean;
}

/** Units of the inner part. */
const height = 248;

/** One chart. Points that are not finite are left out, and part the line. */
export const lineChart =
  (chart: LineChart): Chart =>
  (width) =>
    drawn(chart, width);

function drawn({ title, x, y, series, alone = false }: LineChart, width: number): string {
  const finite = series.map((one) => ({ ...one, points: one.points.filter((point) => Number.isFinite(point.x)) }));
  const points = finite.flatMap((one) => one.points);
  const horizontal = scaleOf(
    x,
    points.map((point) => point.x),
  );
  const vertical = scaleOf(
    y,
    points.flatMap((point) => [point.y, point.low ?? point.y, point.high ?? point.y]),
  );
  const { parts, end } = heading(title, width);
  const names = legend(finite, end + 6, width);
  const unit = nameLines(y.label, width);
  const top = names.end + leading * unit.length + 2;
  const left = 10 + Math.max(...vertical.ticks.map((tick) => breadth(label(tick))));
  const bottom = top + height;
  const frame: Frame = { width, height: bottom + axisHeight(x.label, width), left, right: 24, top, bottom };
  const placed = {
    x: (value: number) => left + horizontal.place(value) * (width - left - frame.right),
    y: (value: number) => bottom - vertical.place(value) * height,
  };
  parts.push(...names.parts, ...paragraph(16, names.end + 2, unit));
  parts.push(...verticalAxis(frame, vertical), ...horizontalAxis(frame, horizontal, x.label));
  let colour = 0;
  for (const { points: own, marks = "both" } of finite) {
    const line = seriesClass(colour);
    if (marks !== "points") parts.push(way(own, placed, `${line} line${marks === "faint" ? " faint" : ""}`));
    for (const point of own) {
      if (!Number.isFinite(point.y)) continue;
      if (hasEnds(point))
        parts.push(
          element("path", {
            class: line,
            d: `M${f(placed.x(point.x))} ${f(placed.y(point.low))}V${f(placed.y(point.high))}`,
          }),
        );
      if (marks === "points" || marks === "both")
        parts.push(element("circle", { class: `${line} fill`, cx: placed.x(point.x), cy: placed.y(point.y), r: 3.5 }));
    }
    if (marks !== "faint") colour += 1;
  }
  return drawing(frame, { title, description: describe(finite, x.label, y.label), alone }, parts);
}

/** The names of series in their colours, where there are several, and where what is below them begins. */
function legend(series: readonly Series[], y: number, width: number): { parts: string[]; end: number } {
  if (series.length < 2) return { parts: [], end: y };
  let [along, line] = [16, y];
  const named = series.filter(({ marks }) => marks !== "faint");
  const parts = named.map(({ name }, colour) => {
    const room = 1.2 * breadth(name) + 16;
    if (along > 16 && along + room > width) [along, line] = [16, line + leading];
    along += room;
    return words(along - room, line, name, { class: seriesClass(colour), "font-weight": "bold" });
  });
  return { parts, end: line + leading + 4 };
}

const f = (value: number): string => value.toFixed(1);

function way(points: readonly Point[], placed: { x(v: number): number; y(v: number): number }, name: string): string {
  let pen = "M";
  const steps = points.map(({ x, y }) => {
    if (!Number.isFinite(y)) {
      pen = "M";
      return "";
    }
    const step = `${pen}${f(placed.x(x))} ${f(placed.y(y))}`;
    pen = "L";
    return step;
  });
  return element("path", { class: name, d: steps.join("") });
}

/** What the lines say, in a sentence each. */
function describe(series: readonly Series[], x: string, y: string): string {
  const said = series.map(({ name, points }) => {
    const whole = points.filter((point) => Number.isFinite(point.y));
    const [first, last] = [whole[0], whole.at(-1)];
    if (!first || !last) return `${name}: no values.`;
    return `${name}: ${label(first.y)} at ${label(first.x)}, ${label(last.y)} at ${label(last.x)}.`;
  });
  return `${y} over ${x}. ${said.join(" ")}`;
}
