// tune() from a task file to an adapter, on a toy that takes text: folder, events, bytes, refusals.
import { appendFileSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, expect, test } from "vitest";
import { readAdapterFolder } from "../../src/adapter/index.js";
import { type TuneEvent, teach, tune } from "../../src/jobs/index.js";
import { native } from "../../src/support/native.js";
import { readTask } from "../../src/task/index.js";
import type { TuneOptions } from "../../src/train/index.js";
import { writeTextToy } from "../support/text_toy.js";
import { runFolder, sha } from "./runs.js";
import { writeToyTask } from "./toy-task.js";

let model: string;
beforeAll(() => {
  model = writeTextToy();
});

const small = (out: string, change: Partial<TuneOptions> = {}): TuneOptions => ({
  model,
  out,
  steps: 12,
  batchSize: 8,
  rank: 4,
  learningRate: 5e-3,
  threads: 1,
  ...change,
});

/** Runs to the end or to the error, with all events. */
async function follow(run: ReturnType<typeof tune>, onEvent: (event: TuneEvent) => void = () => undefined) {
  const events: TuneEvent[] = [];
  try {
    for await (const event of run) {
      events.push(event);
      onEvent(event);
    }
  } catch (error) {
    return { events, error };
  }
  return { events, result: await run.result };
}

const adapterHashes = (out: string) => [
  sha(path.join(out, "adapter/adapter_model.safetensors")),
  sha(path.join(out, "adapter/adapter_config.json")),
  sha(path.join(out, "adapter.gguf")),
];

test("a run leaves its folder, its events and a result that agree", async () => {
  const out = runFolder();
  const task = await readTask(writeToyTask().file);
  const { events, result } = await follow(tune(task, small(out, { steps: 40 })));
  expect(events[0]).toMatchObject({ type: "start", run: out, step: 0, steps: 40, rows: 48, validationRows: 12 });
  expect(events.filter(({ type }) => type === "step")).toHaveLength(40);
  expect(events.filter(({ type }) => type === "validation").map((event) => (event as { step: number }).step)).toEqual([
    10, 20, 30, 40,
  ]);
  expect(events.at(-1)).toEqual({ type: "end", result });
  expect(result).toMatchObject({ run: out, steps: 40, rows: 320, bad_rows: 0, skipped_steps: 0 });
  expect(result!.loss.last).toBeLessThan(result!.loss.first);
  expect(result!.validation).toMatchObject({
    accuracy: { value: expect.any(Number), low: expect.any(Number) },
    loss: expect.any(Number),
  });
  expect(readdirSync(out).sort()).toEqual([
    "adapter",
    "adapter.gguf",
    "checkpoints",
    "metrics.jsonl",
    "run.json",
    "validation.jsonl",
  ]);
  const run = JSON.parse(readFileSync(path.join(out, "run.json"), "utf8"));
  expect(run).toMatchObject({
    format: "stillroom-run",
    options: { model, steps: 40, rank: 4, seed: 0 },
    model: { path: model, sha256: sha(model), architecture: "llama" },
    data: { rows: 48, validation_rows: 12 },
    result: { steps: 40 },
  });
});

test("both adapter files hold the same weights", async () => {
  const out = runFolder();
  const task = await readTask(writeToyTask({ validation: false }).file);
  const { result } = await follow(tune(task, small(out)));
  expect(result).toMatchObject({
    validation: null,
    best_step: 12,
    adapter: { peft: path.join(out, "adapter"), gguf: path.join(out, "adapter.gguf") },
  });
  const opened = await native().openModel(model, { threads: 1, variant: null });
  const peft = await readAdapterFolder(result!.adapter!.peft, opened.info);
  const gguf = await native().readAdapter(result!.adapter!.gguf);
  expect(gguf.alpha).toBe(8);
  for (const tensor of peft.tensors) {
    expect(gguf.tensors.find(({ name }) => name === tensor.name)?.data).toEqual(tensor.data);
  }
  await opened.close();
});

test("the validation loss is the training loss where the rows and the weights are the same", async () => {
  const task = await readTask(writeToyTask({ validation: "train.jsonl" }).file);
  const { result } = await follow(
    tune(task, small(runFolder(), { steps: 1, batchSize: 60, validationLimit: 60, learningRate: 1e-12 })),
  );
  expect(result!.validation!.loss).toBeCloseTo(result!.loss.first, 5);
});

test("a hundred steps twice give the same bytes, another seed other bytes", async () => {
  const task = await readTask(writeToyTask().file);
  const [first, second, third] = [runFolder(), runFolder(), runFolder()];
  await tune(task, small(first, { steps: 100 })).result;
  await tune(task, small(second, { steps: 100 })).result;
  await tune(task, small(third, { steps: 100, seed: 1 })).result;
  expect(adapterHashes(second)).toEqual(adapterHashes(first));
  expect(adapterHashes(third)[0]).not.toBe(adapterHashes(first)[0]);
});

test("the seed draws the adapter's first weights", async () => {
  const task = await readTask(writeToyTask({ validation: false }).file);
  // B starts at zero, so the first step moves B only; all rows in one step, so their order decides nothing.
  const firstA = async (seed: number) => {
    const { adapter } = await tune(task, small(runFolder(), { steps: 1, batchSize: 60, seed })).result;
    const { tensors } = await native().readAdapter(adapter!.gguf);
    return tensors.find(({ name }) => name.endsWith("lora_a"))!.data;
  };
  expect(await firstA(0)).not.toEqual(await firstA(1));
});

test("aborted and resumed with nothing but the folder: the bytes of an undisturbed run", async () => {
  const task = await readTask(writeToyTask().file);
  const [whole, out] = [runFolder(), runFolder()];
  await tune(task, small(whole, { dropout: 0.1 })).result;
  const abort = new AbortController();
  const cut = await follow(tune(task, small(out, { dropout: 0.1, signal: abort.signal })), (event) => {
    if (event.type === "step" && event.step === 5) abort.abort();
  });
  expect(cut.error).toMatchObject({ code: "cancelled" });
  expect(cut.events.at(-1)).toMatchObject({ type: "checkpoint", step: 5 });
  expect(existsSync(path.join(out, "adapter.gguf"))).toBe(false);
  for (const name of ["run.json.1-ab.tmp", "adapter.gguf.tmp-1-0"]) writeFileSync(path.join(out, name), "half");
  const { events } = await follow(tune(task, { out, resume: true }));
  expect(events[0]).toMatchObject({ type: "start", step: 5, steps: 12 });
  expect(adapterHashes(out)).toEqual(adapterHashes(whole));
  expect(readdirSync(out)).toHaveLength(6);
  // And a finished run is left as it is.
  const again = await follow(tune(task, { out, resume: true }));
  expect(again.events.map(({ type }) => type)).toEqual(["start", "end"]);
  expect(adapterHashes(out)).toEqual(adapterHashes(whole));
});

test("a folder with a run in it is not overwritten, and a resume with another option says which", async () => {
  const task = await readTask(writeToyTask().file);
  const out = runFolder();
  await tune(task, small(out)).result;
  await expect(tune(task, small(out)).result).rejects.toMatchObject({
    code: "usage",
    message: expect.stringContaining("already holds a run"),
  });
  await expect(tune(task, { out, resume: true, rank: 8 }).result).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(/begun with other rank \(4 there, 8 here\)/),
  });
  await expect(tune(task, { out, resume: true, steps: 20 }).result).rejects.toThrow(
    /other steps \(12 there, 20 here\)$/,
  );
  await expect(tune(task, { out, resume: true, epochs: 6 }).result).rejects.toMatchObject({
    message: expect.stringMatching(/other steps \(12 there, \d+ here, of epochs 6\)$/),
    options: ["epochs"],
  });
  // Steps, warm-up and validations follow.
  const other = runFolder();
  await tune(task, { ...small(other), steps: undefined, epochs: 1 }).result;
  await expect(tune(task, { out: other, resume: true, batchSize: 1 }).result).rejects.toMatchObject({
    message: expect.stringMatching(/other batchSize \(\d there, 1 here\)$/),
  });
  await expect(tune(task, { out, resume: true, steps: 20, evaluateEvery: 2, warmup: 3 }).result).rejects.toThrow(
    /other steps \(12 there, 20 here\), evaluateEvery \(\d there, 2 here\), warmup \(\d there, 3 here\)$/,
  );
});

test("what is fitted on validation rows is refused without any, and leaves no folder", async () => {
  const task = await readTask(writeToyTask({ validation: false }).file);
  const out = path.join(runFolder(), "a", "b");
  for (const option of [{ targetPrecision: 0.9 }, { calibrate: "isotonic" as const }])
    await expect(tune(task, { ...small(out), ...option }).result).rejects.toThrow(
      /^(targetPrecision|calibrate) is fitted on validation rows, and halves has none: give the task file data\.validation/,
    );
  expect(existsSync(path.dirname(out))).toBe(false);
});

test("changed training rows are noticed by a resume", async () => {
  const toy = writeToyTask();
  const task = await readTask(toy.file);
  const out = runFolder();
  await tune(task, small(out)).result;
  const train = path.join(toy.folder, "train.jsonl");
  writeFileSync(train, readFileSync(train, "utf8").replaceAll(/"text":"./g, '"text":"q'));
  await expect(tune(task, { out, resume: true }).result).rejects.toThrow(
    /begun with other rows \([^)]*\), validation \([^)]*\)$/,
  );
});

test("a folder with a task's own files is refused, and left as it was", async () => {
  const toy = writeToyTask();
  const task = await readTask(toy.file);
  const own = path.join(toy.folder, "validation.jsonl");
  writeFileSync(own, '{"text":"a","half":"early"}\n');
  writeFileSync(path.join(toy.folder, "notes.tmp"), "mine");
  const before = readdirSync(toy.folder);
  for (const resume of [false, true]) {
    await expect(tune(task, small(toy.folder, { resume })).result).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/holds no run, but validation\.jsonl, a name that runs write; give another/),
    });
  }
  expect(readdirSync(toy.folder)).toEqual(before);
  expect(readFileSync(own, "utf8")).toBe('{"text":"a","half":"early"}\n');
  renameSync(own, path.join(toy.folder, "model.gguf"));
  await expect(tune(task, small(toy.folder)).result).rejects.toThrow("holds no run, but model.gguf, ");
  rmSync(path.join(toy.folder, "model.gguf"));
  await tune(task, small(toy.folder, { steps: 1 })).result;
  expect(readFileSync(path.join(toy.folder, "notes.tmp"), "utf8")).toBe("mine");
});

test("two at once in one folder: the second leaves, naming the pid", async () => {
  const task = await readTask(writeToyTask().file);
  const out = runFolder();
  const first = tune(task, small(out));
  for await (const event of first) if (event.type === "start") break;
  await expect(tune(task, small(out)).result).rejects.toThrow(`in use by process ${process.pid}`);
  await first.result;
});

test("bad and long rows are told with file and line, counted, and left out or cut", async () => {
  const long = JSON.stringify({ text: "a".repeat(100), half: "early" });
  const task = await readTask(writeToyTask({ validation: false, extra: ["{", '{"text":"x"}', long] }).file);
  const warnings = (events: TuneEvent[]) => events.flatMap((event) => (event.type === "warning" ? [event] : []));
  const cut = await follow(tune(task, small(runFolder(), { maxLength: 40 })));
  expect(cut.result).toMatchObject({ bad_rows: 2, truncated_rows: 1, dropped_rows: 0 });
  expect(warnings(cut.events).map(({ kind, message }) => [kind, /train\.jsonl:\d+/.exec(message)?.[0]])).toEqual([
    ["bad-row", "train.jsonl:1"],
    ["bad-row", "train.jsonl:2"],
    ["long-row", "train.jsonl:3"],
  ]);
  const dropped = await follow(tune(task, small(runFolder(), { maxLength: 40, onLong: "drop" })));
  expect(dropped.result).toMatchObject({ bad_rows: 2, truncated_rows: 0, dropped_rows: 1 });
  expect((await follow(tune(task, small(runFolder(), { strict: true })))).error).toMatchObject({
    code: "input",
    message: expect.stringContaining("train.jsonl:1"),
  });
});

test("a row that does not suit the template is told and left out", async () => {
  const { file } = writeToyTask({ validation: false, extra: ['{"text":5,"half":"early"}'] });
  writeFileSync(file, readFileSync(file, "utf8").replace("{{ text }}", "{{ text | trim }}"));
  const task = await readTask(file);
  const { events, result } = await follow(tune(task, small(runFolder(), { steps: 1 })));
  expect(result).toMatchObject({ steps: 1, bad_rows: 1 });
  expect(events).toContainEqual({
    type: "warning",
    kind: "bad-row",
    message: expect.stringMatching(/jsonl:1: .*trim$/),
  });
  await expect(tune(task, small(runFolder(), { strict: true })).result).rejects.toThrow(/train\.jsonl:1: .*trim$/);
});

test.each([
  [1, /^test row at line 1 is the same as (train|validation) row at line 1$/],
  [3, /^3 rows stand in two splits, such as: test row at line 1 is the same as (train|validation) row at line 1$/],
])("rows that stand in two splits are told in one line: %i", async (count, message) => {
  const toy = writeToyTask();
  const copies = readFileSync(path.join(toy.folder, "test.jsonl"), "utf8").split("\n").slice(0, count);
  const train = path.join(toy.folder, "train.jsonl");
  writeFileSync(train, `${copies.join("\n")}\n${readFileSync(train, "utf8")}`);
  const { events } = await follow(tune(await readTask(toy.file), small(runFolder(), { steps: 1 })));
  const told = events.filter((event) => event.type === "warning" && event.kind === "duplicate");
  expect(told).toEqual([{ type: "warning", kind: "duplicate", message: expect.stringMatching(message) }]);
});

test("validation rows with labels that no training row has are told", async () => {
  const toy = writeToyTask({ validation: "train.jsonl" });
  const strange = ["never", "never", "once"].map((half) => JSON.stringify({ text: half, half }));
  appendFileSync(path.join(toy.folder, "train.jsonl"), `${strange.join("\n")}\n`);
  writeFileSync(toy.file, readFileSync(toy.file, "utf8").replace(/\n.*labels:.*/, ""));
  const task = await readTask(toy.file);
  const { events } = await follow(tune(task, small(runFolder(), { steps: 1, limit: 60 })));
  const message = "3 validation rows of 63 are not measured: no training row that is read has never, once";
  expect(events.filter((event) => event.type === "warning" && event.kind === "label")).toEqual([
    { type: "warning", kind: "label", message },
  ]);
  // Who asks a teacher measures nothing.
  for await (const { type } of teach(task, { teacher: model, topK: 8, limit: 60, threads: 1, out: runFolder() }))
    expect(type).toBe("teach");
});

test("memory counts the rows, also what no prompt shows of them", async () => {
  const toy = writeToyTask();
  const train = path.join(toy.folder, "train.jsonl");
  const started = async (change: Partial<TuneOptions> = {}) => {
    const { events, error } = await follow(tune(await readTask(toy.file), small(runFolder(), { steps: 1, ...change })));
    const start = events.find((event) => event.type === "start");
    return { bytes: start?.memoryBytes ?? 0, error };
  };
  const { bytes } = await started();
  expect(await started({ memory: bytes })).toEqual({ bytes, error: undefined });
  const wide = JSON.stringify({ text: "abc", half: "early", note: "x".repeat(2e6) });
  writeFileSync(train, `${wide}\n${readFileSync(train, "utf8")}`);
  const { bytes: wider } = await started();
  expect(wider - bytes).toBeGreaterThan(4e6);
  expect(wider - bytes).toBeLessThan(4e6 + 2000);
  expect(await started({ memory: bytes })).toMatchObject({
    error: {
      code: "usage",
      message: expect.stringMatching(/^expected at least \d+ MiB for memory with this model and these rows/),
    },
  });
});
