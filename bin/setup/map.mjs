// Writes the map in README.md: every folder with its phrase from here, every file of src and native/core with the first
// sentence of its own header comment. tests/layout holds README.md to it.
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** What lies where. A folder that is not named here is an error; below bin, tests, bench and the rest files are not listed. */
const folders = {
  src: "the TypeScript API: one room per step of the work, imports point to earlier rooms only",
  "src/support": "what every room stands on",
  "src/model": "which model: paths, `hf:` URIs, what a file holds",
  "src/task": "the task file: one description of one job",
  "src/dataset": "rows from JSONL, CSV, TSV and Parquet, streamed and split",
  "src/prompt": "from a row to the text that the model reads",
  "src/tokens": "from text to packed batches",
  "src/train": "the training loop, its checkpoints and its run folder",
  "src/adapter": "adapters as PEFT and as GGUF, written and read",
  "src/teach": "what a teacher says about rows, and the cache that keeps it",
  "src/decode": "prompts to answers, in batches",
  "src/embed": "texts to vectors",
  "src/store": "answers on disk, by everything that decides them and by the texts that ask for them",
  "src/evaluate": "scores, answers, metrics and their intervals",
  "src/audit": "what a task's rows and a model's answers are unfair about",
  "src/export": "merge, quantise, and the gate behind them",
  "src/student": "from a teacher to a smaller model",
  "src/batch": "a file of requests to a file of answers, through the store",
  "src/queue": "the same through workers on many machines, and PostgreSQL",
  "src/serve": "a store and a live model by HTTP",
  "src/jobs": "whole jobs, put together from the rooms before",
  "src/report": "results laid out for a person",
  native: "the C++ engine",
  "native/core": "the engine itself over ggml and llama.cpp; knows no JavaScript",
  "native/core/gemm": "packed matrix kernels, one source compiled per instruction set",
  "native/core/decode": "batch decoding: pages of keys and values, sampling, continuous batching",
  "native/addon": "the only folder that includes napi.h: arguments in, asynchronous work, results out",
  "native/tests": "the engine's own tests, without JavaScript",
  "native/fuzz": "a libFuzzer target for each native reader",
  bin: "`stillroom.ts`, the program",
  "bin/commands": "one file a command: options, one call into src (`bench.ts`: into bench), printing",
  "bin/setup": "what `npm start`, `npm test` and `npm ci` run",
  tests:
    "mirrors src; `tests/layout` holds the rules of this page, `tests/golden` numbers from other frameworks with the scripts that made them",
  bench: "`stillroom bench`: measurements against peers in the same run; `bench/peers` holds their side in Python",
  docs: "the program's output and exit codes, the architecture, the numerics, the results",
  examples:
    "tasks to run: creatures, people, fruit, sentiment, a bank's intents, sentences that entail each other, and names of vaccines recognised in live traffic",
  models: "the model in the box",
};

/** Folders whose subfolders are their own affair. */
const closed = ["tests", "bench", "docs", "examples", "models", "bin/setup", "native/tests", "native/fuzz"];
const listed = ["src", "native/core"];
const begin = "<!-- map: npm run map -->";
const end = "<!-- end of map -->";

function firstSentence(file) {
  const lines = [];
  for (const line of readFileSync(file, "utf8").split("\n")) {
    if (!line.startsWith("//")) break;
    lines.push(line.replace(/^\/\/ ?/, ""));
  }
  return (
    lines
      .join(" ")
      .split(/\.(?=\s+[A-Z]|\s*$)/)[0]
      ?.trim() ?? ""
  );
}

/** Files by the name in the map: a .h and its .cpp are one, and the header speaks for both. */
function entries(folder) {
  const found = new Map();
  for (const name of readdirSync(folder).sort()) {
    const stem = name.replace(/\.(h|cpp)$/, "");
    if (!/\.(ts|h|cpp)$/.test(name)) continue;
    const files = found.get(stem) ?? [];
    files.push(name);
    found.set(stem, files);
  }
  return [...found].map(([stem, files]) => {
    const header = files.find((name) => name.endsWith(".h")) ?? files[0];
    const title = files.length === 1 ? files[0] : `${stem}.{h,cpp}`;
    return `\`${title}\` ${firstSentence(path.join(folder, header))}`;
  });
}

/** git keeps no empty folder, so neither does the map. */
function holdsFiles(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true }).some((entry) => entry.isFile());
}

/** The map as Markdown. Throws on a folder that has no phrase. */
export function mapOf(root) {
  const lines = [];
  const visit = (folder, depth) => {
    const full = path.join(root, folder);
    if (!existsSync(full) || !holdsFiles(full)) return;
    const phrase = folders[folder];
    if (!phrase) throw new Error(`bin/setup/map.mjs has no phrase for the folder ${folder}`);
    lines.push(`${"  ".repeat(depth)}- **${folder}/**: ${phrase}`);
    if (listed.some((top) => folder === top || folder.startsWith(`${top}/`))) {
      for (const entry of entries(full)) lines.push(`${"  ".repeat(depth + 1)}- ${entry}`);
    }
    if (closed.includes(folder)) return;
    const below = readdirSync(full).filter((name) => statSync(path.join(full, name)).isDirectory());
    const order = Object.keys(folders);
    const place = (name) => order.indexOf(`${folder}/${name}`);
    for (const name of below.sort((a, b) => place(a) - place(b))) visit(`${folder}/${name}`, depth + 1);
  };
  for (const folder of Object.keys(folders)) if (!folder.includes("/")) visit(folder, 0);
  return lines.join("\n");
}

/** README.md with the map put in. */
export function withMap(readme, root) {
  const [before, rest] = readme.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`README.md has no lines ${begin} and ${end}`);
  return `${before}${begin}\n${mapOf(root)}\n${end}${after}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
  const file = path.join(root, "README.md");
  writeFileSync(file, withMap(readFileSync(file, "utf8"), root));
}
