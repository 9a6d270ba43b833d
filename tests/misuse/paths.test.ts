// Every path that a job reads, where nothing lies, below a file, and where a folder or a file lies that is none: an error in plain words, and no fault of ours.
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { audit, batch, compare, evaluate, exportModel, inspect, readTask, teach, tune } from "../../src/index.js";
import { reportRun } from "../../src/report/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { writeTextToy } from "../support/text_toy.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-paths-"));
const at = (name: string) => path.join(folder, name);
mkdirSync(at("folder"));
writeFileSync(at("plain"), "nothing\n");
const model = writeTextToy();
const task = await readTask(writeToyTask().file);
const threads = 1;
const out = () => mkdtempSync(at("out-"));

const readers: Record<string, (place: string) => Promise<unknown>> = {
  "a task file": (place) => readTask(place),
  "a task's data": async (place) => evaluate(await readTask(task.file, { data: place }), { model, threads }),
  "a model": (place) => inspect(place),
  "eval's adapter": (adapter) => evaluate(task, { model, adapter, threads }),
  "eval's prompt": (prompt) => evaluate(task, { model, prompt, threads }),
  "eval's against": (against) => evaluate(task, { model, against, threads }),
  "compare's second": (second) => compare(task, [model, second], { threads }),
  "compare's second adapter": (adapter) => compare(task, [model, `${model}+${adapter}`], { threads }),
  "audit's against": (against) => audit(task, { model, against, threads }),
  "audit's bbq": (bbq) => audit(task, { model, bbq, threads }),
  "audit's crowsPairs": (crowsPairs) => audit(task, { model, crowsPairs, threads }),
  "audit's cache": (cache) => audit(task, { model, cache, threads }),
  "export's adapter": (adapter) => exportModel({ model, adapter, out: at("e.gguf"), threads }),
  "export's under": (under) => exportModel({ model, under, check: task, out: at("e.gguf"), threads }),
  "tune's prompt": (prompt) => tune(task, { model, prompt, out: out(), threads }).result,
  "teach's adapter": (teacherAdapter) => teach(task, { teacher: model, teacherAdapter, out: out(), threads }).result,
  "batch's prompt": (prompt) => batch(task, { model, prompt, store: out(), out: at("b.jsonl"), threads }),
  "a report's run": (run) => reportRun(run, at("r.html")),
};

describe.each(Object.entries(readers))("%s", (_, read) => {
  it.each(["none", "plain/below", "folder", "plain"])("that is %s", async (name) => {
    const error = await Promise.resolve()
      .then(() => read(at(name)))
      .then(
        () => null,
        (thrown: unknown) => thrown,
      );
    expect(error).toMatchObject({ code: expect.stringMatching(/^(usage|input|missing|io)$/) });
    expect((error as Error).message).not.toMatch(/\bE[A-Z]{3,}\b/);
  });
});
