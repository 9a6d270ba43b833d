// Values with their intervals, one a line, on a common axis: metrics of several models, gaps between groups.
import { type Axis, label, scaleOf } from "./axis.js";
import { drawing, element, type Frame, horizontalAxis, seriesClass, words } from "./svg.js";

export interface IntervalRow {
  label: string;
  value: number;
  /** Ends of the interval; left out, the value stands alone. */
  low?: number;
  high?: number;
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

/** Characters of a label that stands left of its line; where one is longer, all stand above theirs. */
const beside = 32;

/** One chart as SVG; higher with every row. */
export function intervalChart({ title, x, rows, reference }: IntervalChart): string {
  const values = rows.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value]);
  const scale = scaleOf(x, reference === undefined ? values : [...values, reference]);
  const longest = Math.max(0, ...rows.map((row) => row.label.length));
  const above = longest > beside;
  const rowHeight = above ? 40 : 24;
  const left = above ? 24 : 16 + 7 * longest;
  const bottom = 40 + rowHeight * rows.length;
  const frame: Frame = { width: 560, height: bottom + 50, left, right: 24, top: 36, bottom };
  const place = (value: number) => left + scale.place(value) * (frame.width - left - frame.right);
  const grid = scale.ticks.map((tick) =>
    element("path", { class: "grid", d: `M${place(tick).toFixed(1)} ${frame.top}V${bottom}` }),
  );
  const parts = [
    words(16, 20, title, { "font-size": 14, "font-weight": "bold" }),
    ...grid,
    ...horizontalAxis(frame, scale, x.label),
  ];
  if (reference !== undefined)
    parts.push(
      element("path", {
        class: "axis",
        "stroke-dasharray": "4 3",
        d: `M${place(reference).toFixed(1)} ${frame.top}V${bottom}`,
      }),
    );
  for (const [index, row] of rows.entries()) {
    const y = frame.top + rowHeight * (index + (above ? 0.75 : 0.5));
    const colour = seriesClass(row.series ?? 0);
    parts.push(
      above
        ? words(left + 4, y - 12, shortened(row.label, frame.width - left - frame.right))
        : words(left - 8, y + 4, row.label, { "text-anchor": "end" }),
    );
    if (row.low !== undefined && row.high !== undefined)
      parts.push(
        element("path", {
          class: `${colour} line`,
          d: `M${place(row.low).toFixed(1)} ${y}H${place(row.high).toFixed(1)}`,
        }),
      );
    if (Number.isFinite(row.value))
      parts.push(element("circle", { class: `${colour} fill`, cx: place(row.value), cy: y, r: 4 }));
  }
  const said = rows.map(({ label: name, value, low, high }) =>
    low === undefined || high === undefined
      ? `${name}: ${label(value)}.`
      : `${name}: ${label(value)}, ${label(low)} to ${label(high)}.`,
  );
  return drawing(frame, { title, description: `${x.label}. ${said.join(" ")}` }, parts);
}

function shortened(name: string, room: number): string {
  const most = Math.floor(room / 6.5);
  return name.length > most ? `${name.slice(0, most - 1)}…` : name;
}
