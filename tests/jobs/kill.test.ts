// kill -9 at ten seeded moments of a 60-step run (in the long form 30 of 100 steps), and of distillations while their teacher is asked, resumed each time: the bytes of a run
// that nothing happened to.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { Random } from "../../src/support/random.js";
import { longest, sized } from "../support/long.js";
import { writeTextToy } from "../support/text_toy.js";
import { sha, stepsOf } from "./runs.js";
import { writeToyTask } from "./toy-task.js";

const steps = sized(60, 100);

/** Compiled by npm test (or npm run build:typescript) before vitest runs: a child process runs no TypeScript. */
const child = path.resolve("dist/tests/jobs/tune_child.js");

interface Life {
  /** How it ended: its exit code, or the signal. */
  end: number | string | null;
  firstStep: number;
  lastStep: number;
  errors: string;
}

/** Runs the child; `delay` milliseconds after it has told so many steps, or rows that the teacher was asked about, it is killed. */
function live(args: string[], killAt: number | null, delay: number, at: "step" | "teach" = "step"): Promise<Life> {
  return new Promise((resolve) => {
    const kill =
      killAt === null ? {} : { KILL_AT: `${at} ${killAt} ${at === "teach" ? "start" : "end"}`, KILL_DELAY: `${delay}` };
    const running = spawn(process.execPath, [child, ...args], { env: { ...process.env, ...kill, STEPS: `${steps}` } });
    const life: Life = { end: null, firstStep: -1, lastStep: -1, errors: "" };
    running.stderr.on("data", (text) => {
      life.errors += text;
    });
    createInterface(running.stdout).on("line", (line) => {
      const [type, step] = line.split(" ");
      if (type === "start") life.firstStep = Number(step);
      if (type === "step") life.lastStep = Number(step);
    });
    running.on("close", (code, signal) => resolve({ ...life, end: signal ?? code }));
  });
}

const adapter = ["adapter/adapter_model.safetensors", "adapter/adapter_config.json", "adapter.gguf"];
const taught = ["model.gguf", "teacher/rows.bin", "teacher/cache.json"];
/** Files that are compared; kills among the steps, and at how many rows that the teacher was asked about: in the middle of them, and behind the last. */
const methods: Record<string, { files: string[]; kills: number; asked: number[] }> = {
  lora: { files: adapter, kills: sized(10, 30), asked: [] },
  full: { files: ["model.gguf"], kills: sized(10, 30), asked: [] },
  distill: { files: taught, kills: sized(10, 30), asked: [128, 256, 320] },
  "on-policy": { files: taught, kills: sized(4, 30), asked: [128] },
  answers: { files: [...taught, "answers.json"], kills: sized(4, 30), asked: [128] },
};
const losses = (out: string) => stepsOf(out).map(({ step, loss, gradient_norm }) => ({ step, loss, gradient_norm }));

test.each(Object.keys(methods))("many kills, one result: %s", { timeout: longest }, async (method) => {
  const { files, kills, asked } = methods[method]!;
  expect(existsSync(child), `${child} is compiled by npm run build:typescript`).toBe(true);
  const folder = mkdtempSync(path.join(tmpdir(), "stillroom-kill-"));
  // Rows for three blocks of a teacher's cache.
  const args = [writeToyTask(asked.length > 0 ? { rows: 400 } : {}).file, writeTextToy(), method];
  const bytesOf = (run: string) => files.map((file) => sha(path.join(run, file)));
  const [whole, out] = [path.join(folder, "whole"), path.join(folder, "out")];
  expect(await live([...args, whole], null, 0)).toMatchObject({ end: 0, lastStep: steps, errors: "" });

  const random = new Random(2);
  for (const rows of asked) {
    expect(await live([...args, out], rows, random.below(4), "teach")).toMatchObject({ end: "SIGKILL", errors: "" });
  }
  // Steps anywhere, and the last one, behind which the result is written.
  const drawn = random.shuffle(Array.from({ length: steps - 1 }, (_, index) => index + 1)).slice(0, kills - 1);
  for (const step of [...drawn.sort((a, b) => a - b), steps]) {
    const life = await live([...args, out], step, random.below(12));
    expect(life).toMatchObject({ end: "SIGKILL", errors: "" });
  }
  const last = await live([...args, out], null, 0);
  expect(last).toMatchObject({ end: 0, errors: "" });
  expect(bytesOf(out)).toEqual(bytesOf(whole));
  expect(losses(out)).toEqual(losses(whole));
  const checkpoints = readdirSync(path.join(out, "checkpoints"));
  expect(checkpoints.filter((name) => name.startsWith("step-"))).toEqual([
    `step-${String(steps - 4).padStart(9, "0")}.checkpoint`,
    `step-${String(steps).padStart(9, "0")}.checkpoint`,
  ]);
  // The best weights of an adapter lie in the checkpoints, those of a model beside them.
  expect(checkpoints.length > 2).toBe(method !== "lora");
});
