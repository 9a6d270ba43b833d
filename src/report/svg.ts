// What charts are drawn of, as SVG: elements, lines of text, colours. Colours are classes, so that a page can turn them dark.

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

/** To a tenth of a unit. */
export const round = (value: number): number => Math.round(value * 10) / 10;

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
