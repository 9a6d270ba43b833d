// Writes THIRD_PARTY_NOTICES.md: the licence texts of what the engine links and of every direct dependency, and a table of
// all that npm installs with them. --check compares instead, and fails when the file is out of date.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const read = (...parts) => readFileSync(path.join(root, ...parts), "utf8");
const direct = Object.keys(JSON.parse(read("package.json")).dependencies).sort();
const installed = Object.entries(JSON.parse(read("package-lock.json")).packages).filter(
  ([at, entry]) => at && !entry.dev,
);
const version = (name) => JSON.parse(read("package-lock.json")).packages[`node_modules/${name}`].version;

function licenceText(folder) {
  const name = readdirSync(path.join(root, folder)).find((file) => /^licen[sc]e/i.test(file));
  if (!name) throw new Error(`${folder} has no licence file`);
  return read(folder, name).replace(/\r/g, "").trim();
}

function section(title, folder) {
  return `## ${title}\n\n\`\`\`text\n${licenceText(folder)}\n\`\`\`\n`;
}

function table() {
  const rows = new Set();
  for (const [at, entry] of installed) {
    const name = entry.name ?? at.slice(at.lastIndexOf("node_modules/") + "node_modules/".length);
    rows.add(`| ${name} | ${entry.version} | ${entry.license} |`);
  }
  return `| package | version | licence |\n|---|---|---|\n${[...rows].sort().join("\n")}\n`;
}

const llama = `build/llama.cpp-${version("node-llama-cpp")}-headers`;
const notices = `# Third-party notices

stillroom contains no code of others, and a model that was made from another. Its engine is compiled on the user's machine and linked with
the libraries of llama.cpp and ggml that node-llama-cpp brings, and it runs with the packages below, which npm installs from their own sources.

${section("llama.cpp and ggml", llama)}
## The model in the box

models/*.gguf was made from SmolLM2-135M-Instruct (Hugging Face; Apache License 2.0, models/LICENSE-apache) with texts of WordNet 3.1, by models/make.sh. The
rows of examples/creatures and examples/people are WordNet's.

\`\`\`text
${read("models/LICENSE-wordnet").trim()}
\`\`\`

${direct.map((name) => section(`${name} ${version(name)}`, path.join("node_modules", name))).join("\n")}
## All packages that are installed with stillroom

${table()}`;

const file = path.join(root, "THIRD_PARTY_NOTICES.md");
if (!process.argv.includes("--check")) writeFileSync(file, notices);
else if (readFileSync(file, "utf8") !== notices) {
  process.stderr.write("THIRD_PARTY_NOTICES.md is out of date; run: npm run notices\n");
  process.exit(1);
}
