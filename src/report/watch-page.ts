// The live page of a run: uPlot and its data, asked for once a second. All in one file; it speaks to nobody but the server it came from.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { policyOf } from "./policy.js";
import { escaped } from "./svg.js";

const style = `
:root{color-scheme:light dark;--ink:#1b1b1b;--ground:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#ececec;--ground:#161616}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:76rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.1rem;margin:.5rem 0}h1,h2,p{overflow-wrap:anywhere}
#charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1rem}
`;

/** Draws what the server answers; what it has drawn it does not ask for again. */
const script = `
const state = document.getElementById("state"), charts = document.getElementById("charts");
const ink = matchMedia("(prefers-color-scheme: dark)").matches ? "#ececec" : "#1b1b1b";
const colours = matchMedia("(prefers-color-scheme: dark)").matches ? ["#56b4e9", "#ff8c3a"] : ["#0072b2", "#d55e00"];
let generation = -1, steps = 0, validations = 0, data = [], plots = [];
// uPlot's own texts end at three decimals: all learning rates would be 0.
const text = (value) => value == null ? "--" : value !== 0 && Math.abs(value) < 1e-3 ? Number(value.toPrecision(4)).toExponential() : Number(value.toPrecision(6)).toLocaleString("en");
const texts = (_plot, values) => values.map((value) => value == null ? "" : text(value));
const axis = { stroke: ink, grid: { stroke: ink + "22" }, ticks: { stroke: ink + "44" } };
function begin(shown, x) {
  charts.replaceChildren();
  plots = shown.map(({ title, series }) => {
    const place = document.createElement("section"), heading = document.createElement("h2");
    heading.textContent = title;
    place.append(heading);
    charts.append(place);
    const drawn = series.map((label, index) => ({ label, stroke: colours[index], width: 2, spanGaps: true, value: (_plot, value) => text(value) }));
    const options = { width: place.clientWidth, height: 260, scales: { x: { time: false } }, axes: [axis, { ...axis, size: 70, values: texts }] };
    return new uPlot({ ...options, series: [{ label: x }, ...drawn] }, [[], ...series.map(() => [])], place);
  });
  data = shown.map(({ series }) => [[], ...series.map(() => [])]);
}
async function ask() {
  let ended = false;
  try {
    const answer = await fetch("data?" + new URLSearchParams({ generation, steps, validations }));
    const told = await answer.json();
    if (told.generation !== generation) {
      ({ generation } = told);
      steps = validations = 0;
      begin(told.charts, told.x);
    }
    told.charts.forEach(({ rows }, chart) => {
      for (const row of rows) row.forEach((value, column) => data[chart][column].push(value));
      if (rows.length > 0) plots[chart].setData(data[chart]);
    });
    ({ steps, validations } = told);
    state.textContent = told.state;
    ended = told.ended;
  } catch (error) {
    state.textContent = "the server does not answer: " + error.message;
  }
  if (!ended) setTimeout(ask, 1000);
}
addEventListener("resize", () => plots.forEach((plot) => plot.setSize({ width: plot.root.parentNode.clientWidth, height: 260 })));
ask();
`;

/** The page, and the policy that lets it run nothing but itself. */
export function watchPage(title: string): { html: string; policy: string } {
  const folder = path.dirname(createRequire(import.meta.url).resolve("uplot"));
  const library = readFileSync(path.join(folder, "uPlot.iife.min.js"), "utf8");
  const sheet = `${readFileSync(path.join(folder, "uPlot.min.css"), "utf8")}${style}`;
  const scripts = [library, script];
  const policy = policyOf(sheet, scripts, ["connect-src 'self'"]);
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${sheet}</style>
</head>
<body>
<main>
<h1>${escaped(title)}</h1>
<p id="state" role="status">asking…</p>
<div id="charts"></div>
</main>
${scripts.map((text) => `<script>${text}</script>`).join("\n")}
</body>
</html>
`;
  return { html, policy };
}
