// The page of a run: its curves, its facts, and a command that really repeats it.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { appendFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../src/model/index.js";
import { reportRun } from "../../src/report/index.js";
import { hashFile } from "../../src/support/files.js";
import { stillroom } from "../command/program.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { needs } from "../support/needs.js";
import { writeTextToy } from "../support/text_toy.js";
import { closeBrowser, flawsOf } from "./browser.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-run-report-"));
const run = path.join(folder, "a run's folder");
const file = path.join(folder, "run.html");
const distilled = path.join(folder, "distilled.html");
const model = writeTextToy();
const testChromium = needs("chromium");
afterAll(closeBrowser);
const entities: Record<string, string> = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'" };
const plain = (html: string) => html.replace(/&(amp|lt|gt|quot|#39);/g, (sign) => entities[sign]!);

/** Runs the command of a page into another folder. */
function repeat(page: string): string {
  const [, command] = /<code>([^<]+)<\/code>/.exec(readFileSync(page, "utf8"))!;
  const again = mkdtempSync(path.join(folder, "again-"));
  const typed = plain(command!).replace(/--out '[^']*'\\''[^']*'/, `--out ${again}/run`);
  const program = `${process.execPath} ${path.join(packageRoot(), "dist/bin/stillroom.js")}`;
  execFileSync("sh", ["-c", typed.replace(/^stillroom/, program)], { stdio: "pipe" });
  return path.join(again, "run");
}

beforeAll(async () => {
  const toy = [writeToyTask().file, "--model", model, "--threads", "1"];
  const options = ["--epochs", "2", "--rank", "2", "--lr", "1e-3", "--targets", "q,v", "--rs-lora", "--layers", "1"];
  const { code, stderr } = await stillroom(["tune", ...toy, ...options, "--out", run, "--report", file]);
  expect(code, stderr).toBe(0);
});

describe("the page of a run", () => {
  it("draws loss, metric, speed, rate and memory", () => {
    const titles = [...readFileSync(file, "utf8").matchAll(/<title>([^<]+)<\/title>/g)].map(([, title]) => title);
    const charts = ["Loss", "Validation", "Speed", "Learning rate", "Memory"];
    expect(titles.slice(1)).toEqual(charts.flatMap((title) => [title, title]));
  });

  it("holds the result and the facts of the run", () => {
    const html = readFileSync(file, "utf8");
    const result = JSON.parse(readFileSync(path.join(run, "run.json"), "utf8")).result;
    expect(html).toContain(`<td>best_step</td><td>${result.best_step}</td>`);
    expect(html).toContain(`<td>adapter gguf</td><td class="long">${run.replace("'", "&#39;")}/adapter.gguf</td>`);
    expect(html).toContain("<td>architecture</td><td>llama</td>");
  });

  it("has the command that makes the same bytes again", async () => {
    const again = repeat(file);
    expect(await hashFile(path.join(again, "adapter.gguf"))).toBe(await hashFile(path.join(run, "adapter.gguf")));
  });

  it("has the command of a head behind a prompt, of data that lie elsewhere", async () => {
    const [task, page, run] = [writeToyTask().file, path.join(folder, "head.html"), path.join(folder, "a head's run")];
    const [moved, prompt] = [path.join(folder, "elsewhere.yaml"), path.join(folder, "two.json")];
    copyFileSync(task, moved);
    const data = ["--data", path.dirname(task), "--threads", "1"];
    await stillroom(["prompt", moved, ...data, "--model", model, "--shots", "2", "--save", prompt]);
    const head = ["--head", "softmax", "--class-weights", "balanced", "--target-precision", "0.6", "--prompt", prompt];
    const options = ["--method", "head", ...head, "--calibrate", "isotonic", "--steps", "2", "--report", page];
    const { code, stderr } = await stillroom(["tune", moved, ...data, "--model", model, "--out", run, ...options]);
    expect(code, stderr).toBe(0);
    for (const [place, unit] of [
      [page, "nats a row"],
      [file, "nats a label token"],
    ] as const)
      expect(readFileSync(place, "utf8")).toContain(`>loss (${unit})</text>`);
    const again = repeat(page);
    for (const name of ["head.safetensors", "calibration.json"])
      expect(readFileSync(path.join(again, name), "utf8")).toBe(readFileSync(path.join(run, name), "utf8"));
  });

  it.each(["tune", "distill"])("knows every option of %s", async (command) => {
    const { stdout } = await stillroom([command, "--help"]);
    const all = [...stdout.matchAll(/^ {2}(?:-h, )?--([\w-]+)/gm)].map(([, name]) => name!);
    const flags = all.filter((flag) => !["data", "help", "json", "out", "report", "resume"].includes(flag));
    const camel = (flag: string) => flag.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    const options = flags.map((flag) => [flag === "lr" ? "learningRate" : camel(flag), "given"]);
    const place = mkdtempSync(path.join(folder, "every-"));
    const facts = JSON.parse(readFileSync(path.join(run, "run.json"), "utf8"));
    const given = {
      ...facts,
      options: Object.fromEntries(options),
      ...(command === "distill" && { distillation: {} }),
    };
    writeFileSync(path.join(place, "run.json"), JSON.stringify(given));
    await reportRun(place, path.join(place, "page.html"));
    const [, text] = /<code>([^<]+)</.exec(readFileSync(path.join(place, "page.html"), "utf8"))!;
    expect(flags.filter((flag) => !text!.includes(`--${flag} given`))).toEqual([]);
  });

  it("of a distillation compares the three, and has its command", async () => {
    const [student, out] = ["student.gguf", "a student's run"].map((name) => path.join(folder, name)) as [
      string,
      string,
    ];
    const teacher = JSON.parse(readFileSync(path.join(run, "run.json"), "utf8"));
    const task = teacher.task.file;
    const steps = [
      "--steps",
      "3",
      "--threads",
      "1",
      "--quantize",
      "Q8_0",
      "--loss",
      "jsd",
      "--beta",
      "0.3",
      "--lr",
      "1e-3",
    ];
    const made = await stillroom(["student", "--teacher", model, "--task", task, "--layers", "1", "--out", student]);
    expect(made.code, made.stderr).toBe(0);
    const given = ["--teacher", model, "--teacher-adapter", run, "--student", student, "--out", out, ...steps];
    const { code, stderr } = await stillroom(["distill", task, ...given, "--report", distilled]);
    expect(code, stderr).toBe(0);
    const html = readFileSync(distilled, "utf8");
    for (const name of ["teacher", "student", "quantized"]) expect(html).toContain(`<tr><td>${name}</td>`);
    // Settings by the names that are typed.
    for (const name of ["--lr", "--label-weight", "--quantize"]) expect(html).toContain(`<td>${name}</td>`);
    expect(/<td>[a-z]+[A-Z]\w*<\/td>/.exec(html)).toBeNull();
    // The teacher is of one mind with itself; how much a student is, the rows tell as an interval.
    const alike = (name: string) =>
      new RegExp(`<td>${name}</td><td[^>]*>[^<]*</td><td[^>]*>([^<]*)</td>`).exec(html)?.[1];
    expect(alike("teacher")).toBe("1");
    for (const name of ["student", "quantized"]) expect(alike(name)).toMatch(/^[\d.]+ \[[\d.]+, [\d.]+\]$/);
    const again = repeat(distilled);
    for (const name of ["model.gguf", "quantized.gguf"])
      expect(await hashFile(path.join(again, name))).toBe(await hashFile(path.join(out, name)));
  });

  testChromium("is drawn without a complaint, of a tuning and of a distillation", async () => {
    for (const page of [file, distilled]) expect(await flawsOf(page)).toEqual([]);
  });

  it("is also that of a run whose last line is half written", async () => {
    await appendFile(path.join(run, "metrics.jsonl"), '{"step": 99, "lo');
    await reportRun(run, file);
    expect(readFileSync(file, "utf8")).toContain(">Loss</title>");
  });

  it("is refused where there is no run", async () => {
    await expect(reportRun(folder, file)).rejects.toThrow(
      `${folder} holds no run: expected the folder that tune or distill wrote`,
    );
  });

  it("is asked for before the work begins", async () => {
    const out = path.join(folder, "unborn");
    const { code, stderr } = await stillroom([
      "tune",
      writeToyTask().file,
      "--out",
      out,
      "--report",
      "/nowhere/page.html",
    ]);
    expect([code, stderr]).toEqual([74, expect.stringContaining("/nowhere/page.html")]);
  });
});
