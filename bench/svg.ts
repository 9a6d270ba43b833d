// Plots as SVG: lines with points over a logarithmic axis of sizes. Knows nothing of what is plotted.

export interface Line {
  name: string;
  points: { x: number; y: number }[];
}

export interface Plot {
  title: string;
  x: string;
  y: string;
  lines: Line[];
}

const size = { width: 560, height: 340 };
const frame = { left: 64, right: 24, top: 40, bottom: 52 };
/** Readable side by side for the colour-blind (Okabe and Ito). */
const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/** One plot as a whole SVG file. The vertical axis begins at 0. */
export function svgOf({ title, x: xName, y: yName, lines }: Plot): string {
  const xs = [...new Set(lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
  const [least, most] = [Math.log(xs[0]!), Math.log(xs.at(-1)!)];
  const step = stepOf(Math.max(...lines.flatMap(({ points }) => points.map(({ y }) => y))));
  const inner = {
    width: size.width - frame.left - frame.right,
    height: size.height - frame.top - frame.bottom,
  };
  const bottom = frame.top + inner.height;
  const placeX = (x: number) => round(frame.left + ((Math.log(x) - least) / (most - least || 1)) * inner.width);
  const placeY = (y: number) => round(bottom - (y / step.most) * inner.height);
  const out = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${size.width}" height="${size.height}" fill="#fff"/>`,
    text(frame.left, 20, title, 'font-size="14" font-weight="bold"'),
  ];
  for (let y = 0; y <= step.most + step.by / 2; y += step.by) {
    out.push(`<path d="M${frame.left} ${placeY(y)}h${inner.width}" stroke="#ddd"/>`);
    out.push(text(frame.left - 6, placeY(y) + 4, label(y), 'text-anchor="end"'));
  }
  for (const x of xs) out.push(text(placeX(x), bottom + 16, label(x), 'text-anchor="middle"'));
  out.push(text(frame.left + inner.width / 2, size.height - 14, xName, 'text-anchor="middle"'));
  const middle = frame.top + inner.height / 2;
  out.push(text(14, middle, yName, `text-anchor="middle" transform="rotate(-90 14 ${middle})"`));
  for (const [index, { name, points }] of lines.entries()) {
    const colour = colours[index % colours.length]!;
    const way = points.map(({ x, y }) => `${placeX(x)},${placeY(y)}`);
    out.push(`<polyline points="${way.join(" ")}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const place of way) {
      const [x, y] = place.split(",");
      out.push(`<circle cx="${x}" cy="${y}" r="3.5" fill="${colour}"/>`);
    }
    const at = size.width - frame.right - 8;
    out.push(text(at, frame.top + 14 + 16 * index, name, `text-anchor="end" fill="${colour}" font-weight="bold"`));
  }
  return `${[...out, "</svg>"].join("\n")}\n`;
}

/** Between four and eight steps of 1, 2 or 5 times a power of ten, up to a quarter above the highest value: room for the names. */
function stepOf(highest: number): { by: number; most: number } {
  const wanted = (highest * 1.25) / 5;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const by = power * ([1, 2, 5, 10].find((times) => times * power >= wanted) ?? 10);
  return { by, most: by * Math.ceil((highest * 1.25) / by) };
}

const round = (value: number): number => Math.round(value * 10) / 10;
const label = (value: number): string => Number(value.toPrecision(4)).toLocaleString("en");

function text(x: number, y: number, words: string, attributes: string): string {
  const safe = words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${round(x)}" y="${round(y)}" ${attributes}>${safe}</text>`;
}
