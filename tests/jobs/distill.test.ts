// distill() from a task file to a quantised student, on toys that take text: folder, events, table, resume, refusals.
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { type DistillEvent, type DistillOptions, distill, readRows, teach, tune } from "../../src/index.js";
import { resolveModel } from "../../src/model/index.js";
import { stillroom } from "../command/program.js";
import { byteAlphabet, textToy, writeTextToy } from "../support/text_toy.js";
import { runFolder, sha, stepsOf } from "./runs.js";
import { makeToyPair } from "./toy-pair.js";

const { task, teacher, adapter, student } = await makeToyPair();

const small = (out: string, change: Partial<DistillOptions> = {}): DistillOptions => ({
  ...{
    teacher,
    teacherAdapter: adapter,
    student,
    out,
    steps: 12,
    batchSize: 8,
    learningRate: 3e-3,
    topK: 16,
    threads: 1,
  },
  ...{ quantize: "Q8_0", ...change },
});

test("a student learns what its teacher says, is quantised and compared", async () => {
  const out = runFolder();
  const events: DistillEvent[] = [];
  const run = distill(task, small(out, { steps: 120, labelWeight: 0, loss: "forward_kl", evaluateEvery: 40 }));
  for await (const event of run) events.push(event);
  const result = await run.result;
  expect(events.at(-1)).toEqual({ type: "end", result });
  expect(events[0]).toMatchObject({ type: "teach", rows: 128, totalRows: 160 });
  expect(events.filter(({ type }) => type === "step")).toHaveLength(120);
  // Of the divergence alone: 0 is the teacher.
  expect(result.loss.last).toBeLessThan(result.loss.first / 3);
  expect(result).toMatchObject({
    ...{ run: out, steps: 120, model: path.join(out, "model.gguf"), quantized: path.join(out, "quantized.gguf") },
    ...{ cache: path.join(out, "teacher"), gate: { passed: true }, metric: "accuracy" },
  });
  expect(readdirSync(out).sort()).toEqual([
    ...[
      "checkpoints",
      "metrics.jsonl",
      "model.gguf",
      "model.md",
      "quantized.gguf",
      "quantized.md",
      "run.json",
      "teacher",
      "validation.jsonl",
    ],
  ]);
  const [first, second, third] = result.comparison;
  expect(first).toMatchObject({ name: "teacher", agreement: 1, agreement_interval: null });
  expect(second).toMatchObject({ name: "student", model: result.model });
  expect(third).toMatchObject({ name: "quantized", model: result.quantized });
  expect(second!.parameters).toBeLessThan(first!.parameters);
  expect(third!.bytes).toBeLessThan(second!.bytes);
  expect(second!.agreement).toBeGreaterThan(0.8);
  const [low, high] = second!.agreement_interval!;
  expect(low).toBeGreaterThan(0.5);
  expect(low).toBeLessThan(second!.agreement!);
  expect(high).toBeLessThanOrEqual(1);
  expect(high).toBeGreaterThanOrEqual(second!.agreement!);
  const card = readFileSync(result.card!, "utf8");
  expect(card).toContain(`| teacher | ${path.basename(teacher)} |`);
  expect(card).toContain("| distillation loss | forward_kl |\n| weight of the labels | 0 |");
  expect(/^\| [a-z]+[A-Z]/m.exec(card)).toBeNull();
  const { result: kept, distillation } = JSON.parse(readFileSync(path.join(out, "run.json"), "utf8"));
  expect(kept).toEqual(JSON.parse(JSON.stringify(result)));
  const asked = { topK: 16, tail: "sample", loss: "forward_kl" };
  expect(distillation).toMatchObject({ teacher, teacherAdapter: adapter, student, ...asked });
});

test.each<Partial<DistillOptions>>([
  { loss: "jsd", beta: 0.3, temperature: 2 },
  { method: "lora", rank: 4, loss: "reverse_kl" },
  { onPolicy: 0.5, seed: 3 },
])("aborted and resumed with nothing but the folder, %j: the bytes of an undisturbed run", async (change) => {
  const [whole, out] = [runFolder(), runFolder()];
  const options = { ...change, quantize: "none", checkLimit: 5 };
  const undisturbed = await distill(task, small(whole, options)).result;
  for (const [type, at] of [
    ["teach", 1],
    ["step", 5],
  ] as const) {
    const abort = new AbortController();
    const { signal } = abort;
    const cut = distill(
      task,
      type === "teach" ? small(out, { ...options, signal }) : ({ out, resume: true, signal } as DistillOptions),
    );
    const seen: string[] = [];
    await expect(
      (async () => {
        for await (const event of cut) {
          seen.push(event.type);
          if (event.type === type && seen.filter((one) => one === type).length === at) abort.abort();
        }
      })(),
    ).rejects.toMatchObject({
      code: "cancelled",
      message: expect.stringMatching(/^cancelled (while .*|after step \d+ of 12); resume goes on from there$/),
    });
  }
  const resumed = await distill(task, { out, resume: true } as DistillOptions).result;
  const bytesOf = ({ model, run }: typeof resumed) => sha(model ?? path.join(run, "adapter.gguf"));
  expect(bytesOf(resumed)).toBe(bytesOf(undisturbed));
  expect(sha(path.join(out, "teacher", "rows.bin"))).toBe(sha(path.join(whole, "teacher", "rows.bin")));
  const other = (given: Partial<DistillOptions>) =>
    expect(distill(task, { out, resume: true, ...given } as DistillOptions).result).rejects;
  await other({ labelWeight: 0.9 }).toThrow(/begun with other labelWeight \(0(\.5)? there, 0\.9 here\)/);
  // By the tail and the label weight of the run these could not be.
  const loss = change.loss === "jsd" ? "forward_kl" : "jsd";
  await other({ loss }).toThrow(new RegExp(`begun with other loss \\("\\w+" there, "${loss}" here\\)$`));
  await other({ onPolicy: 0.25 }).toThrow(/begun with other onPolicy \(0(\.5)? there, 0\.25 here\)$/);
  await expect(tune(task, { out, resume: true }).result).rejects.toThrow(
    /holds a run of distill: resume it with distill/,
  );
});

test.each<Partial<DistillOptions>>([{}, { onPolicy: 0.5, loss: "jsd" }, { answers: "teacher" }])(
  "100 steps twice, %j: the same bytes",
  async (change) => {
    const run = () => distill(task, small(runFolder(), { steps: 100, threads: 2, ...change })).result;
    const [first, second] = [await run(), await run()];
    for (const file of ["model.gguf", "quantized.gguf", "teacher/rows.bin", "validation.jsonl"])
      expect(sha(path.join(second.run, file)), file).toBe(sha(path.join(first.run, file)));
  },
);

test("on-policy, a student learns from the teacher's view of what it writes itself", async () => {
  const out = runFolder();
  const run = distill(task, small(out, { steps: 60, onPolicy: 1, loss: "jsd", quantize: "none" }));
  const kinds = new Set<string>();
  for await (const { type } of run) kinds.add(type);
  const result = await run.result;
  // No cache: nothing was asked beforehand.
  expect(kinds).not.toContain("teach");
  expect(result).toMatchObject({ cache: null, steps: 60, skipped_steps: 0 });
  expect(readdirSync(out)).not.toContain("teacher");
  expect(result.loss.last).toBeLessThan(result.loss.first * 0.8);
  // The student's answers have other lengths than the rows'.
  expect(new Set(stepsOf(out).map(({ tokens }) => tokens)).size).toBeGreaterThan(5);
});

test("the teacher's own answers are learnt, of the rows that it answers rightly", async () => {
  const out = runFolder();
  // A teacher that was never tuned is right now and then.
  const options = { answers: "teacher" as const, teacherAdapter: undefined, steps: 4, quantize: "none", limit: 100 };
  const run = await distill(task, small(out, options)).result;
  const kept = () =>
    JSON.parse(readFileSync(path.join(out, "answers.json"), "utf8")) as { answers: [number, string][] };
  const { rows } = await readRows(task, "train", { limit: 100 });
  const { answers } = kept();
  expect(answers.length).toBeGreaterThan(20);
  expect(answers.length).toBeLessThan(80);
  for (const [index, answer] of answers) expect(rows.find((row) => row.index === index)!.answer).toBe(answer);
  const { data } = JSON.parse(readFileSync(path.join(out, "run.json"), "utf8"));
  expect(data.rows).toBe(answers.length);
  // A damaged file is made again: a resumed run has the same rows.
  writeFileSync(path.join(out, "answers.json"), JSON.stringify({ ...kept(), answers: answers.slice(1) }));
  expect(await distill(task, { out, resume: true } as DistillOptions).result).toMatchObject({ rows: run.rows });
  expect(kept().answers).toEqual(answers);
});

test("a cache of teach serves every student of the task, and is refused where it does not fit", async () => {
  const cache = runFolder();
  const asked = { teacher, teacherAdapter: adapter, topK: 16, threads: 1 };
  const made = await teach(task, { ...asked, out: cache }).result;
  expect(made).toMatchObject({ rows: 160, computed: 160, top_k: 16, tail: "sample", temperature: 1, adapter });
  expect(made.bytes).toBe(made.positions * 17 * 4 + 2 * 32);
  expect(await teach(task, { ...asked, out: cache }).result).toMatchObject({ computed: 0 });
  const events: string[] = [];
  const run = distill(task, small(runFolder(), { cache, quantize: "none" }));
  for await (const { type } of run) events.push(type);
  expect(events).not.toContain("teach");
  const refused = (change: Partial<DistillOptions>) =>
    expect(distill(task, small(runFolder(), { cache, quantize: "none", ...change })).result).rejects;
  await refused({ topK: 8 }).toMatchObject({
    code: "input",
    message: expect.stringMatching(/other top_k \(16 there, 8 here\)/),
  });
  await refused({ tail: "bucket" }).toThrow(/other tail \("sample" there, "bucket" here\)/);
  await refused({ loss: "jsd" }).toThrow(/other tail \("sample" there, "bucket" here\)/);
  await refused({ temperature: 2 }).toThrow(/other temperature \(1 there, 2 here\)/);
  await refused({ teacherAdapter: undefined }).toThrow(/other adapter \(".*…there, null here\)|other adapter/);
  await refused({ limit: 100 }).toThrow(/other rows \(/);
  await refused({ teacher: student, teacherAdapter: undefined }).toThrow(/other teacher \(.*adapter/);
});

test("a student whose tokens are not the teacher's is refused with the counts", async () => {
  const other = path.join(path.dirname(runFolder()), "other.gguf");
  cpSync(writeTextToy({ "tokenizer.ggml.bos_token_id": 257 }), other);
  await expect(distill(task, small(runFolder(), { student: other })).result).rejects.toMatchObject({
    code: "input",
    message: expect.stringMatching(/tokens are not the teacher's: .*other\.gguf has 258, .* has 258/),
  });
});

test("a student with a part of the teacher's tokens learns from it", async () => {
  const kept = [..."abcdefghijklmnopqrstuvwxyz:\n "].map((letter) => letter.charCodeAt(0)).sort((a, b) => a - b);
  const ids = [...kept, 256, 257];
  const all = [...byteAlphabet(), "<s>", "</s>"];
  const trimmed = writeTextToy(
    {
      "tokenizer.ggml.tokens": ids.map((id) => all[id]!),
      "tokenizer.ggml.token_type": ids.map((id) => (id < 256 ? 1 : 3)),
      "tokenizer.ggml.bos_token_id": ids.length - 2,
      "tokenizer.ggml.eos_token_id": ids.length - 1,
    },
    { ...textToy, vocabulary: ids.length },
  );
  for (const onPolicy of [0, 1]) {
    const run = distill(task, small(runFolder(), { student: trimmed, steps: 100, labelWeight: 0, onPolicy }));
    const { loss, comparison } = await run.result;
    expect(loss.last).toBeLessThan(loss.first / 2);
    expect(comparison[1]!.parameters).toBeLessThan(comparison[0]!.parameters);
    if (onPolicy === 0) expect(comparison[1]!.agreement).toBeGreaterThan(0.7);
  }
  // Hidden states are the same whatever the tokens' numbers.
  const matched = small(runFolder(), { student: trimmed, steps: 2, hiddenWeight: 1, quantize: "none" });
  const { run } = await distill(task, matched).result;
  expect(stepsOf(run)[0]).toMatchObject({ hidden_distance: expect.closeTo(0.5, 0) });
});

test("a student that quantising harms is kept and compared, and the gate's error says where it is", async () => {
  const out = runFolder();
  const error = await distill(task, small(out, { quantize: "Q4_0", learningRate: 3e-2, checkLimit: 10 })).result.catch(
    (found) => found,
  );
  const kept = path.join(out, "model.gguf");
  expect(error).toMatchObject({ code: "gate", cause: { gate: { passed: false }, metric: "accuracy" } });
  expect(error.message).toMatch(/quantized\.gguf was not written: .*; the student is kept: stillroom export takes /);
  expect(error.message).toContain(kept);
  expect(error.cause.comparison).toMatchObject([{ name: "teacher" }, { name: "student", model: kept }]);
  const args = ["distill", task.file, "--out", out, "--resume"];
  const ended = await stillroom([...args]);
  expect(ended.code).toBe(1);
  expect(ended.stdout).toMatch(/ parameters +file .*\nteacher .*\nstudent /);
  expect(ended.stderr).toMatch(/error: .*quantized\.gguf was not written: /);
  const report = path.join(out, "report.html");
  const { stdout } = await stillroom([...args, "--json", "--report", report]);
  const said = JSON.parse(stdout);
  expect(said).toMatchObject({ error: { code: "gate" }, comparison: [{}, {}], gate: { passed: false } });
  expect(said).not.toHaveProperty("out");
  expect(said).not.toHaveProperty("card");
  expect(readFileSync(report, "utf8")).toMatch(/<html.*finished/s);
});

test("a limit of memory counts the teacher, and the run stops by the task's metric", async () => {
  const wide = { ...textToy, width: 256, heads: 4, headWidth: 64, feedForward: 512, layers: 4 };
  const large = { teacher: writeTextToy({}, wide), teacherAdapter: undefined, quantize: "none" };
  const memory = 270 * 2 ** 20;
  await tune(task, { model: student, out: runFolder(), method: "full", steps: 1, memory, threads: 1 }).result;
  for (const onPolicy of [0, 1]) {
    const refused = distill(task, small(runFolder(), { ...large, onPolicy, memory }));
    await expect(refused.result).rejects.toThrow(/expected at least 28\d MiB for memory .*received 270 MiB/);
  }
  const enough = { memory: 290 * 2 ** 20, steps: 20, evaluateEvery: 2, patience: 3 };
  const run = await distill(task, small(runFolder(), { ...large, ...enough })).result;
  const lines = readFileSync(path.join(run.run, "validation.jsonl"), "utf8").trim().split("\n");
  const seen = lines
    .map((line) => JSON.parse(line))
    .map(({ step, loss, metrics }) => [step, metrics.accuracy.value, -loss]);
  const best = seen.reduce((a, b) => (b[1] > a[1] || (b[1] === a[1] && b[2] > a[2]) ? b : a));
  expect(run.best_step).toBe(best[0]);
  expect(run.steps).toBe(Math.min(20, best[0] + 6));
});

test("without another one the teacher is the model in the box", async () => {
  const box = await resolveModel(undefined);
  const found = await teach(task, { out: path.join(runFolder(), "taught"), limit: 2, threads: 1 }).result;
  expect(found).toMatchObject({ teacher: box, rows: 2 });
  const alone = small(runFolder(), { teacher: undefined, teacherAdapter: undefined });
  await expect(distill(task, alone).result).rejects.toThrow(/tokens are not the teacher's: .*still-15M\.gguf has 7000/);
});

test("options are checked", async () => {
  const out = runFolder();
  const wrong = (change: object) => distill(task, small(out, change as Partial<DistillOptions>)).result;
  await expect(wrong({ loss: "kl" })).rejects.toThrow(/expected one of forward_kl, reverse_kl, jsd for loss/);
  await expect(wrong({ tail: "head" })).rejects.toThrow(/expected sample or bucket for tail, received "head"/);
  await expect(wrong({ tail: "sample", loss: "jsd" })).rejects.toThrow(/expected bucket with loss jsd for tail/);
  await expect(wrong({ beta: 1 })).rejects.toThrow(/above 0 and below 1 for beta, received 1/);
  await expect(wrong({ beta: 0.3 })).rejects.toThrow(/expected loss "jsd" for beta, received 0\.3/);
  await expect(wrong({ topK: 259 })).rejects.toThrow(/at most the teacher's 258 tokens for topK, received 259/);
  await expect(wrong({ patience: 3 })).rejects.toMatchObject({
    code: "usage",
    message: "patience 3 ends no run of 4 validations: leave it out, or validate more often with evaluateEvery",
  });
  await expect(wrong({ labelWeight: 2 })).rejects.toThrow(/from 0 to 1 for labelWeight, received 2/);
  await expect(wrong({ onPolicy: 2 })).rejects.toThrow(/from 0 to 1 for onPolicy, received 2/);
  await expect(wrong({ onPolicy: 1, labelWeight: 0.5 })).rejects.toThrow(/0 together with onPolicy for labelWeight/);
  await expect(wrong({ student: undefined })).rejects.toThrow(
    /expected a path for student, .* stillroom student makes/,
  );
  await expect(wrong({ quantize: "Q9" })).rejects.toThrow(/quantize/);
  await expect(wrong({ model: teacher })).rejects.toThrow(/no option model/);
  await expect(wrong({ teecher: "a" })).rejects.toThrow("distill has no option teecher; did you mean teacher?");
  for (const temperature of [0.001, 21, Number.NaN])
    await expect(wrong({ temperature })).rejects.toThrow(/a number from 0\.01 to 20 for temperature, received/);
  const file = task.file as unknown as typeof task;
  await expect(distill(file, small(out)).result).rejects.toThrow(/expected what readTask gives for task, received "/);
  await expect(distill(task, undefined as never).result).rejects.toThrow(/an object for the options of distill, recei/);
  expect(existsSync(out)).toBe(false);
});
