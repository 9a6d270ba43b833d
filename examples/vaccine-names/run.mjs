// The whole example: names ahead of time, what each of them means, a look-up server, and live traffic against it. Each step is one call of the program.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { parse } from "csv-parse/sync";
import { count, play, searches, trafficOf, trafficTable } from "./traffic.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const program = path.join(here, "../../dist/bin/stillroom.js");
const help = `node examples/vaccine-names/run.mjs [options]
  --model M          a GGUF file or an hf: URI; without it the program looks for one itself
  --out DIR          for rows, answers and the store (default: runs/vaccine-names)
  --languages N      the first N languages only
  --threads N
  --json             one object on stdout instead of the table
`;

function readArguments() {
  const text = { type: "string" };
  const options = { model: text, out: text, languages: text, threads: text };
  try {
    const { values } = parseArgs({ options: { ...options, json: { type: "boolean" }, help: { type: "boolean" } } });
    if (values.languages !== undefined && !(Number(values.languages) >= 1))
      throw new Error(`expected a number of languages, received ${values.languages}`);
    return values;
  } catch (error) {
    process.stderr.write(`${error.message}\n\n${help}`);
    process.exit(64);
  }
}

const given = readArguments();
if (given.help) {
  process.stdout.write(help);
  process.exit(0);
}
if (!existsSync(program)) {
  process.stderr.write(`${program} is not there: run npm ci in the clone first\n`);
  process.exit(69);
}
const out = path.resolve(given.out ?? "runs/vaccine-names");
const at = (name) => path.join(out, name);
const passed = ["model", "threads"].flatMap((name) => (given[name] === undefined ? [] : [`--${name}`, given[name]]));

function begin(args, stdin) {
  process.stderr.write(`\n$ stillroom ${args.join(" ")}\n`);
  return spawn(process.execPath, [program, ...args], { stdio: [stdin, "pipe", "inherit"] });
}

/** One batch; ends as the program does where it fails. */
async function batch(task, answers) {
  const store = ["--store", at("store"), "--out", at(answers)];
  const child = begin(
    ["batch", path.join(here, task), "--data", out, "--shots", "16", ...store, ...passed, "--json"],
    "ignore",
  );
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk) => {
    text += chunk;
  });
  const [code] = await once(child, "close");
  if (code !== 0) process.exit(code ?? 130);
  return JSON.parse(text);
}

const csv = (name) => parse(readFileSync(path.join(here, name), "utf8"), { columns: true });
const lines = (name) =>
  readFileSync(at(name), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
const write = (name, rows) => writeFileSync(at(name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));

// 1. Rows: every language with every disease, but those that the prompt shows.
mkdirSync(out, { recursive: true });
copyFileSync(path.join(here, "train.csv"), at("train.csv"));
const shown = csv("train.csv");
const rows = csv("languages.csv")
  .slice(0, Number(given.languages ?? Number.POSITIVE_INFINITY))
  .flatMap((language) => shown.map(({ disease }) => ({ ...language, disease })))
  .filter((row) => !shown.some((one) => one.language === row.language && one.disease === row.disease));
write("rows.jsonl", rows);

// 2. Names, ahead of time.
const named = await batch("names.yaml", "named.jsonl");

// 3. What each name means, asked once for each different one. Nothing, the example again, and a name that ends amid a letter are none.
const none = new Set(["", ...rows.map(({ example }) => example)]);
const names = new Map();
for (const { index, prediction } of lines("named.jsonl"))
  if (!none.has(prediction) && !prediction.endsWith("\ufffd"))
    names.set(prediction, [...(names.get(prediction) ?? []), rows[index].disease]);
write(
  "names.jsonl",
  [...names.keys()].map((search) => ({ search })),
);
const meant = await batch("meanings.yaml", "meant.jsonl");
const list = [...names];
const back = lines("meant.jsonl").filter(({ index, prediction }) => list[index][1].includes(prediction)).length;

// 4. A server of look-ups, and traffic against it.
const server = begin(["serve", "--store", at("store"), "--port", "0", "--log-level", "error", "--json"], "ignore");
const ended = once(server, "close");
const [line] = await Promise.race([once(createInterface({ input: server.stdout }), "line"), ended.then(() => [null])]);
if (line === null) process.exit(server.exitCode || 70);
const { url } = JSON.parse(line);
const traffic = trafficOf(searches());
const began = performance.now();
const answered = await play(url, traffic).finally(() => server.kill("SIGTERM"));
const seconds = (performance.now() - began) / 1000;
const counts = count(answered);
await ended;

const result = {
  rows: named.rows,
  computed: named.computed + meant.computed,
  names: names.size,
  understood: back,
  seconds: named.seconds + meant.seconds,
  lookups_per_second: traffic.length / seconds,
  traffic: counts,
};
const round = (value) => value.toFixed(0);
process.stdout.write(
  given.json
    ? `${JSON.stringify(result)}\n`
    : `
${result.rows} rows gave ${names.size} different names in ${round(result.seconds)} s; the model takes ${back} of them (${round((100 * back) / Math.max(1, names.size))} %) for what they were made for.

${trafficTable(counts)}
${traffic.length} searches at ${round(result.lookups_per_second)} a second.
`,
);
