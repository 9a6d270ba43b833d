// Live traffic: searches that people would type, each in several spellings, as requests to /v1/lookup. Prints how many were recognised, and how many of those rightly.
// node traffic.mjs URL
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";
import { parse } from "csv-parse/sync";

const spellings = {
  "as written": (text) => text,
  "UPPER CASE": (text) => text.toUpperCase(),
  "in pieces: letters and their accents": (text) => text.normalize("NFD"),
  "full width": (text) => text.replace(/[!-~]/g, (letter) => String.fromCharCode(letter.charCodeAt(0) + 0xfee0)),
  "quotes, blanks, a question mark": (text) => `  «${text.replaceAll(" ", "\u00a0 ")}» ?`,
  "without accents": (text) => text.normalize("NFD").replace(/\p{M}/gu, ""),
  "two letters swapped": (text) => {
    const letters = [...text];
    const at = Math.floor(letters.length / 2);
    return [...letters.slice(0, at - 1), letters[at], letters[at - 1], ...letters.slice(at + 1)].join("");
  },
};

/**
 * Searches: those of a disease, and those of none, which should not be recognised.
 * @returns {{ language: string, disease: string, search: string }[]}
 */
export const searches = () => parse(readFileSync(new URL("searches.csv", import.meta.url), "utf8"), { columns: true });

/** What people type, each once a spelling that differs from the search itself. */
export function trafficOf(rows) {
  return Object.entries(spellings).flatMap(([spelling, spell]) =>
    rows
      .map(({ search, disease }) => ({ spelling, search, disease, typed: spell(search) }))
      .filter(({ search, typed }) => spelling === "as written" || typed !== search),
  );
}

/** Asks one after the other in eight lines side by side; gives each request with its answer. */
export async function play(url, traffic) {
  const waiting = [...traffic];
  const answered = [];
  const line = async () => {
    for (let request = waiting.shift(); request !== undefined; request = waiting.shift()) {
      const body = JSON.stringify({ key: request.typed });
      const response = await fetch(`${url}/v1/lookup`, { method: "POST", body });
      if (!response.ok) throw new Error(`${url} answers with ${response.status}: ${await response.text()}`);
      answered.push({ ...request, ...(await response.json()) });
    }
  };
  await Promise.all(Array.from({ length: 8 }, line));
  return answered;
}

/** Counts of answers: of all, and by spelling. */
export function count(answered) {
  const of = (some) => {
    const asked = some.filter(({ disease }) => disease !== "");
    const recognised = asked.filter(({ hit }) => hit);
    const right = recognised.filter(({ answer, disease }) => answer === disease);
    return {
      searches: asked.length,
      recognised: recognised.length,
      right: right.length,
      others: some.length - asked.length,
      others_recognised: some.filter(({ disease, hit }) => disease === "" && hit).length,
    };
  };
  const spelled = (name) => answered.filter(({ spelling }) => spelling === name);
  const by_spelling = Object.fromEntries(Object.keys(spellings).map((name) => [name, of(spelled(name))]));
  return { ...of(answered), by_spelling };
}

export function trafficTable({ by_spelling, ...all }) {
  const share = (part, whole) => (whole === 0 ? "" : `${part} (${((100 * part) / whole).toFixed(1)} %)`);
  const table = new Table({
    head: ["typed", "searches", "recognised", "rightly", "others", "recognised"],
    colAligns: ["left", "right", "right", "right", "right", "right"],
    style: { head: [], border: [] },
  });
  for (const [name, counts] of [...Object.entries(by_spelling), ["all", all]])
    table.push([
      name,
      counts.searches,
      share(counts.recognised, counts.searches),
      share(counts.right, counts.recognised),
      counts.others,
      counts.others_recognised,
    ]);
  return table.toString();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [url] = process.argv.slice(2);
  if (url === undefined) {
    process.stderr.write("node traffic.mjs URL     of a stillroom serve, such as http://127.0.0.1:8080\n");
    process.exit(64);
  }
  process.stdout.write(`${trafficTable(count(await play(url, trafficOf(searches()))))}\n`);
}
