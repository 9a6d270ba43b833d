// The main job, rung by rung on one small task: prompt, tune, distil, quantise and export (stillroom ladder), then batch, look up and audit what came out. Each
// is a call of the program, and the table at the end is made of their --json alone.
import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";
import { parse } from "csv-parse/sync";
import { given, out, task } from "./arguments.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const program = path.join(root, "dist/bin/stillroom.js");
const student = `${out}/distilled/quantized.gguf`;

// Some 360 rows want more passes and larger steps than the defaults, which are meant for thousands.
const training = ["--epochs", "4", "--lr", "2e-3", "--student-epochs", "6", "--student-lr", "1e-3"];

const passed = (...names) => names.flatMap((name) => (given[name] === undefined ? [] : [`--${name}`, given[name]]));

/**
 * Runs the program; progress goes to our stderr, what it prints is returned with its exit code and seconds. Told to stop, it ends in order, which is waited for: a Ctrl-C reaches it too, a
 * SIGTERM is handed on.
 */
async function call(args, input = "") {
  process.stderr.write(`\n$ stillroom ${args.join(" ")}${input && " < definitions.txt"}\n`);
  const started = Date.now();
  const stdio = ["pipe", "pipe", "inherit"];
  const child = spawn(process.execPath, [program, ...args, "--json"], { cwd: root, stdio });
  const hold = () => {};
  const handOn = () => child.kill("SIGTERM");
  process.on("SIGINT", hold).on("SIGTERM", handOn);
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk) => {
    text += chunk;
  });
  child.stdin.on("error", () => {}).end(input);
  const status = await new Promise((resolve) => child.on("close", resolve));
  process.off("SIGINT", hold).off("SIGTERM", handOn);
  return { code: status ?? 130, text, seconds: (Date.now() - started) / 1000 };
}

/** As {@link call}, of a command that prints one object. Ends the process where there is nothing to go on with. */
async function step(args) {
  const { code, text, seconds } = await call(args);
  // 2 is done, with bad rows.
  if (code !== 0 && code !== 2) process.exit(code);
  return { ...JSON.parse(text), took: seconds };
}

const percent = (value) => `${(100 * value).toFixed(1)} %`;
const megabytes = (bytes) => (bytes === null ? "" : `${(bytes / 1e6).toFixed(1)} MB`);
const made = {
  "zero-shot": "the model as it is",
  "few-shot": "4 examples in the prompt",
  tuned: "tune: a LoRA adapter",
  student: "distil: fewer layers",
  "quantised student": "export: quantised",
};

// One that was cut off goes on; one that has come to its answers begins anew.
if (existsSync(path.join(root, out, "answers.jsonl"))) rmSync(path.join(root, out), { recursive: true });
const started = Date.now();
const every = passed("threads", "seed");

// Of the model in the box, which has six layers, half.
const sizes = given.model === undefined ? ["--layers", "3"] : [];
const { rungs } = await step(["ladder", task, "--out", out, ...training, ...sizes, ...passed("model"), ...every]);
const batch = await step([
  ...["batch", task, "--model", student, "--store", `${out}/answers`, "--out", `${out}/answers.jsonl`],
  ...every,
]);
// Every definition that was answered, and one that never was.
const rows = parse(readFileSync(path.join(root, "examples/creatures/test.csv")), { columns: true });
const keys = [...rows.map(({ definition }) => definition), "a creature that nobody has described"];
const found = await call(["lookup", "--store", `${out}/answers`, ...passed("threads")], `${keys.join("\n")}\n`);
if (found.code !== 0) process.exit(found.code);
const lines = found.text
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line));
const known = lines.filter(({ hit }) => hit).length;
const audit = await step(["audit", task, "--model", student, "--against", rungs[0].model, ...every]);

const table = new Table({
  head: ["rung", "accuracy [95 % interval]", "rows/s", "memory", "file", "made in"],
  colAligns: ["left", "left", "right", "right", "right", "right"],
  style: { head: [], border: [] },
});
for (const { rung, metrics, rows_per_second, memory_bytes, bytes, seconds } of rungs) {
  const { value, low, high } = metrics.accuracy;
  table.push([
    ...[made[rung], `${percent(value)} [${percent(low)}, ${percent(high)}]`, rows_per_second.toFixed(0)],
    ...[megabytes(memory_bytes), megabytes(bytes), seconds < 1 ? "" : `${seconds.toFixed(0)} s`],
  ]);
}
const line = (rung, what, speed, seconds) =>
  table.push([rung, what, speed.toFixed(0), "", "", `${seconds.toFixed(0)} s`]);
line("batch", `${batch.rows} rows answered and kept`, batch.rows_per_second, batch.took);
line("look up, no model", `${known} of ${keys.length} texts known`, keys.length / found.seconds, found.seconds);
const { findings } = audit;
line(
  "audit",
  findings.length === 0 ? "nothing beyond chance" : `${findings.length} findings`,
  audit.rows / audit.took,
  audit.took,
);
process.stdout.write(`\n${table.toString()}\n`);
for (const { part, what } of findings) process.stdout.write(`audit, ${part}: ${what}\n`);
process.stdout.write(
  `${rungs[0].rows} test rows; ${((Date.now() - started) / 1000).toFixed(0)} seconds in all; everything lies in ${out}\n`,
);
