// The program as a user meets it: what it prints where, and how it ends.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../src/model/index.js";
import { completion, writeLines } from "../batch/requests.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { writeTextToy } from "../support/text_toy.js";
import { type Ended, stillroom } from "./program.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-command-test-"));
const run = path.join(folder, "run");
let model = "";
let task = "";
let tuned: Ended;

beforeAll(async () => {
  model = writeTextToy();
  task = writeToyTask().file;
  tuned = await stillroom([
    "tune",
    task,
    "--model",
    model,
    "--out",
    run,
    "--steps",
    "3",
    "--rank",
    "2",
    "--json",
    "--threads",
    "1",
  ]);
});

/** The one object on stdout. */
function json({ stdout }: Ended): Record<string, unknown> {
  expect(stdout.trim().split("\n")).toHaveLength(1);
  return JSON.parse(stdout) as Record<string, unknown>;
}

describe("the four commands, one after the other", () => {
  it("inspect", async () => {
    const ended = await stillroom(["inspect", model, "--json"]);
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    const fields = [
      "architecture",
      "parameters",
      "layers",
      "types",
      "context_length",
      "vocabulary",
      "chat_template",
      "tunable",
      "reason",
    ];
    expect(Object.keys(json(ended))).toEqual(expect.arrayContaining(fields));
    expect(json(ended)).toMatchObject({ architecture: "llama", layers: 2, tunable: true, reason: null });
  });

  it("tune", () => {
    expect(tuned.code).toBe(0);
    expect(json(tuned)).toMatchObject({ run, steps: 3, adapter: { gguf: path.join(run, "adapter.gguf") } });
    expect(tuned.stderr).toMatch(/^tuning \d+% step \d of 3 · loss/m);
  });

  it("export, then eval of what it wrote against the base", async () => {
    const out = path.join(folder, "out.gguf");
    const exported = await stillroom([
      ...["export", "--model", model, "--adapter", run, "--quantize", "Q8_0", "--check", task],
      ...["--out", out, "--json", "--threads", "1"],
    ]);
    expect(exported.code).toBe(0);
    expect(json(exported)).toMatchObject({ out, type: "Q8_0", gate: { passed: true, metric: { name: "accuracy" } } });
    expect(exported.stderr).not.toContain("warning");
    const larger = await stillroom(["export", "--model", out, "--quantize", "F32", "--out", `${out}.f32.gguf`]);
    expect(larger.code).toBe(0);
    expect(larger.stderr).toMatch(/warning: .*f32\.gguf has [\d.]+ kB, more than the [\d.]+ kB of .*out\.gguf$/m);
    const evaluated = await stillroom(["eval", task, "--model", out, "--against", model, "--threads", "1"]);
    expect(evaluated.code).toBe(0);
    expect(evaluated.stdout).toMatch(/^halves · 20 test rows · 0 shots · .*out\.gguf$/m);
    expect(evaluated.stdout).toMatch(/^accuracy +0\.\d{3} +\d\.\d{3} – \d\.\d{3}$/m);
    expect(evaluated.stdout).toMatch(/McNemar p = /);
    expect(evaluated.stdout).not.toContain("\u001b");
  });

  it("eval of the adapter, with predictions", async () => {
    const predictions = path.join(folder, "predictions.jsonl");
    const ended = await stillroom([
      "eval",
      task,
      "--model",
      model,
      "--adapter",
      run,
      "--predictions",
      predictions,
      "--json",
    ]);
    expect(ended.code).toBe(0);
    expect(json(ended)).toMatchObject({ adapter: run, split: "test", shots: 0, rows: 20, errors: 0 });
    expect(readFileSync(predictions, "utf8").trim().split("\n")).toHaveLength(20);
    expect(ended.stderr).toMatch(/^scoring 100% 20 of 20 rows/m);
  });
});

describe("exit codes", () => {
  const text = path.join(folder, "text.gguf");
  const cut = path.join(folder, "cut.gguf");
  const none = path.join(folder, "none.gguf");
  beforeAll(() => {
    writeFileSync(text, "this is no model\n");
    writeFileSync(cut, readFileSync(model).subarray(0, 3000));
  });

  it.each<[string, () => string[], number, RegExp]>([
    ["a text file", () => ["inspect", text], 65, /text\.gguf/],
    ["a truncated model", () => ["inspect", cut], 65, /cut\.gguf/],
    ["a truncated model for eval", () => ["eval", task, "--model", cut], 65, /cut\.gguf/],
    ["a directory", () => ["inspect", folder], 65, /expected a GGUF file for model/],
    ["no such model", () => ["eval", task, "--model", none], 69, /there is no model .*none\.gguf/],
    ["no such task", () => ["eval", path.join(folder, "none.yaml"), "--model", model], 65, /none\.yaml/],
    ["no such adapter", () => ["eval", task, "--model", model, "--adapter", none], 69, /there is no adapter/],
    ["an unreachable hub", () => ["inspect", "hf:user/repository/file.gguf"], 69, /cannot be reached/],
    ["an unknown command", () => ["evl", task], 64, /Did you mean eval\?/],
    ["an unknown option", () => ["eval", task, "--shot", "1"], 64, /Did you mean --shots\?/],
    ["a value that is no number", () => ["eval", task, "--limit", "ten"], 64, /Expected a whole number of at least 1/],
    ["a split that is none", () => ["eval", task, "--split", "dev"], 64, /Allowed choices are train, validation, test/],
    ["a trial that is none", () => ["bench", "tunes"], 64, /Did you mean tune\?/],
    ["a peer that is none", () => ["bench", "score", task, "--peer", "tensorflow"], 64, /Allowed choices are pytorch/],
    ["no --out", () => ["tune", task], 64, /required option '--out <run>'/],
    ["too many arguments", () => ["inspect", model, model], 64, /too many arguments/],
    ["a wrong size", () => ["tune", task, "--out", folder, "--memory", "big"], 64, /Expected a size such as 2G/],
    [
      "a type that is none",
      () => ["export", "--model", model, "--quantize", "Q8", "--out", none],
      64,
      /did you mean Q8_0\?/,
    ],
    [
      "a rate that is none, by the name that was typed",
      () => ["tune", task, "--model", model, "--out", path.join(folder, "unused"), "--lr", "-1"],
      64,
      /expected a number above 0 for --lr, received -1/,
    ],
    [
      "two lengths, by the names that were typed",
      () => ["tune", task, "--model", model, "--out", path.join(folder, "unused"), "--steps", "1", "--epochs", "1"],
      64,
      /expected --epochs or --steps, received both/,
    ],
    [
      "an option that another one asks for, both by the names that were typed",
      () => [
        ...["distill", task, "--teacher", model, "--student", model, "--out", path.join(folder, "unused")],
        ...["--on-policy", "--label-weight", "0.5"],
      ],
      64,
      /expected 0 together with --on-policy for --label-weight, received 0\.5/,
    ],
    [
      "a size without rows to measure on, by the names that were typed",
      () => ["export", "--model", model, "--out", none, "--size", "1M"],
      64,
      /--size needs a task on whose rows it can measure: give --imatrix or --check/,
    ],
    [
      "a patience that can end no run",
      () => ["tune", task, "--model", model, "--out", path.join(folder, "unused"), "--patience", "3"],
      64,
      /--patience 3 ends no run of \d validations?: leave it out, or validate more often with --evaluate-every/,
    ],
    [
      "a bound, by the name that was typed",
      () => ["export", "--model", model, "--out", none, "--max-kl-merge", "-1"],
      64,
      /expected a number of at least 0 for --max-kl-merge, received -1/,
    ],
    [
      "a run that is there, with the option that goes on with it",
      () => ["tune", task, "--model", model, "--out", run],
      64,
      /already holds a run; continue it with --resume/,
    ],
    [
      "another rate for a run that is there",
      () => ["tune", task, "--model", model, "--out", run, "--resume", "--lr", "1"],
      64,
      /it was begun with other --lr \(0\.0002 there, 1 here\)$/m,
    ],
    [
      "too little memory, in the units people read",
      () => ["tune", task, "--model", model, "--out", path.join(folder, "unused"), "--memory", "100M"],
      64,
      /expected at least \d+ MiB for --memory with this model and these rows, received 100 MiB/,
    ],
    [
      "a target that is none",
      () => ["tune", task, "--model", model, "--out", path.join(folder, "unused"), "--targets", "q,x"],
      64,
      /expected different names out of q, k, .*, embeddings for --targets, received "x"/,
    ],
    [
      "a rank that only the engine refuses",
      () => ["tune", task, "--model", model, "--out", path.join(folder, "unused"), "--rank", "5000"],
      64,
      /expected a whole number from 1 to 4096 for --rank, received 5000/,
    ],
    [
      "a layer that the model lacks, its option named once",
      () => ["tune", task, "--model", model, "--out", path.join(folder, "unused"), "--layers", "30"],
      64,
      /expected numbers from 0 to 1 for --layers, received 30/,
    ],
    [
      "targets that the model lacks",
      () => [
        ...["tune", task, "--model", model, "--out", path.join(folder, "unused"), "--method", "full"],
        ...["--targets", "biases"],
      ],
      64,
      /expected names that the model has for --targets, received biases, of which it has none; it has q, k, /,
    ],
    [
      "a file where the run should be",
      () => ["tune", task, "--model", model, "--out", task],
      74,
      /is no folder; move it/,
    ],
    ["a malformed URI, without a request", () => ["inspect", "hf:nonsense"], 64, /expected hf:USER\/REPOSITORY/],
    ["no command", () => [], 64, /Usage: stillroom/],
  ])("%s", async (_name, args, code, message) => {
    const ended = await stillroom(args());
    expect(ended).toMatchObject({ code, stdout: "" });
    expect(ended.stderr).toMatch(message);
    expect(ended.stderr).not.toMatch(/^ +at /m);
  });

  it("names the command that makes a missing peer", async () => {
    const environment = { STILLROOM_PEERS: folder };
    const ended = await stillroom(["bench", "score", task, "--model", model, "--peer", "pytorch"], { environment });
    expect(ended).toMatchObject({ code: 69, stdout: "" });
    expect(ended.stderr).toMatch(/the peer pytorch is missing \(.*\); make it with: stillroom bench setup pytorch$/m);
  });

  it("leaves no run where the call was wrong", () => {
    expect(existsSync(path.join(folder, "unused/run.json"))).toBe(false);
  });

  it("prints the error as the one object of --json", async () => {
    const ended = await stillroom(["eval", task, "--model", text, "--json"]);
    expect(ended.code).toBe(65);
    expect(json(ended)).toEqual({ error: { code: "input", message: expect.stringContaining("text.gguf") } });
  });

  it.each<[string, string[], RegExp]>([
    [
      "a value that is no number",
      ["tune", "task.yaml", "--out", "o", "--lr", "abc", "--json"],
      /'abc'.*Expected a number/,
    ],
    ["a choice that is none", ["bench", "setup", "nobody", "--json"], /nobody/],
    [
      "a number too small, --json before it",
      ["bench", "agree", "--json", "task.yaml", "--limit", "0"],
      /Expected a whole/,
    ],
    ["an unknown command", ["evl", "--json"], /^unknown /],
    ["no command", ["bench", "--json"], /expected a command|unknown option/],
  ])("prints what the option parser refuses as the one object of --json too: %s", async (_name, args, message) => {
    const ended = await stillroom(args);
    expect(ended.code).toBe(64);
    expect(json(ended)).toEqual({ error: { code: "usage", message: expect.stringMatching(message) } });
  });

  it.each([
    ["--help", "--json"],
    ["inspect", "--json", "--help"],
  ])("prints no error where help is asked for", async (...args) => {
    const ended = await stillroom(args);
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    expect(ended.stdout).toMatch(/^Usage: /);
  });

  it("is 1 for a failed gate, with what was found, and leaves no file", async () => {
    const out = path.join(folder, "failed.gguf");
    const args = ["--model", model, "--adapter", run, "--quantize", "Q4_0", "--check", task, "--max-kl", "1e-12"];
    const ended = await stillroom(["export", ...args, "--out", out, "--json"]);
    expect(ended.code).toBe(1);
    expect(json(ended)).toMatchObject({ error: { code: "gate" }, gate: { passed: false }, type: "Q4_0" });
    expect(existsSync(out)).toBe(false);
    const told = await stillroom(["export", ...args, "--out", out]);
    expect(told.stdout).toMatch(
      /failed\.gguf \(not written\) .*\nquantised .*the gate is not passed on \d+ validation rows\n/s,
    );
    expect(told.stderr).toMatch(/failed\.gguf was not written: on \d+ validation rows quantising moved /);
  });

  it("is 2 with bad rows, named on stderr, and 65 with --strict", async () => {
    const broken = writeToyTask();
    appendFileSync(path.join(broken.folder, "test.jsonl"), "{broken\n");
    const ended = await stillroom(["eval", broken.file, "--model", model, "--json"]);
    expect(ended.code).toBe(2);
    expect(json(ended)).toMatchObject({ rows: 20, errors: 1 });
    const told = await stillroom(["eval", broken.file, "--model", model, "--limit", "21"]);
    expect(told.stdout).toMatch(/^1 bad row left out$/m);
    expect(ended.stderr).toMatch(/^warning: .*test\.jsonl:21: /m);
    expect((await stillroom(["eval", broken.file, "--model", model, "--strict"])).code).toBe(65);
    const compared = ["prompt", broken.file, "--model", model, "--split", "test", "--shots", "0", "--compare"];
    const prompted = await stillroom([...compared, "--json"]);
    expect(prompted.code).toBe(2);
    expect(json(prompted)).toMatchObject({ errors: 1, compared: { prompts: [{ rows: 20 }] } });
    expect(prompted.stderr).toMatch(/^warning: .*test\.jsonl:21: /m);
    expect((await stillroom(compared)).stdout).toMatch(/^1 bad row left out$/m);
  });

  it.each(["SIGINT", "SIGTERM"] as const)("is 130 after %s, and what was done is kept", async (name) => {
    const out = path.join(folder, `stopped-${name}`);
    const args = ["tune", task, "--model", model, "--out", out, "--steps", "100000", "--threads", "1", "--json"];
    const ended = await stillroom(args, { signal: { name, when: /^tuning /m } });
    expect(ended.code).toBe(130);
    expect(ended.endedAfter).toBeLessThan(10_000);
    const { error } = json(ended) as { error: { code: string; message: string } };
    expect(error).toMatchObject({
      code: "cancelled",
      message: expect.stringMatching(/cancelled after step \d+ of 100000/),
    });
    expect(ended.stderr).toMatch(/a second signal stops at once/);
    // Every step that was done is in a checkpoint.
    const step = /after step (\d+)/.exec(error.message)![1]!;
    expect(readdirSync(path.join(out, "checkpoints"))).toContain(`step-${step.padStart(9, "0")}.checkpoint`);
  });

  it("is 130 where a batch is stopped: no file, and the same command does the rest", async () => {
    const input = writeLines(Array.from({ length: 3000 }, (_, row) => completion(`${row}`, `Fruit ${row}:`)));
    const [store, out] = [path.join(folder, "stopped-store"), path.join(folder, "stopped.jsonl")];
    const args = ["batch", input, "--model", model, "--store", store, "--out", out, "--threads", "1", "--json"];
    const ended = await stillroom(args, { signal: { name: "SIGINT", when: /^answering /m } });
    expect(ended.code, ended.stderr).toBe(130);
    expect(ended.endedAfter).toBeLessThan(10_000);
    expect(json(ended)).toMatchObject({ error: { code: "cancelled" } });
    expect(ended.stderr).toMatch(
      /^answering \d+% \d+ of 3000 rows · \d+ rows\/s · \d+ tokens\/s · 0 from the store · 0 errors · .+ left$/m,
    );
    expect(existsSync(out)).toBe(false);
    const rest = json(await stillroom(args)) as { computed: number; from_store: number };
    expect(rest).toMatchObject({ rows: 3000, errors: 0, stopped: null });
    expect(rest.computed).toBeLessThan(3000);
  });

  it("is 0 for --help, with the exit codes and examples", async () => {
    const help = await stillroom(["--help"]);
    expect(help).toMatchObject({ code: 0, stderr: "" });
    expect(help.stdout).toMatch(/Exit codes: 0 done; 1 a gate failed/);
    for (const name of ["inspect", "eval", "tune", "export"]) {
      const ended = await stillroom([name, "--help"]);
      expect(ended.code).toBe(0);
      expect(ended.stdout).toMatch(new RegExp(`Examples?:\n +\\$ stillroom ${name}`));
    }
  });

  it("works on when nobody reads the progress any more", async () => {
    const out = path.join(folder, "unwatched");
    const args = ["tune", task, "--model", model, "--out", out, "--steps", "3", "--rank", "2", "--threads", "1"];
    const child = spawn(process.execPath, [path.join(packageRoot(), "dist/bin/stillroom.js"), ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout.resume();
    child.stderr.destroy();
    const [code] = await once(child, "close");
    expect(code).toBe(0);
    expect(existsSync(path.join(out, "adapter.gguf"))).toBe(true);
  });

  it("ends quietly when nobody reads on", async () => {
    const child = spawn(process.execPath, [path.join(packageRoot(), "dist/bin/stillroom.js"), "inspect", model], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stderr = "";
    child.stderr.on("data", (text) => {
      stderr += text;
    });
    child.stdout.destroy();
    const [code] = await once(child, "close");
    expect([code, stderr]).toEqual([0, ""]);
  });
});
