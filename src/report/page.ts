// One HTML page that needs nothing but itself: no network, light and dark, for phones and paper. Knows no job; what it shows are charts, tables and words.
import { hasEnds, label, numberText } from "./axis.js";
import { type Chart, widths } from "./frame.js";
import { policyOf } from "./policy.js";
import { chartStyle, escaped } from "./svg.js";

/** A number is sorted as such; a value with its interval, where it has one, by the value; null is an empty cell. */
export type Cell = string | number | { value: number; low: number | null; high: number | null } | null;

export interface Table {
  /** What the table shows, above it. */
  caption: string;
  head: readonly string[];
  rows: readonly (readonly Cell[])[];
}

export interface Section {
  title: string;
  /** Sentences under the title. */
  words?: readonly string[];
  /** Of {@link lineChart} and {@link intervalChart}. */
  charts?: readonly Chart[];
  tables?: readonly Table[];
}

export interface Page {
  title: string;
  /** What was done with what, in a line. */
  subtitle: string;
  /** The command that repeats it. */
  command: string;
  sections: readonly Section[];
}

const style = `
:root{color-scheme:light dark;--ink:#1b1b1b;--ground:#fff;--soft:#f4f4f2;--rule:#d9d9d9;--link:#005a8c}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:76rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem}h1,h2,p,caption{overflow-wrap:anywhere}
pre{background:var(--soft);padding:.75rem;overflow-x:auto;border-radius:4px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,32.5rem),1fr));gap:1rem}
.charts svg{width:100%;height:auto}.wide{max-width:44rem}.narrow{max-width:26rem;display:none}
/* Each chart is drawn twice, and seen, printed and read aloud once: all of it is to be within a phone, in letters of 11 pixels. */
@media screen and (max-width:36rem){.wide{display:none}.narrow{display:block}}
.table{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.95rem}caption{text-align:left;font-weight:600;padding:.25rem 0}
th,td{padding:.25rem .75rem;border-bottom:1px solid var(--rule);text-align:left;white-space:nowrap}
.number{text-align:right;font-variant-numeric:tabular-nums}
th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:2px solid var(--link)}
th[aria-sort=ascending] button::after{content:" ▲"}th[aria-sort=descending] button::after{content:" ▼"}
/* On a phone a path breaks, so that a number is seen beside it. */
@media screen and (max-width:36rem){pre{white-space:pre-wrap;overflow-wrap:anywhere}.long{white-space:normal;overflow-wrap:anywhere;min-width:8rem}}
footer{margin-top:2rem;font-size:.85rem}
${chartStyle.light}
@media screen and (prefers-color-scheme:dark){:root{--ink:#ececec;--ground:#161616;--soft:#242424;--rule:#444;--link:#8fd0ff}${chartStyle.dark}}
@media print{body{max-width:none}.charts{display:block}figure{break-inside:avoid}:root{color-scheme:light}
/* Paper does not scroll: what is too wide breaks into lines. */
pre{white-space:pre-wrap;overflow-wrap:anywhere}table{font-size:.7rem}tr{break-inside:avoid}th,td{white-space:normal;padding:.15rem .4rem}.long{overflow-wrap:anywhere}}
figure{margin:0}
`;

/** Sorts a table by the column whose heading is pressed; a second press turns it round. Empty cells stay last. */
const script = `
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0];
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent;
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
    return down ? -order : order;
  });
  body.append(...rows);
});
`;

/** The page as a whole HTML file. */
export function pageOf({ title, subtitle, command, sections }: Page): string {
  const policy = policyOf(style, [script], ["base-uri 'none'", "form-action 'none'"]);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${escaped(title)}</h1>
<p>${escaped(subtitle)}</p>
<pre tabindex="0" aria-label="the command that repeats this"><code>${escaped(command)}</code></pre>
${sections.map(sectionOf).join("\n")}
</main>
<footer>Written by stillroom. Intervals are 95 %.</footer>
<script>${script}</script>
</body>
</html>
`;
}

function sectionOf({ title, words = [], charts = [], tables = [] }: Section): string {
  const drawn = charts.length === 0 ? "" : `<div class="charts">${charts.map(figureOf).join("")}</div>`;
  return `<section>
<h2>${escaped(title)}</h2>
${words.map((sentence) => `<p>${escaped(sentence)}</p>`).join("\n")}
${drawn}
${tables.map((table) => tableOf(table, title)).join("\n")}
</section>`;
}

function figureOf(chart: Chart): string {
  const drawn = Object.entries(widths).map(([name, width]) => `<div class="${name}">${chart(width)}</div>`);
  return `<figure>${drawn.join("")}</figure>`;
}

/** Its region is named by the section as well: others have tables of the same caption. */
function tableOf({ caption, head, rows }: Table, section: string): string {
  const columns = head.map((name, place) => ({ name, place, cells: rows.map((row) => row[place]!) }));
  // What no row has needs no column.
  const shown = columns.filter(({ cells }) => rows.length === 0 || cells.some((cell) => cell !== null));
  const heads = shown.map(({ name, cells }) => {
    const numeric = cells.every((cell) => typeof cell !== "string") ? ' class="number"' : "";
    return `<th scope="col"${numeric}><button type="button">${escaped(name).replaceAll("_", "_<wbr>")}</button></th>`;
  });
  const body = rows.map((row) => `<tr>${shown.map(({ place }) => cellOf(row[place]!)).join("")}</tr>`);
  return `<div class="table" role="region" tabindex="0" aria-label="${escaped(`${section}: ${caption}`)}"><table>
<caption>${escaped(caption)}</caption>
<thead><tr>${heads.join("")}</tr></thead>
<tbody>${body.join("\n")}</tbody>
</table></div>`;
}

function cellOf(cell: Cell): string {
  if (cell === null) return "<td></td>";
  // A word that is wider than a column of paper.
  if (typeof cell === "string") return `<td${/\S{25}/.test(cell) ? ' class="long"' : ""}>${escaped(cell)}</td>`;
  if (typeof cell === "number") return `<td class="number" data-value="${cell}">${numberText(cell)}</td>`;
  const ends = hasEnds(cell) ? ` [${label(cell.low)}, ${label(cell.high)}]` : "";
  return `<td class="number" data-value="${cell.value}">${label(cell.value)}${ends}</td>`;
}
