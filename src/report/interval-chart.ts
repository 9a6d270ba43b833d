// Values with their intervals, one a line, on a common axis: metrics of several models, gaps between groups.
import { type Axis, hasEnds, label, scaleOf } from "./axis.js";
import { axisHeight, type Chart, drawing, type Frame, heading, horizontalAxis } from "./frame.js";
import { breadth, broken, element, leading, paragraph, seriesClass, words } from "./svg.js";

export interface IntervalRow {
  label: string;
  value: number;
  /** Ends of the interval; left out or null, the value stands alone. */
  low?: number | null;
  high?: number | null;
  /** Rows of one colour (default 0). */
  series?: number;
}

export interface IntervalChart {
  title: string;
  x: Axis;
  rows: readonly IntervalRow[];
  /** A line at a value that means something, such as 0 for no difference. */
  reference?: number;
}

/** More lines than this make a chart that nobody reads; tables have all. */
export const linesDrawn = 30;

/** Share of the width that labels take which stand left of their lines; where one is longer, all stand above theirs. */
const beside = 0.4;

/** Units of a row besides the lines of a label that stands above it. */
const rowHeight = 24;

/** One chart; higher with every row. */
export const intervalChart =
  (chart: IntervalChart): Chart =>
  (width) =>
    drawn(chart, width);

function drawn({ title, x, rows, reference }: IntervalChart, width: number): string {
  const values = rows.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value]);
  const scale = scaleOf(x, reference === undefined ? values : [...values, reference]);
  const longest = Math.max(0, ...rows.map((row) => breadth(row.label)));
  const above = longest > beside * width;
  const [left, right] = [above ? 24 : 16 + longest, 24];
  const { parts, end: top } = heading(title, width);
  const names = rows.map((row) => (above ? broken(row.label, width - left - right) : []));
  const bottom = top + names.reduce((sum, lines) => sum + rowHeight + leading * lines.length, 4);
  const frame: Frame = { width, height: bottom + axisHeight(x.label, width), left, right, top, bottom };
  const place = (value: number) => left + scale.place(value) * (width - left - right);
  const upright = (value: number) => `M${place(value).toFixed(1)} ${top}V${bottom}`;
  parts.push(...scale.ticks.map((tick) => element("path", { class: "grid", d: upright(tick) })));
  parts.push(...horizontalAxis(frame, scale, x.label));
  if (reference !== undefined)
    parts.push(element("path", { class: "axis", "stroke-dasharray": "4 3", d: upright(reference) }));
  let y = top - rowHeight / 2;
  for (const [index, row] of rows.entries()) {
    const colour = seriesClass(row.series ?? 0);
    const name = names[index]!;
    if (above) parts.push(...paragraph(left + 4, y + rowHeight + 6, name));
    y += rowHeight + leading * name.length;
    if (!above) parts.push(words(left - 8, y + 4, row.label, { "text-anchor": "end" }));
    if (hasEnds(row))
      parts.push(
        element("path", {
          class: `${colour} line`,
          d: `M${place(row.low).toFixed(1)} ${y}H${place(row.high).toFixed(1)}`,
        }),
      );
    if (Number.isFinite(row.value))
      parts.push(element("circle", { class: `${colour} fill`, cx: place(row.value), cy: y, r: 4 }));
  }
  const said = rows.map((row) => {
    const ends = hasEnds(row) ? `, ${label(row.low)} to ${label(row.high)}` : "";
    return `${row.label}: ${label(row.value)}${ends}.`;
  });
  return drawing(frame, { title, description: `${x.label}. ${said.join(" ")}` }, parts);
}
