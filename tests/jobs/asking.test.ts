// A distillation whose teacher is being asked: its folder is a run's from then on, held by one process, gone on with by nothing but itself, and given back where it is refused.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { beforeEach, expect, test } from "vitest";
import { type DistillOptions, distill, teach } from "../../src/jobs/index.js";
import { reportRun } from "../../src/report/index.js";
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

test("on its own answers it says the step, too: nothing but the folder goes on to the same bytes", async () => {
  const change = { onPolicy: 1, loss: "jsd", steps: 6 } as const;
  const undisturbed = await distill(task, small(change)).result;
  const said = await cutWhile(/after step [1-5] .*while decoding/, change);
  expect(said).toMatch(/^cancelled after step [1-5] of 6; resume goes on from there: cancelled while decoding/);
  expect(sha((await distill(task, alone()).result).model!)).toBe(sha(undisturbed.model!));
});

test("another process is told who has the folder, from the first moment on, and a page that the teacher is asked", async () => {
  const abort = new AbortController();
  let asked = false;
  const first = distill(task, small({ signal: abort.signal }));
  const inUse = { code: "usage", message: `${out} is in use by process ${process.pid}; wait for it, or end it` };
  while (!existsSync(out)) await new Promise((resolve) => setImmediate(resolve));
  expect(existsSync(path.join(out, "run.json"))).toBe(false);
  await expect(distill(task, alone()).result).rejects.toMatchObject(inUse);
  for await (const event of first) {
    if (event.type !== "teach" || asked) continue;
    asked = true;
    await expect(distill(task, alone()).result).rejects.toMatchObject(inUse);
    const page = path.join(path.dirname(out), "page.html");
    await reportRun(out, page);
    expect(readFileSync(page, "utf8")).toContain("not finished: its teacher is asked");
  }
  expect(asked).toBe(true);
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
