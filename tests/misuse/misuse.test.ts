// The misuse matrix: each public call, before there is a model, while another call works on it, after close, after abort.
import { existsSync, mkdtempSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import {
  audit,
  batch,
  compare,
  decode,
  distill,
  embed,
  evaluate,
  exportModel,
  inspect,
  type Model,
  makeStudent,
  openModel,
  readTask,
  serve,
  type Task,
  teach,
  tune,
} from "../../src/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { writeTextToy } from "../support/text_toy.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-misuse-"));
process.env.XDG_CACHE_HOME = path.join(folder, "cache");
const nowhere = path.join(folder, "none.gguf");
const aborted = AbortSignal.abort();
let file = "";
let task: Task;
let count = 0;
const fresh = (ending = "") => path.join(folder, `out-${++count}${ending}`);

beforeAll(async () => {
  file = writeTextToy();
  task = await readTask(writeToyTask().file);
});

interface Call {
  name: string;
  /** With a path, where the call takes one. */
  onPath: ((model: string, signal?: AbortSignal) => Promise<unknown>) | null;
  /** With an open model, where the call takes one. */
  onModel: ((model: Model, signal?: AbortSignal) => Promise<unknown>) | null;
}

const signalled = (signal?: AbortSignal) => (signal ? { signal } : {});
async function answers(model: string | Model, signal?: AbortSignal): Promise<void> {
  for await (const _ of decode(model, [{ prompt: "a", maxTokens: 2 }], signalled(signal)));
}
const calls: Call[] = [
  { name: "inspect", onPath: (model, signal) => inspect(model, signalled(signal)), onModel: null },
  {
    name: "openModel",
    onPath: async (model, signal) => (await openModel(model, { threads: 1, ...signalled(signal) })).close(),
    onModel: null,
  },
  {
    name: "evaluate",
    onPath: (model, signal) => evaluate(task, { model, limit: 4, ...signalled(signal) }),
    onModel: (model, signal) => evaluate(task, { model, limit: 4, ...signalled(signal) }),
  },
  {
    name: "exportModel",
    onPath: (model, signal) => exportModel({ model, quantize: "Q8_0", out: fresh(".gguf"), ...signalled(signal) }),
    onModel: (model, signal) =>
      exportModel({ model, quantize: "Q8_0", check: task, limit: 4, out: fresh(".gguf"), ...signalled(signal) }),
  },
  {
    name: "tune",
    onPath: (model, signal) => tune(task, { model, out: fresh(), steps: 1, rank: 2, ...signalled(signal) }).result,
    onModel: null,
  },
  {
    name: "teach",
    onPath: (model, signal) => teach(task, { teacher: model, out: fresh(), limit: 4, ...signalled(signal) }).result,
    onModel: null,
  },
  {
    name: "distill",
    onPath: (model, signal) =>
      distill(task, {
        ...{ teacher: model, student: model, out: fresh(), steps: 1, limit: 4, checkLimit: 4, quantize: "none" },
        ...signalled(signal),
      }).result,
    onModel: null,
  },
  {
    name: "decode",
    onPath: (model, signal) => answers(model, signal),
    onModel: (model, signal) => answers(model, signal),
  },
  { name: "model.tokenizer", onPath: null, onModel: async (model) => model.tokenizer.tokenize("a", false, false) },
  { name: "model.native", onPath: null, onModel: async (model) => model.native.info },
];
async function served(model: string | Model, signal?: AbortSignal): Promise<void> {
  const server = await serve({ store: fresh(), model, port: 0, ...signalled(signal) });
  await server.close();
}
calls.push(
  {
    name: "embed",
    onPath: (model, signal) => embed(model, ["a"], signalled(signal)),
    onModel: (model, signal) => embed(model, ["a"], signalled(signal)),
  },
  { name: "serve", onPath: served, onModel: served },
);
calls.push({
  name: "batch",
  onPath: (model, signal) => batch(task, { model, store: fresh(), out: fresh(".jsonl"), ...signalled(signal) }),
  onModel: (model, signal) => batch(task, { model, store: fresh(), out: fresh(".jsonl"), ...signalled(signal) }),
});
calls.push({
  name: "makeStudent",
  onPath: (teacher, signal) => makeStudent({ teacher, task, layers: 1, out: fresh(".gguf"), ...signalled(signal) }),
  onModel: (teacher, signal) => makeStudent({ teacher, task, layers: 1, out: fresh(".gguf"), ...signalled(signal) }),
});
calls.push(
  {
    name: "audit",
    onPath: (model, signal) => audit(task, { model, limit: 4, ...signalled(signal) }),
    onModel: (model, signal) => audit(task, { model, limit: 4, ...signalled(signal) }),
  },
  {
    name: "compare",
    onPath: (model, signal) => compare(task, [model, writeTextToy()], { limit: 4, ...signalled(signal) }),
    onModel: null,
  },
);
const paths = calls.filter((call) => call.onPath);
const models = calls.filter((call) => call.onModel);

describe("before there is a model", () => {
  it.each(paths)("$name says that it is missing", async ({ onPath }) => {
    await expect(onPath!(nowhere)).rejects.toMatchObject({
      code: "missing",
      message: expect.stringContaining(nowhere),
    });
  });
});

describe("while another call works on the same model", () => {
  it.each(models)("$name waits its turn", async ({ onModel }) => {
    const model = await openModel(file, { threads: 1 });
    try {
      const other = evaluate(task, { model, seed: 1 });
      await onModel!(model);
      expect((await other).metrics).toEqual((await evaluate(task, { model, seed: 1 })).metrics);
    } finally {
      await model.close();
    }
  });

  it.each(paths)("$name opens the same file", async ({ onPath }) => {
    const model = await openModel(file, { threads: 1 });
    await Promise.all([onPath!(file), evaluate(task, { model })]);
    await model.close();
  });

  it("close waits for the piece of work in hand; the job then says that the model is closed", async () => {
    const model = await openModel(file, { threads: 1 });
    const job = evaluate(task, {
      model,
      tokenBudget: 1,
      onProgress: ({ rows }) => {
        if (rows === 3) void model.close();
      },
    });
    await expect(job).rejects.toMatchObject({ code: "usage", message: `the model ${file} is closed` });
    await model.close();
  });
});

describe("after close", () => {
  it.each(models)("$name says that the model is closed", async ({ onModel }) => {
    const model = await openModel(file, { threads: 1 });
    await Promise.all([model.close(), model.close()]);
    await expect(onModel!(model)).rejects.toMatchObject({ code: "usage", message: `the model ${file} is closed` });
    await model.close();
  });
});

describe("after abort", () => {
  it.each(paths.filter(({ name }) => name !== "inspect"))("$name does nothing", async ({ onPath }) => {
    await expect(onPath!(file, aborted)).rejects.toMatchObject({ code: "cancelled" });
    expect(existsSync(path.join(folder, `out-${count}.gguf`))).toBe(false);
  });

  it.each(models.filter(({ name }) => !name.startsWith("model.")))(
    "$name leaves the model usable",
    async ({ onModel }) => {
      const model = await openModel(file, { threads: 1 });
      await expect(onModel!(model, aborted)).rejects.toMatchObject({ code: "cancelled" });
      await onModel!(model);
      await model.close();
    },
  );
});

describe("wrong arguments", () => {
  it.each<[string, () => Promise<unknown>]>([
    ["threads", () => openModel(file, { threads: 0 })],
    ["variant", () => openModel(file, { variant: "abacus" })],
    ["model", () => openModel("")],
    ["model", () => openModel(7 as unknown as string)],
    ["out", () => exportModel({ model: file } as never)],
    ["out", () => tune(task, { model: file } as never).result],
    ["memory", () => decode(file, [], { memory: -1 }).next()],
    ["split", () => evaluate(task, { model: file, split: "dev" as never })],
  ])("%s is named", async (name, call) => {
    await expect(call()).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(new RegExp(`for ${name}, received`)),
    });
  });
});
