// The frame of a chart: its widths, its title, its axes, and the whole SVG around what is drawn within.
import { label, type Scale } from "./axis.js";
import { breadth, broken, chartStyle, element, escaped, leading, paragraph, round, words } from "./svg.js";

/** A chart, drawn in a width of its own units. */
export type Chart = (width: number) => string;

/** Of a screen and of a phone: in 513 and in 288 pixels the letters, 12 units high, are 11 pixels high. */
export const widths = { wide: 560, narrow: 312 };

/** The title of a chart, and where what is below it begins. */
export function heading(title: string, width: number): { parts: string[]; end: number } {
  const lines = broken(title, (width - 32) / 1.3);
  const parts = paragraph(16, 20, lines, { "font-size": 14, "font-weight": "bold" });
  return { parts, end: 20 + leading * lines.length };
}

/** Lines of an axis's name. */
export const nameLines = (name: string, width: number): string[] => broken(name, width - 32);

/** The middle of a text that shall stand at x, within the chart. */
function within(x: number, text: string, width: number): number {
  const half = breadth(text) / 2;
  return Math.max(half, Math.min(x, width - half));
}

/** The place of a chart's inner part, in its own units. */
export interface Frame {
  width: number;
  height: number;
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** The vertical axis with its grid; its name stands above it. */
export function verticalAxis({ left, right, top, bottom, width }: Frame, scale: Scale): string[] {
  return scale.ticks.flatMap((tick) => {
    const y = bottom - scale.place(tick) * (bottom - top);
    const grid = element("path", { class: "grid", d: `M${left} ${round(y)}H${width - right}` });
    return [grid, words(left - 6, y + 4, label(tick), { "text-anchor": "end" })];
  });
}

/** Units that the horizontal axis takes below the inner part. */
export const axisHeight = (name: string, width: number): number => 34 + leading * nameLines(name, width).length;

/** The horizontal axis with its ticks, of which those have their numbers that have room for them. */
export function horizontalAxis({ left, right, bottom, width }: Frame, scale: Scale, name: string): string[] {
  const inner = width - left - right;
  const middle = { "text-anchor": "middle" };
  let free = -Infinity;
  const ticks = scale.ticks.flatMap((tick) => {
    const [x, text] = [left + scale.place(tick) * inner, label(tick)];
    const mark = element("path", { class: "axis", d: `M${round(x)} ${bottom}v4` });
    const [at, half] = [within(x, text, width), breadth(text) / 2];
    if (at - half < free) return [mark];
    free = at + half + 4;
    return [mark, words(at, bottom + 17, text, middle)];
  });
  const line = element("path", { class: "axis", d: `M${left} ${bottom}h${inner}` });
  const lines = nameLines(name, width);
  const longest = lines.reduce((one, other) => (breadth(other) > breadth(one) ? other : one), "");
  return [line, ...ticks, ...paragraph(within(left + inner / 2, longest, width), bottom + 38, lines, middle)];
}

/** A whole SVG. It names itself and what it shows to those who cannot see it; alone: a file of its own, not a part of a page. */
export function drawing(
  { width, height }: Frame,
  { title, description, alone = false }: { title: string; description: string; alone?: boolean },
  parts: string[],
): string {
  const own = alone ? [element("style", {}, chartStyle.light), element("rect", { width, height, fill: "#fff" })] : [];
  const inside = [element("title", {}, escaped(title)), element("desc", {}, escaped(description)), ...own, ...parts];
  const attributes = {
    xmlns: "http://www.w3.org/2000/svg",
    class: "chart",
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
  };
  return `${element("svg", { ...attributes, "aria-label": `${title}. ${description}` }, `\n${inside.join("\n")}\n`)}\n`;
}
