// The parts of a chart as SVG: elements, text, the frame with its axes, the legend. Colours are classes, so that a page can turn them dark.
import { label, type Scale } from "./axis.js";

/** Readable side by side for the colour-blind (Okabe and Ito), on white and on black. */
const light = ["#0072b2", "#d55e00", "#00795a", "#a3497a", "#8a6d00"];
const dark = ["#56b4e9", "#ff8c3a", "#2fd6a6", "#e79bc4", "#e6c84f"];

/** Names of the classes of series, in their order. */
export const seriesClass = (index: number): string => `s${index % light.length}`;

const rules = (colours: string[], ink: string, grid: string): string =>
  [
    `.chart text{fill:${ink}}.chart .grid{stroke:${grid}}.chart .axis{stroke:${ink}}`,
    ...colours.map(
      (colour, index) =>
        `.chart .s${index}{stroke:${colour}}.chart .s${index}.fill,.chart text.s${index}{fill:${colour};stroke:none}`,
    ),
  ].join("");

/** The style of charts on light ground, and the one that takes its place on dark. */
export const chartStyle = {
  light: `.chart{font:12px sans-serif}.chart .line{fill:none;stroke-width:2}.chart .faint{opacity:.35;stroke-width:1}${rules(light, "#1b1b1b", "#d9d9d9")}`,
  dark: rules(dark, "#ececec", "#444"),
};

/** Escapes what stands between tags or in an attribute. */
export function escaped(words: string): string {
  const names: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return words.replace(/[&<>"']/g, (sign) => names[sign]!);
}

/** One element; attributes that are undefined are left out. */
export function element(name: string, attributes: Record<string, string | number | undefined>, inside = ""): string {
  const written = Object.entries(attributes).map(([key, value]) =>
    value === undefined ? "" : ` ${key}="${escaped(String(typeof value === "number" ? round(value) : value))}"`,
  );
  return inside === "" ? `<${name}${written.join("")}/>` : `<${name}${written.join("")}>${inside}</${name}>`;
}

export function words(x: number, y: number, text: string, attributes: Record<string, string | number> = {}): string {
  return element("text", { x, y, ...attributes }, escaped(text));
}

const round = (value: number): number => Math.round(value * 10) / 10;

/** A chart, drawn in a width of its own units. */
export type Chart = (width: number) => string;

/** Of a screen and of a phone: in 513 and in 288 pixels the letters, 12 units high, are 11 pixels high. */
export const widths = { wide: 560, narrow: 312 };

/** Units from a line of text to the next. */
export const leading = 16;

/** Units that a text takes in letters of 12 units: rather too many than too few. */
export const breadth = (text: string): number =>
  [...text].reduce((sum, sign) => sum + (sign > "\u2e7f" ? 12.5 : /\p{Lu}/u.test(sign) ? 9 : 7.5), 0);

/** A text in lines that a room of units holds, parted between words where that can be; the third is the last, with … where the text is longer. */
export function broken(text: string, room: number): string[] {
  const most = Math.max(1, Math.floor(room / (breadth(text) / text.length || 1)));
  const line = `\\S.{0,${most - 1}}`;
  const lines: string[] = text.match(new RegExp(`${line}(?=\\s|$)|${line}`, "gsu")) ?? [];
  return lines.length > 3 ? [...lines.slice(0, 2), `${lines[2]!.slice(0, -1)}…`] : lines;
}

/** Lines of text, the first at y. */
export function paragraph(
  x: number,
  y: number,
  lines: readonly string[],
  attributes: Record<string, string | number> = {},
): string[] {
  return lines.map((line, index) => words(x, y + leading * index, line, attributes));
}

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
