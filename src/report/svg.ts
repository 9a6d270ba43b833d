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

/** The place of a chart's inner part, in its own units. */
export interface Frame {
  width: number;
  height: number;
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** The vertical axis with its grid. */
export function verticalAxis(frame: Frame, scale: Scale, name: string): string[] {
  const { left, right, top, bottom, width } = frame;
  const place = (value: number) => bottom - scale.place(value) * (bottom - top);
  const middle = (top + bottom) / 2;
  const grid = scale.ticks.flatMap((tick) => [
    element("path", { class: "grid", d: `M${left} ${round(place(tick))}H${width - right}` }),
    words(left - 6, place(tick) + 4, label(tick), { "text-anchor": "end" }),
  ]);
  return [...grid, words(14, middle, name, { "text-anchor": "middle", transform: `rotate(-90 14 ${round(middle)})` })];
}

/** The horizontal axis with its ticks. */
export function horizontalAxis(frame: Frame, scale: Scale, name: string): string[] {
  const { left, right, bottom, width } = frame;
  const inner = width - left - right;
  const ticks = scale.ticks.flatMap((tick) => {
    const x = left + scale.place(tick) * inner;
    return [
      element("path", { class: "axis", d: `M${round(x)} ${bottom}v4` }),
      words(x, bottom + 17, label(tick), { "text-anchor": "middle" }),
    ];
  });
  const line = element("path", { class: "axis", d: `M${left} ${bottom}h${inner}` });
  return [line, ...ticks, words(left + inner / 2, bottom + 38, name, { "text-anchor": "middle" })];
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
