// Lines and points over a horizontal axis, with intervals where they are known.
import { type Axis, label, scaleOf } from "./axis.js";
import { drawing, element, type Frame, horizontalAxis, seriesClass, verticalAxis, words } from "./svg.js";

export interface Point {
  x: number;
  y: number;
  /** Ends of an interval around y. */
  low?: number;
  high?: number;
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

const size = { width: 560, height: 340 };

/** One chart as SVG. Points that are not finite are left out, and part the line. */
export function lineChart({ title, x, y, series, alone }: LineChart): string {
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
  const legend = finite.length > 1 ? 20 : 0;
  const frame: Frame = {
    ...size,
    height: size.height + legend,
    left: 64,
    right: 24,
    top: 40 + legend,
    bottom: size.height + legend - 52,
  };
  const inner = frame.width - frame.left - frame.right;
  const placed = {
    x: (value: number) => frame.left + horizontal.place(value) * inner,
    y: (value: number) => frame.bottom - vertical.place(value) * (frame.bottom - frame.top),
  };
  const parts = [
    words(frame.left, 20, title, { "font-size": 14, "font-weight": "bold" }),
    ...verticalAxis(frame, vertical, y.label),
    ...horizontalAxis(frame, horizontal, x.label),
  ];
  let colour = 0;
  let along = frame.left;
  for (const { name, points: own, marks = "both" } of finite) {
    const line = seriesClass(colour);
    if (marks !== "points") parts.push(way(own, placed, `${line} line${marks === "faint" ? " faint" : ""}`));
    for (const point of own) {
      if (!Number.isFinite(point.y)) continue;
      if (point.low !== undefined && point.high !== undefined)
        parts.push(
          element("path", {
            class: line,
            d: `M${f(placed.x(point.x))} ${f(placed.y(point.low))}V${f(placed.y(point.high))}`,
          }),
        );
      if (marks === "points" || marks === "both")
        parts.push(element("circle", { class: `${line} fill`, cx: placed.x(point.x), cy: placed.y(point.y), r: 3.5 }));
    }
    if (marks === "faint") continue;
    colour += 1;
    if (legend === 0) continue;
    parts.push(words(along, 42, name, { class: line, "font-weight": "bold" }));
    along += 7.2 * name.length + 16;
  }
  return drawing(frame, { title, description: describe(finite, x.label, y.label), alone: alone ?? false }, parts);
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
