// A distillation whose teacher is being asked: its folder is a run's from then on, held by one process, gone on with by nothing but itself, and given back where it is refused.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeEach, expect, test } from "vitest";
import { type DistillOptions, distill, teach } from "../../src/jobs/index.js";
import { reportRun } from "../../src/report/index.js";
import { lockFolder } from "../../src/support/lock.js";
import { RunFolder } from "../../src/train/index.js";
import { runFolder, sha } from "./runs.js";
import { makeToyPair } from "./toy-pair.js";

const { task, teacher, student } = await makeToyPair();

let out: string;
beforeEach(() => {
  out = runFolder();
});

const small = (change: Partial<DistillOptions> = {}): DistillOptions => ({
  ...{ teacher, student, out, steps: 4, batchSize: 8, topK: 16, threads: 1, quantize: "none", checkLimit: 5 },
  ...change,
});
const alone = (change: Partial<DistillOptions> = {}) => ({ out, resume: true, ...change }) as DistillOptions;
const runFile = () => JSON.parse(readFileSync(path.join(out, "run.json"), "utf8"));

/** A signal that says at its nth look that the work is called off. */
function abortedAt(look: number): AbortSignal {
  const { signal } = new AbortController();
  let looks = 0;
  return Object.defineProperty(signal, "aborted", { get: () => ++looks >= look });
}

/** Calls a run off at ever later looks, each time from nothing, until it says, with the cause behind it, that it was at such work. */
async function cutWhile(doing: RegExp, change: Partial<DistillOptions>): Promise<string> {
  for (let look = 1; look < 1000; look++) {
    out = runFolder();
    const run = distill(task, small({ ...change, signal: abortedAt(look) }));
    const { message, cause } = (await run.result.catch((error) => error)) as Error;
    const said = cause instanceof Error ? `${message}: ${cause.message}` : message;
    if (doing.test(said)) return said;
  }
  throw new Error(`never cancelled ${doing}`);
}

test.each<[string, RegExp, Partial<DistillOptions>]>([
  ["what it says", /asking the teacher, after 128 of 160 rows/, {}],
  ["how it answers", /scoring, after 0 of 160 rows/, { answers: "teacher" }],
])("called off while the teacher is asked %s, it goes on with nothing but the folder", async (_, doing, change) => {
  const undisturbed = await distill(task, small(change)).result;
  expect(await cutWhile(doing, change)).toMatch(/^cancelled while .* rows; resume goes on from there: /);
  expect(runFile()).toMatchObject({ data: null, plan: null, fingerprint: null, options: { steps: 4 } });
  const warnings: unknown[] = [];
  const resumed = distill(task, alone());
  for await (const event of resumed) if (event.type === "warning") warnings.push(event);
  expect(warnings).toEqual([]);
  expect(sha((await resumed.result).model!)).toBe(sha(undisturbed.model!));
});

test("a run's files are known by paths that are good from any folder, however they were given", async () => {
  const here = (file: string) => path.relative(process.cwd(), file);
  const cache = path.join(runFolder(), "cache");
  const given = { teacher: here(teacher), student: here(student), cache: here(cache) };
  await distill(task, small(given)).result;
  expect(runFile().distillation).toMatchObject({ teacher, student, cache });
  expect((await distill(task, alone(given)).result).steps).toBe(4);
});

test("on its own answers it says the step, too: nothing but the folder goes on to the same bytes", async () => {
  const change = { onPolicy: 1, loss: "jsd", steps: 6 } as const;
  const undisturbed = await distill(task, small(change)).result;
  const said = await cutWhile(/after step [1-5] .*while decoding/, change);
  expect(said).toMatch(/^cancelled after step [1-5] of 6; resume goes on from there: cancelled while decoding/);
  expect(sha((await distill(task, alone()).result).model!)).toBe(sha(undisturbed.model!));
});

test("another process is told who has the folder, before there is a run.json, too, and a page that the teacher is asked", async () => {
  const refusesWhileHeld = async () => {
    const held = await RunFolder.open(out, true);
    const message = `${out} is in use by process ${process.pid}; wait for it, or end it`;
    await expect(distill(task, alone()).result).rejects.toMatchObject({ code: "usage", message });
    await held.close();
  };
  await refusesWhileHeld();
  await cutWhile(/asking the teacher/, {});
  await refusesWhileHeld();
  const page = path.join(path.dirname(out), "page.html");
  await reportRun(out, page);
  expect(readFileSync(page, "utf8")).toContain("not finished: its teacher is asked");
});

test("who has a cache is told before any model is opened", async () => {
  const cache = path.dirname(runFolder());
  const held = await lockFolder(cache);
  const refused = { code: "usage", message: `${cache} is in use by process ${process.pid}; wait for it, or end it` };
  await expect(teach(task, { teacher: "none.gguf", out: cache }).result).rejects.toMatchObject(refused);
  await expect(distill(task, small({ student: "none.gguf", cache })).result).rejects.toMatchObject(refused);
  await held.release();
});

test("what is refused while the teacher is asked leaves no run behind, or that which was begun", async () => {
  const cache = runFolder();
  await teach(task, { teacher, out: cache, topK: 8, threads: 1 }).result;
  await expect(distill(task, small({ cache })).result).rejects.toThrow(/other top_k \(8 there, 16 here\)/);
  expect(existsSync(path.join(out, "run.json"))).toBe(false);
  await expect(distill(task, alone()).result).rejects.toThrow(/expected a path for student, received none/);
  await cutWhile(/asking the teacher/, {});
  const begun = readFileSync(path.join(out, "run.json"), "utf8");
  await expect(distill(task, alone({ cache })).result).rejects.toThrow(/other top_k/);
  expect(JSON.parse(readFileSync(path.join(out, "run.json"), "utf8"))).toEqual(JSON.parse(begun));
});

test("its own cache that is of something else, damaged or no cache is told with what helps, and that helps", async () => {
  await cutWhile(/asking the teacher, after 128/, {});
  const folder = path.join(out, "teacher");
  const anew = `remove ${folder}, and the teacher is asked anew`;
  const said = (change: Partial<DistillOptions>, what: string) =>
    expect(distill(task, alone(change)).result).rejects.toThrow(what);
  await said({ topK: 8 }, `other top_k (16 there, 8 here); give what it was made with, or ${anew}`);
  const manifest = path.join(folder, "cache.json");
  const good = readFileSync(manifest);
  writeFileSync(manifest, good.subarray(0, 9));
  await said({}, `${manifest} is damaged, or no teacher's cache; ${anew}`);
  rmSync(manifest);
  await said({}, `${folder} holds no teacher's cache, but rows.bin; ${anew}`);
  rmSync(folder, { recursive: true });
  const { model } = await distill(task, alone()).result;
  await said(
    { topK: 8 },
    "other top_k (16 there, 8 here); resume the run as it was begun, or begin another one, in another folder",
  );
  const bytes = sha(model!);
  rmSync(folder, { recursive: true });
  expect(sha((await distill(task, alone()).result).model!)).toBe(bytes);
});

test("what a run.json has damaged of the teacher and the loss is told with its file: nobody gave it", async () => {
  await cutWhile(/asking the teacher/, {});
  const file = path.join(out, "run.json");
  const run = JSON.parse(readFileSync(file, "utf8"));
  for (const [damage, what] of [
    [{ loss: "forward" }, 'expected one of forward_kl, reverse_kl, jsd for loss, received "forward"'],
    [{ topK: "16" }, 'expected a whole number of at least 1 for topK, received "16"'],
    [
      { teacherPrecision: "int4" },
      'expected one of f32, bf16, mixed, int16, int8 for teacherPrecision, received "int4"',
    ],
    [{ labelWeight: "0.5" }, 'expected a number from 0 to 1 for labelWeight, received "0.5"'],
    [{ student: undefined }, "expected a path for student, received none"],
  ] as const) {
    writeFileSync(file, JSON.stringify({ ...run, distillation: { ...run.distillation, ...damage } }));
    await expect(distill(task, alone()).result).rejects.toMatchObject({
      code: "input",
      message: expect.stringContaining(`${file} is damaged: ${what}`),
    });
  }
});

test("a run.json that has lost a part is told with its file and the part", async () => {
  await cutWhile(/asking the teacher/, {});
  const file = path.join(out, "run.json");
  const run = JSON.parse(readFileSync(file, "utf8"));
  for (const [damage, part] of [
    ...[{ options: null }, { machine: undefined }, { started: [] }, { distillation: null }, { fingerprint: 1 }].map(
      (lost) => [lost, Object.keys(lost)[0]!] as const,
    ),
    [{ machine: { ...run.machine, cpu: 3 } }, "machine.cpu"],
  ] as const) {
    writeFileSync(file, JSON.stringify({ ...run, ...damage }));
    const message = `${file} is damaged in ${part}: put it back as the run wrote it, or give another folder`;
    await expect(distill(task, alone()).result).rejects.toMatchObject({ code: "input", message });
  }
  writeFileSync(file, JSON.stringify({ ...run, distillation: undefined }));
  const message = `${out} holds a run of tune: resume it with tune`;
  await expect(distill(task, alone()).result).rejects.toMatchObject({ code: "usage", message });
});

test("a file where a cache would be is told as such", async () => {
  const cache = path.join(path.dirname(runFolder()), "file");
  writeFileSync(cache, "");
  const message = expect.stringContaining(`${cache} is there and is no folder; move it away`);
  await expect(teach(task, { teacher, out: cache }).result).rejects.toMatchObject({ code: "io", message });
  await expect(distill(task, small({ cache })).result).rejects.toMatchObject({ code: "io", message });
});
